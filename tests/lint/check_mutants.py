#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Checks that the bugs of tests/mutants/list.txt can be planted still.

    check_mutants.py [<root of the tree>]

Each text must stand once in its header, as whole lines, and each test must be there; names are unique. There are
40 bugs at least, ten of them in the ring, five in start methods, and five in the codec. Whether tests notice them,
tests/mutants/run shows."""
import fnmatch
import pathlib
import re
import sys

FEWEST = {"": 40, "ring.": 10, "(fork|start|spawn|forkserver).": 5, "codec.": 5}
TEST = re.compile(r"^(?:TYPED_)?TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)", re.MULTILINE)

INCLUDE = re.compile(r"^#include [<\"](\S+)[>\"]", re.MULTILINE)


def tests_of(path, root):
    """The tests of a file, and of those that it includes from tests/."""
    text = path.read_text(encoding="utf-8")
    found = TEST.findall(text)
    for name in INCLUDE.findall(text):
        included = root / "tests" / name
        if included.is_file():
            found += TEST.findall(included.read_text(encoding="utf-8"))
    return found


def matches(filters, suite, test):
    """Whether a filter may mean that test: its instances' names are not known here."""
    for one in filters.split(":"):
        for name in (f"{suite}.{test}", f"By/{suite}.{test}/fork", f"By/{suite}.{test}/forkserver"):
            if fnmatch.fnmatchcase(name, one):
                return True
    return False


def check(root):
    """Every fault of the list, and how many bugs it has."""
    root = pathlib.Path(root)
    sys.path.insert(0, str(root / "tests/mutants"))
    from mutants import apply, read_list  # pylint: disable=import-outside-toplevel
    try:
        mutants = read_list(root / "tests/mutants/list.txt")
    except ValueError as error:
        return [str(error)], 0
    faults = []
    names = [mutant.name for mutant in mutants]
    for name in sorted(set(names)):
        if names.count(name) > 1:
            faults.append(f"{name}: stands twice in the list")
    for mutant in mutants:
        if not mutant.what or not mutant.new or mutant.old == mutant.new:
            faults.append(f"{mutant.name}: says not what is wrong, or changes nothing")
        header = root / "include/multiprocessing" / mutant.header
        test = root / "tests" / mutant.test
        if not header.is_file():
            faults.append(f"{mutant.name}: there is no {mutant.header}")
        else:
            text = header.read_text(encoding="utf-8")
            try:
                apply(mutant, text)
                if "\n" + mutant.old not in "\n" + text:
                    faults.append(f"{mutant.name}: its text begins inside a line of {mutant.header}")
            except RuntimeError as error:
                faults.append(f"{mutant.name}: {error}")
        if not test.is_file():
            faults.append(f"{mutant.name}: there is no tests/{mutant.test}")
        elif not any(matches(mutant.which, *found) for found in tests_of(test, root)):
            faults.append(f"{mutant.name}: no test of tests/{mutant.test} is {mutant.which}")
    for beginning, fewest in FEWEST.items():
        count = sum(1 for name in names if re.match(beginning.replace(".", r"\."), name))
        if count < fewest:
            faults.append(f"tests/mutants/list.txt: {count} bugs {beginning or 'in all'}, and {fewest} are wanted")
    return faults, len(mutants)


if __name__ == "__main__":
    all_faults, total = check(sys.argv[1] if len(sys.argv) > 1 else ".")
    print("\n".join(all_faults) or f"{total} mutants can be planted")
    sys.exit(bool(all_faults))
