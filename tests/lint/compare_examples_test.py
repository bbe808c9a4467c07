#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""examples/compare.py sees what an example does wrong: each test has a program and a twin that differ in one thing."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

COMPARE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "compare.py"
GOOD = """for i in (1, 2, 3): print(f"i am Worker-{i} at {1700000000 + i // 3}")
print("all done")
"""
IN_TURN = GOOD.replace("i // 3", "2 * i")


class CompareExamples(unittest.TestCase):
    def compare(self, ours, theirs=None, name="process"):
        """Exit code, and what is said."""
        with tempfile.TemporaryDirectory() as folder:
            program, twin = pathlib.Path(folder, "program.py"), pathlib.Path(folder, f"{name}_twin.py")
            program.write_text(ours, encoding="utf-8")
            twin.write_text(ours if theirs is None else theirs, encoding="utf-8")
            result = subprocess.run([sys.executable, "-B", str(COMPARE), "fork", str(twin), sys.executable, str(program)],
                                    capture_output=True, text=True, check=False)
            return result.returncode, result.stdout + result.stderr

    def expect(self, said, ours, theirs=None, name="process"):
        code, text = self.compare(ours, theirs, name)
        self.assertEqual(code, 1, text)
        self.assertIn(said, text)

    def test_the_same(self):
        self.assertEqual(self.compare(GOOD)[0], 0)
        self.assertEqual(self.compare("print(1)", name="other")[0], 0)

    def test_the_order_of_lines_of_several_processes_is_nobodys(self):
        self.assertEqual(self.compare(GOOD.replace("(1, 2, 3)", "(2, 1, 3)"), GOOD)[0], 0)

    def test_another_line(self):
        self.expect("+one more", GOOD.replace('print("all', 'print("one more"); print("all'), GOOD)

    def test_nothing(self):
        self.expect("printed nothing", "", "", "other")

    def test_an_end_that_comes_before_the_others(self):
        first = 'print("all done")\n' + GOOD.replace('print("all done")', "")
        self.expect("program.py fork: the last line is not 'all done'", first, GOOD)
        self.expect("process_twin.py fork: the last line is not 'all done'", GOOD, first)

    def test_workers_one_after_the_other(self):
        self.expect("program.py fork: its processes are never at work at once", IN_TURN, GOOD)
        self.expect("process_twin.py fork: its processes are never at work at once", GOOD, IN_TURN)

    def test_two_of_three_at_once(self):
        self.expect("never at work at once", GOOD.replace("i // 3", "2 * (i // 3)"), GOOD)

    def test_one_worker(self):
        self.expect("never at work at once", GOOD.replace("(1, 2, 3)", "(1,)"))

    def test_workers_that_are_seen_at_once_when_asked_again(self):
        late = ("import pathlib\nasked = pathlib.Path('asked')\nagain = asked.exists()\n"
                "asked.touch() if not again else asked.unlink()\n" + GOOD.replace("i // 3", "(0 if again else 2 * i)"))
        self.assertEqual(self.compare(late, GOOD), (0, "\n".join(sorted(
            [f"i am Worker-{i} at <id>" for i in (1, 2, 3)] + ["all done"])) + "\n"))


if __name__ == "__main__":
    unittest.main()
