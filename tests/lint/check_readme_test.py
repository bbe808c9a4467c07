#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""check_readme.py finds code that is not the examples'."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_readme  # noqa: E402 (it stands beside this file)

EXAMPLE = """// SPDX-License-Identifier: BSL-1.0
#include <a>
//! [readme]
int main() {}
//! [readme]
"""


class CheckReadme(unittest.TestCase):
    def check(self, readme, example=EXAMPLE):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "README.md").write_text(readme, encoding="utf-8")
            pathlib.Path(folder, "a.cpp").write_text(example, encoding="utf-8")
            return check_readme.check(folder)

    def test_the_marked_part(self):
        self.assertEqual(self.check("x\n<!-- a.cpp -->\n```cpp\nint main() {}\n```\n"), ([], 1))

    def test_the_whole_file(self):
        example = "// SPDX-License-Identifier: BSL-1.0\nint main() {}\n"
        self.assertEqual(self.check("<!-- a.cpp -->\n```cpp\nint main() {}\n```\n", example), ([], 1))

    def test_another_text(self):
        self.assertEqual(self.check("\n<!-- a.cpp -->\n```cpp\nint main() { }\n```\n")[0],
                         ["README.md:2: not what stands in a.cpp"])

    def test_no_such_example(self):
        self.assertEqual(self.check("<!-- b.cpp -->\n```cpp\nint main() {}\n```\n")[0],
                         ["README.md:1: there is no b.cpp"])

    def test_a_program_without_a_source(self):
        self.assertEqual(len(self.check("```cpp\n#include <a>\n```\n")[0]), 1)
        self.assertEqual(len(self.check("```python\nimport os\n```\n")[0]), 1)

    def test_every_page(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "docs", "design").mkdir(parents=True)
            for page in ("README.md", "README.xx.md", "docs/a.md", "docs/design/b.md"):
                pathlib.Path(folder, page).write_text("```cpp\nint main() {}\n```\n", encoding="utf-8")
            faults, _ = check_readme.check(folder)
            self.assertEqual([fault.split(":")[0] for fault in faults],
                             ["README.md", "README.xx.md", "docs/a.md", "docs/design/b.md"])

    def test_too_many_lines(self):
        self.assertEqual(self.check("x\n" * 199), ([], 0))
        self.assertEqual(self.check("x\n" * 199 + "x")[0], ["README.md: 200 lines, the most is 199"])
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "docs").mkdir()
            pathlib.Path(folder, "docs", "a.md").write_text("x\n" * 300, encoding="utf-8")
            pathlib.Path(folder, "README.xx.md").write_text("x\n" * 200, encoding="utf-8")
            self.assertEqual(check_readme.check(folder)[0], ["README.xx.md: 200 lines, the most is 199"])

    def test_a_fragment_needs_none(self):
        self.assertEqual(self.check("```cpp\nqueue.put(1);\n```\n```sh\nint main\n```\n"), ([], 0))


if __name__ == "__main__":
    unittest.main()
