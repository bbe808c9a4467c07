#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Checks that every C++ file is as clang-format leaves it.

    check_format.py [<root of the tree>] [--fix]

Version 14, Debian 12's, decides: others lay out some lines in another way. Without it nothing is
checked, which is said."""
import pathlib
import re
import shutil
import subprocess
import sys

VERSION = 14
FOLDERS = ("include", "tests", "examples", "benchmarks")


def find():
    """The clang-format that decides, or None."""
    for name in (f"clang-format-{VERSION}", "clang-format"):
        if shutil.which(name):
            words = subprocess.run([name, "--version"], stdout=subprocess.PIPE, text=True,
                                   check=True).stdout
            if (found := re.search(r"version (\d+)\.", words)) and int(found[1]) == VERSION:
                return name
    return None


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--fix"]
    root = pathlib.Path(arguments[0] if arguments else ".")
    program = find()
    if program is None:
        print(f"SKIPPED: there is no clang-format {VERSION} here, nothing was checked")
        return 0
    files = sorted(str(path) for folder in FOLDERS for path in (root / folder).rglob("*")
                   if path.suffix in (".hpp", ".ipp", ".cpp"))
    how = ["-i"] if "--fix" in sys.argv else ["--dry-run", "-Werror", "--ferror-limit=3"]
    result = subprocess.run([program, "--style=file", *how, *files], check=False)
    if result.returncode == 0:
        print(f"{len(files)} files are as clang-format {VERSION} leaves them")
    else:
        print("tests/lint/check_format.py --fix lays them out")
    return result.returncode


sys.exit(main())
