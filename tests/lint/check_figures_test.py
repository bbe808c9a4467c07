#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""check_figures.py finds numbers that nobody printed."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_figures  # noqa: E402 (it stands beside this file)

PRINTED = """# a comment
date: 2026-01-31
machine: 2 x Z80
system: CP/M 2.2
compiler: g++ 12.2.0 -O3
python: Python 3.11.7
load: 0.05
figure queue ours=21.37 pipe=6.741 ratio=3.171 Mmsg/s
figure start ours=40123 fork=39999 ratio=1.003 us
figure start ours=40123 CPython=2000000 ratio=0.020 us
left out: the moon
"""
MACHINE = ("On 2026-01-31, 2 x Z80, CP/M 2.2, g++ 12.2.0 -O3, Python 3.11.7, "
           "when 0.05 other processes ran. <!-- machine -->\n")


def section(*rows):
    return ("| 99 of something else |\n## How fast\n" + MACHINE + "| | ours | peer | ours / peer |\n"
            "|---|--:|--:|--:|\n" + "".join(row + "\n" for row in rows) + "## Next\n| 5 | 6 |\n")


class CheckFigures(unittest.TestCase):
    def faults(self, *rows):
        return check_figures.check(section(*rows), PRINTED)[0]

    def fixed(self, *rows):
        return check_figures.check(section(*rows), PRINTED)[1]

    def test_rounded_to_the_digits_shown(self):
        for ours, ratio in (("21", "3"), ("21.4", "3.2"), ("21.37", "3.171")):
            row = f"| Queue <!-- queue pipe --> | {ours} | 6.7 bare `pipe` | {ratio} |"
            self.assertEqual(self.faults(row), [])
            self.assertEqual(self.fixed(row), section(row))

    def test_another_number(self):
        for numbers in (("21.3", "6.74", "3.17"), ("21.4", "6.75", "3.17"), ("21.4", "6.74", "3.1")):
            row = "| Queue <!-- queue pipe --> | {} | {} pipe | {} |".format(*numbers)
            self.assertEqual(len(self.faults(row)), 1, numbers)
            self.assertIn("README.md:6: queue: ", self.faults(row)[0])

    def test_another_peers_number(self):
        row = "| Start <!-- start CPython --> | 40123 | 39999 CPython | 1.003 |"
        self.assertEqual(len(self.faults(row)), 2)

    def test_a_translation_says_which_heading_it_is(self):
        row = "| Queue <!-- queue pipe --> | 21.3 | 6.7 pipe | 3 |"
        page = section(row).replace("## How fast", "## Wie schnell <!-- How fast -->")
        faults, _ = check_figures.check(page, PRINTED, "README.xx.md")
        self.assertEqual(faults, ["README.xx.md:6: queue: 21.3 is shown and 21.37 was printed"])

    def test_of_another_page_everything(self):
        page = "# Performance\n| Queue <!-- queue pipe --> | 21.3 | 6.7 pipe | 3 |\n"
        faults, _ = check_figures.check(page, PRINTED, "docs/performance.md")
        self.assertEqual(faults, ["docs/performance.md:2: queue: 21.3 is shown and 21.37 was printed"])

    def test_no_number(self):
        self.assertEqual(len(self.faults("| Queue <!-- queue pipe --> | | `pipe` | |")), 3)

    def test_no_such_figure(self):
        row = "| Queue <!-- queue socket --> | 1 | 2 socket | 0.5 |"
        self.assertEqual(self.faults(row), ["README.md:6: benchmarks/run printed no queue beside socket"])
        self.assertEqual(self.fixed(row), section(row))

    def test_a_row_of_no_figure(self):
        self.assertEqual(self.faults("| Queue | 21.4 | 6.74 pipe | 3.17 |"),
                         ["README.md:6: a row that does not say which figure it is"])

    def test_another_machine(self):
        text = section().replace("Z80", "6502")
        self.assertEqual(check_figures.check(text, PRINTED),
                         (["README.md:3: the machine is another one"], section()))

    def test_a_figure_that_stands_twice(self):
        again = PRINTED + "figure queue ours=1 pipe=2 ratio=0.500 Mmsg/s\n"
        self.assertEqual(check_figures.check(section(), again)[0],
                         ["docs/figures.txt: queue beside pipe stands there twice"])

    def test_fixing(self):
        for row in ("| Queue <!-- queue pipe --> | | | |",
                    "| Queue <!-- queue pipe --> | 1 | 2 | 3 |"):
            self.assertEqual(self.fixed(row),
                             section("| Queue <!-- queue pipe --> | 21.4 | 6.74 | 3.17 |"))
        self.assertEqual(self.fixed("| Start <!-- start CPython --> | | `python` 3 | |"),
                         section("| Start <!-- start CPython --> | 40123 | 2000000 `python` 3 | 0.020 |"))


if __name__ == "__main__":
    unittest.main()
