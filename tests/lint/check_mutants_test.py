#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""check_mutants.py finds bugs that cannot be planted."""
import pathlib
import shutil
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import check_mutants  # noqa: E402 (it stands beside this file)

HEADER = "int f() {\n  return 1;\n}\nint g() {\n  return 2;\n}\n"
TESTS = '#include "all.hpp"\nTEST(F, IsOne) {\n}\nTEST_P(G, IsTwo) {\n}\n'
INCLUDED = "TEST_P(Every, OneOfThem) {\n}\n"
BUG = "name a.b\n  what it is three\n  in   x.hpp\n  test x_test.cpp F.*\n-  return 1;\n+  return 3;\n"


class CheckMutants(unittest.TestCase):
    def faults(self, bugs):
        """Those of a list, less that it is short."""
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in (("include/multiprocessing/x.hpp", HEADER), ("tests/x_test.cpp", TESTS),
                               ("tests/all.hpp", INCLUDED), ("tests/mutants/list.txt", bugs)):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding="utf-8")
            shutil.copy(HERE.parent / "mutants/mutants.py", root / "tests/mutants")
            return [fault for fault in check_mutants.check(root)[0] if "are wanted" not in fault]

    def test_one_that_can_be_planted(self):
        self.assertEqual(self.faults(BUG), [])

    def test_a_list_is_long_enough(self):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "tests/mutants").mkdir(parents=True)
            (pathlib.Path(folder) / "tests/mutants/list.txt").write_text("", encoding="utf-8")
            self.assertEqual(len(check_mutants.check(folder)[0]), len(check_mutants.FEWEST))

    def test_a_text_that_has_moved(self):
        self.assertEqual(self.faults(BUG.replace("return 1", "return 4")), ["a.b: its text stands 0 times in x.hpp"])

    def test_a_text_that_stands_twice(self):
        self.assertEqual(self.faults(BUG.replace("-  return 1;", "-}")), ["a.b: its text stands 2 times in x.hpp"])

    def test_a_text_that_is_no_whole_line(self):
        self.assertEqual(self.faults(BUG.replace("-  return 1;", "-return 1;")),
                         ["a.b: its text begins inside a line of x.hpp"])

    def test_a_bug_that_changes_nothing(self):
        self.assertEqual(self.faults(BUG.replace("+  return 3;", "+  return 1;")),
                         ["a.b: says not what is wrong, or changes nothing"])

    def test_a_header_or_a_test_that_is_not_there(self):
        self.assertEqual(self.faults(BUG.replace("x.hpp", "y.hpp")), ["a.b: there is no y.hpp"])
        self.assertEqual(self.faults(BUG.replace("x_test", "y_test")), ["a.b: there is no tests/y_test.cpp"])
        self.assertEqual(self.faults(BUG.replace("F.*", "H.*")), ["a.b: no test of tests/x_test.cpp is H.*"])

    def test_instances_and_included_tests_are_found(self):
        self.assertEqual(self.faults(BUG.replace("F.*", "*G.IsTwo*")), [])
        self.assertEqual(self.faults(BUG.replace("F.*", "*OneOfThem*")), [])

    def test_a_name_that_stands_twice(self):
        self.assertEqual(self.faults(BUG + BUG), ["a.b: stands twice in the list"])

    def test_a_line_that_is_none(self):
        self.assertIn("not understood", self.faults(BUG + "nonsense\n")[0])


if __name__ == "__main__":
    unittest.main()
