#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""check_faults.py finds system calls that no test makes fail."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_faults  # noqa: E402 (it stands beside this file)

CALLS = "".join(f"MULTIPROCESSING_SYSTEM({name})(1);\n"
                for name in ("read", "write", *check_faults.CANNOT_FAIL))
START = "namespace fault {\n"
END = "}  // namespace fault\n"
READ = "ssize_t read(int from) {\n  return -1;\n}\n"
WRITE = "FAULT_ERRNO(write)\n"


class CheckFaults(unittest.TestCase):
    def faults(self, tests, calls=CALLS):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in (("include/os/x.ipp", calls), ("tests/fault/x_test.cpp", tests)):
                path = pathlib.Path(folder, name)
                path.parent.mkdir(parents=True)
                path.write_text(text, encoding="utf-8")
            return check_faults.check(folder)[0]

    def test_all_fail(self):
        self.assertEqual(self.faults(START + READ + WRITE + END), [])

    def test_one_does_not(self):
        self.assertEqual(self.faults(START + WRITE + END),
                         ["include/os/x.ipp: no test in tests/fault makes read fail"])

    def test_passing_on_does_not_count(self):
        self.assertEqual(len(self.faults(START + "using ::read;\n" + WRITE + END)), 1)
        self.assertEqual(len(self.faults(START + "using ::a,\n    ::read;\n" + WRITE + END)), 1)

    def test_a_call_outside_of_the_namespace_does_not_count(self):
        self.assertEqual(len(self.faults(START + WRITE + END + READ)), 1)

    def test_an_excuse_that_nobody_needs(self):
        calls = CALLS.replace("MULTIPROCESSING_SYSTEM(getpid)(1);\n", "")
        self.assertEqual(self.faults(START + READ + WRITE + END, calls),
                         ["tests/lint/check_faults.py: getpid is not called"])

    def test_no_calls(self):
        self.assertEqual(len(self.faults(START + END, "")), 1)


if __name__ == "__main__":
    unittest.main()
