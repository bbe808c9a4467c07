#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""check_translation.py finds what a translation lacks."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_translation  # noqa: E402 (it stands beside this file)

ENGLISH = """# name
Of `Queue`, 50 ms, see [docs](docs/a.md). [auf Deutsch](README.de.md)

## Install
```console
$ make install   # as root
done
```
| what | how |
|---|---|
| `put` | 1.5 µs |
| `get` | |
"""
GERMAN = """# name <!-- name -->
Siehe [Seiten](docs/a.md): 50 ms für `Queue`. [English](README.md)

## Einbau <!-- Install -->
```console
$ make install   # als root
done
```
| was | wie |
|---|---|
| `put` | 1.5 µs |
| `get` | |
"""


class CheckTranslation(unittest.TestCase):
    def faults(self, old="", new=""):
        self.assertIn(old, GERMAN)
        return check_translation.check_page(ENGLISH, GERMAN.replace(old, new, 1) if old else GERMAN, "R")

    def test_in_step(self):
        self.assertEqual(self.faults(), [])

    def test_headings(self):
        self.assertEqual(self.faults(" <!-- Install -->")[0],
                         "R:4: a heading without the comment that says which English one it is")
        self.assertIn("R:1: the headings are", self.faults("<!-- Install", "<!-- Build")[0])
        self.assertIn("R:1: the headings are", self.faults("## Einbau", "### Einbau")[0])

    def test_commands_and_what_they_print(self):
        self.assertEqual(self.faults("make install", "make"), ["R:5: ## Install: another block of code"])
        self.assertEqual(self.faults("done", "fertig"), ["R:5: ## Install: another block of code"])
        self.assertEqual(self.faults("```console", "```sh"), ["R:5: ## Install: another block of code"])

    def test_a_block_that_is_missing(self):
        start, end = GERMAN.index("```console"), GERMAN.index("| was")
        faults = self.faults(GERMAN[start:end])
        self.assertEqual(faults, ["R:4: ## Install: 0 blocks of code, not 1"])

    def test_rows(self):
        self.assertEqual(self.faults("| `get` | |\n"), ["R:4: ## Install: 3 rows of tables, not 4"])
        self.assertEqual(self.faults("`get`", "`got`"),
                         ["R:4: ## Install: in a row, missing: `get`", "R:4: ## Install: in a row, too much: `got`"])
        self.assertEqual(len(self.faults("1.5 µs", "1.6 µs")), 2)

    def test_code_numbers_and_links_in_sentences(self):
        self.assertEqual(self.faults("`Queue`", "Queue"), ["R:1: # name: missing: `Queue`"])
        self.assertEqual(self.faults("50 ms", "ms"), ["R:1: # name: missing: 50"])
        self.assertEqual(len(self.faults("docs/a.md", "docs/b.md")), 2)

    def test_numbers_beside_other_letters(self):
        self.assertEqual(check_translation.parts_of("版本1.81以上"), ["1.81"])


if __name__ == "__main__":
    unittest.main()
