#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Says how many of the tests ran on Windows, how many passed, and which do not apply there, and why.

    totals.py <root of the tree> <results of ctest, as JUnit>

A test that does not apply stands between `#if MULTIPROCESSING_POSIX  // not on Windows: <reason>` and `#endif`;
a file of such tests says `// Not on Windows: <reason>` at its top."""
import collections
import pathlib
import re
import sys
import xml.etree.ElementTree

# Parts of tests/ that are not built for Windows, and why.
PARTS = {
    "compile_fail": "what must not compile, by the compilers of this machine; what only Windows refuses: windows.clang.no_reduce",
    "distributed": "<multiprocessing/distributed.hpp> is not there; neither is MPI",
    "fuzz": "no fuzzer there; its corpus is replayed (serialization.Corpus)",
    "lint": "checks of the tree's text",
    "package": "the CMake package, by this machine's compiler",
    "support": "the leak audit's own test reads /proc",
}

TEST = re.compile(r"^(?:TEST|TEST_F|TEST_P|TYPED_TEST|TYPED_TEST_P)\((\w+),\s*(\w+)\)", re.M)
BEGIN = re.compile(r"^#if MULTIPROCESSING_POSIX(?:  // not on Windows: (.*))?$")
WHOLE = re.compile(r"^// (?:.*\. )?Not on Windows: (.*)$", re.M)


def not_applicable(path):
    """The reason and name of every test of a file that Windows does not have."""
    text = path.read_text(encoding="utf-8")
    whole = WHOLE.search("\n".join(text.splitlines()[:9]))
    if whole:
        return [(whole[1], f"{suite}.{name}") for suite, name in TEST.findall(text)]
    found, depth, reason = [], 0, None
    for line in text.splitlines():
        if depth == 0 and (begin := BEGIN.match(line)):
            depth, reason = 1, begin[1] or "no reason is given"
        elif depth and line.startswith("#if"):
            depth += 1
        elif depth and line.startswith("#endif"):
            depth -= 1
        elif depth and (test := TEST.match(line)):
            found.append((reason, f"{test[1]}.{test[2]}"))
    return found


def main():
    root, results = pathlib.Path(sys.argv[1]), sys.argv[2]
    reasons = collections.Counter()
    for path in sorted([*(root / "tests").rglob("*_test.cpp"), *(root / "tests").rglob("*.hpp")]):
        for reason, _ in not_applicable(path):
            reasons[reason] += 1
    programs = [(path.stem, reason) for folder in ("tests/programs", "examples")
                for path in sorted((root / folder).glob("*.cpp"))
                for reason in WHOLE.findall("\n".join(path.read_text(encoding="utf-8").splitlines()[:9]))]
    for _, reason in programs:
        reasons[reason] += 1
    suite = xml.etree.ElementTree.parse(results).getroot()
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "skipped", "disabled")}
    passed = count["tests"] - count["failures"] - count["skipped"] - count["disabled"]
    print(f"Windows under Wine: {count['tests']} run, {passed} passed, {count['failures']} failed, "
          f"{count['skipped'] + count['disabled']} skipped; {sum(reasons.values())} do not apply:")
    for reason, number in reasons.most_common():
        print(f"  {number:4} {reason}")
    for part, reason in PARTS.items():
        print(f"       tests/{part}: {reason}")
    print("       the label long, what takes minutes or gigabytes: ctest --preset long runs it on Linux")
    print("       examples/mandelbrot: libpng, where the machine has none for Windows")
    print("       tests/plugin, programs built in many ways: layouts of ELF")
    for out in suite.iter("system-out"):
        print(*(line for line in (out.text or "").splitlines() if line.startswith("figure ")), sep="\n", end="")
    return count["failures"] != 0 or "no reason is given" in reasons


if __name__ == "__main__":
    sys.exit(main())
