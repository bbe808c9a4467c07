#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""check_tidy.py looks at what it must, once: a clang-tidy stands in that finds the word FAULT."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECK = pathlib.Path(__file__).parent / "check_tidy.py"
STAND_IN = """#!/bin/sh
[ "$1" = --version ] && exec echo 1
for file; do :; done
echo "$file" >> "$SEEN"
grep -q "$file" "$2/compile_commands.json" || exit 3
! grep FAULT "$file"
"""


class CheckTidy(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name).resolve()
        self.build = self.root / "build"
        for name in ("include", "tests", "bin", "build"):
            (self.root / name).mkdir()
        (self.root / ".clang-tidy").touch()
        (self.root / "include/one.hpp").touch()
        stand_in = self.root / "bin/clang-tidy"
        stand_in.write_text(STAND_IN, encoding="utf-8")
        stand_in.chmod(0o755)
        self.compile("tests/one.cpp", "tests/other.cpp")

    def compile(self, *names):
        for name in names:
            (self.root / name).touch()
        self.commands = [{"directory": "/", "command": "c++ " + name,
                          "file": str(self.root / name)} for name in names]
        (self.build / "compile_commands.json").write_text(json.dumps(self.commands),
                                                          encoding="utf-8")

    def look(self, *wanted):
        """Returns the exit code, what was printed, and the names of the files looked at."""
        seen = self.root / "seen"
        seen.write_text("", encoding="utf-8")
        environment = {**os.environ, "SEEN": str(seen),
                       "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run([sys.executable, CHECK, self.root, self.build, *wanted],
                              env=environment, stdout=subprocess.PIPE, text=True)
        names = sorted(pathlib.Path(line).name
                       for line in seen.read_text(encoding="utf-8").splitlines())
        return done.returncode, done.stdout, names

    def test_looks_at_each_file(self):
        code, _, seen = self.look()
        self.assertEqual((code, seen), (0, ["one.cpp", "other.cpp"]))

    def test_looks_once_at_a_file_of_two_programs(self):
        self.compile("tests/one.cpp", "tests/one.cpp")
        self.assertEqual(self.look()[2], ["one.cpp"])

    def test_leaves_out_what_the_build_made(self):
        self.compile("tests/one.cpp", "build/made.cpp")
        self.assertEqual(self.look()[2], ["one.cpp"])

    def test_refuses_what_has_findings_and_prints_them(self):
        (self.root / "tests/other.cpp").write_text("a FAULT", encoding="utf-8")
        code, said, seen = self.look()
        self.assertEqual((code, seen), (1, ["one.cpp", "other.cpp"]))
        self.assertIn("a FAULT", said)

    def test_refuses_what_it_cannot_look_at(self):
        (self.root / "bin/clang-tidy").write_text(
            '#!/bin/sh\n[ "$1" = --version ]\n', encoding="utf-8")
        self.assertEqual(self.look()[0], 1)

    def test_refuses_a_build_without_files(self):
        self.compile()
        self.assertEqual(self.look()[0], 1)

    def test_looks_again_only_at_what_changed_or_was_refused(self):
        (self.root / "tests/other.cpp").write_text("a FAULT", encoding="utf-8")
        self.look()
        self.assertEqual(self.look()[2], ["other.cpp"])
        (self.root / "tests/other.cpp").write_text("", encoding="utf-8")
        self.assertEqual(self.look()[2], ["other.cpp"])
        self.assertEqual(self.look()[2], [])
        (self.root / "tests/one.cpp").write_text("int x;", encoding="utf-8")
        self.assertEqual(self.look()[2], ["one.cpp"])

    def test_looks_again_at_all_when_a_header_or_the_checks_change(self):
        for name in ("include/one.hpp", ".clang-tidy", "tests/.clang-tidy"):
            self.look()
            (self.root / name).write_text(name, encoding="utf-8")
            self.assertEqual(self.look()[2], ["one.cpp", "other.cpp"], name)

    def test_looks_at_the_part_that_is_asked_for(self):
        self.assertEqual(self.look("other")[2], ["other.cpp"])


if __name__ == "__main__":
    unittest.main()
