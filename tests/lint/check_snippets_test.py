#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""check_snippets.py finds the fragments of a page and puts each where it compiles."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_snippets  # noqa: E402 (it stands beside this file)


def unit(*pages):
    text, count = check_snippets.unit_of(pages)
    return text.removeprefix(check_snippets.PRELUDE), count


class CheckSnippets(unittest.TestCase):
    def test_statements_are_in_a_function(self):
        text, count = unit(("a.md", "x\n\n```cpp\nf(1);\n```\n"))
        self.assertEqual(count, 1)
        self.assertEqual(text, 'namespace fragment_1 {\nvoid in_a_function() {\n#line 4 "a.md"\nf(1);\n}\n}\n')

    def test_declarations_are_not(self):
        for code in ("class A {\n};\n", "int f(int n) {\n  return n;\n}\n", "template <class T>\nT f();\n"):
            self.assertEqual(unit(("a.md", f"```cpp\n{code}```\n"))[0],
                             f'namespace fragment_1 {{\n#line 2 "a.md"\n{code}}}\n')

    def test_what_looks_like_a_declaration(self):
        for code in ("mp::Pool pool{4};", "std::vector<int> xs(100, 3);", "auto f = g(1);", "std::cout << f(1);", "return f(1);",
                     "for (int x : f(1)) g(x);"):
            self.assertIn("in_a_function", unit(("a.md", f"```cpp\n{code}\n```\n"))[0], code)

    def test_both(self):
        text, _ = unit(("a.md", "```cpp\nint f();\n\n// in main():\nf();\n```\n"))
        self.assertEqual(text, 'namespace fragment_1 {\n#line 2 "a.md"\nint f();\n\n'
                               'void in_a_function() {\n#line 4 "a.md"\n// in main():\nf();\n}\n}\n')

    def test_each_page_and_each_fragment(self):
        text, count = unit(("a.md", "```cpp\na();\n```\n```cpp\nb();\n```\n"), ("b.md", "```cpp\nc();\n```\n"))
        self.assertEqual(count, 3)
        self.assertIn('#line 5 "a.md"\nb();', text)
        self.assertIn('#line 2 "b.md"\nc();', text)

    def test_programs_and_other_languages_are_not_looked_at(self):
        page = "<!-- examples/a.cpp -->\n```cpp\na();\n```\n```python\nb()\n```\n```console\n$ c\n```\n"
        self.assertEqual(unit(("a.md", page)), ("", 0))


if __name__ == "__main__":
    unittest.main()
