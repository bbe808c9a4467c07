#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Says how many of the tests ran on Windows, how many passed, and which do not apply there, and why.

    totals.py <root of the tree> <results of ctest, as JUnit> [--part]
    totals.py --failed <results of ctest, as JUnit>

Wine now and then ends a program before it says a word, or loses a process's beginning, once in some thousands.
--failed prints which tests failed, as ctest's -R takes it, unless they are many: tests/windows/run runs them again,
once, into <results>.again, and each is named.
A test of the tree that neither ran nor does not apply is a fault, unless only a part was to run. A test that does not apply stands between `#if MULTIPROCESSING_POSIX  // not on Windows: <reason>` and `#endif`;
a file of such tests, or such a program, says `// Not on Windows: <reason>` at its top."""
import collections
import pathlib
import re
import sys
import xml.etree.ElementTree

# Parts of tests/ that are not built for Windows, and why.
PARTS = {
    "compile_fail": "what does not compile is what one compiler refuses: the other one's refusals are seen on Linux",
    "fuzz": "no fuzzer there; its corpus is replayed (serialization.Corpus)",
    "lint": "checks of the tree's text",
    "package": "the CMake package, by this machine's compiler; windows.package.* are its like",
    "support": "the leak audit's own test reads /proc",
}

# A program that is built where its library is, and tests that run as one program of ctest's.
# What is in no count: neither among those that ran nor among those that do not apply.
UNCOUNTED = (
    "label long: six tests that take minutes, or gigabytes",
    "tests/distributed, hosts_test.py and farm: MPI and hosts, which only Linux has here",
    "parts of a test's body for POSIX, and fewer rounds of some: Wine starts processes slowly",
)

NEEDS = {"mandelbrot": "libpng, which Debian does not have for that system"}
TOGETHER = {"MainOfAnother.SpawnsProcesses": "main.gtest_main"}

TEST = re.compile(r"^(?:TEST|TEST_F|TEST_P|TYPED_TEST|TYPED_TEST_P)\((\w+),\s*(\w+)\)", re.M)
BEGIN = re.compile(r"^#if MULTIPROCESSING_POSIX(?:  // not on Windows: (.*))?$")
RAN = re.compile(r"(\w+)(?:/\d+)?\.(\w+)(?:<\d+>|/\w+)?$")  # less the program, instance and parameter
WHY = re.compile(r": Skipped\n(.*)")
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


def failed(results):
    """The failed tests, if they are few."""
    cases = xml.etree.ElementTree.parse(results).getroot().iter("testcase")
    names = [case.get("name") for case in cases if case.get("status") == "fail"]
    return names if len(names) <= 4 else []


def tests_of_part(name, results):
    """The tests, and those of them that were skipped, of a test of ctest's that is a part of a program's: its name ends
    in .part_<number>, and it wrote them down beside the program."""
    report = pathlib.Path(results).parent / "tests" / f"{name}.xml"
    if not re.search(r"\.part_\d+$", name) or not report.exists():  # it has failed then
        return [], []
    cases = [(f"{case.get('classname')}.{case.get('name')}", case.get("result"))
             for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase")
             if case.get("result") != "suppressed"]  # another part's
    return [case for case, _ in cases], [case for case, result in cases if result == "skipped"]


def reason_of(path):
    """Why a file is not built for Windows, or None."""
    reason = WHOLE.search("\n".join(path.read_text(encoding="utf-8").splitlines()[:9]))
    return reason and reason[1]


def main():
    if sys.argv[1] == "--failed":
        names = failed(sys.argv[2])
        print(f"^({'|'.join(map(re.escape, names))})$" if names else "")
        return 0
    root, results = pathlib.Path(sys.argv[1]), sys.argv[2]
    files = sorted([*(root / "tests").rglob("*_test.cpp"), *(root / "tests").rglob("*.hpp")])
    elsewhere = [found for path in files for found in not_applicable(path)]
    programs = sorted([*(root / "tests/programs").glob("*.cpp"), *(root / "examples").glob("*.cpp")])
    reasons = collections.Counter(reason for reason, _ in elsewhere)
    reasons.update(filter(None, map(reason_of, programs)))
    suite = xml.etree.ElementTree.parse(results).getroot()
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "skipped", "disabled")}
    of_parts = set()
    for case in suite.iter("testcase"):
        tests, skipped = tests_of_part(case.get("name"), results)
        of_parts.update(tests)
        count["tests"] += max(len(tests) - 1, 0)
        count["skipped"] += len(skipped)
        for test in skipped:
            print(f"skipped: {case.get('name')}: {test}")
    mended = 0  # of those that failed: passed when they ran again
    again = pathlib.Path(results + ".again")
    if again.exists():
        for case in xml.etree.ElementTree.parse(again).getroot().iter("testcase"):
            count["failures"] -= case.get("status") == "run"
            mended += case.get("status") == "run"
            print(f"failed, and run again: {case.get('name')}: "
                  f"{'passed' if case.get('status') == 'run' else 'failed'}")
    passed = count["tests"] - count["failures"] - count["skipped"] - count["disabled"]
    print(f"Windows under Wine: {count['tests']} run, {passed} passed"
          f"{f' ({mended} of them only when run again)' if mended else ''}, {count['failures']} failed, "
          f"{count['skipped'] + count['disabled']} skipped; {sum(reasons.values())} do not apply:")
    for reason, number in reasons.most_common():
        print(f"  {number:4} {reason.rstrip('.')}")
    for part, reason in PARTS.items():
        print(f"       tests/{part}: {reason}")
    for program, what in NEEDS.items():
        print(f"       {program}: needs {what}")
    for what in UNCOUNTED:
        print(f"       not counted: {what}")
    print("       tests/plugin, programs built in many ways: layouts of ELF")
    ran, unexplained = {f"{found[1]}.{found[2]}" for found in map(RAN.search, of_parts)}, False
    for case in suite.iter("testcase"):
        name, out = case.get("name"), case.findtext("system-out") or ""
        if case.get("status") != "run" and case.get("status") != "fail":
            message = case.find("skipped").get("message") if case.find("skipped") is not None else "disabled"
            unexplained |= not message.startswith("SKIP_")  # ctest did not run it
            print(f"skipped: {name}: {why[1] if (why := WHY.search(out)) else message}")
        if found := RAN.search(name):
            ran.add(f"{found[1]}.{found[2]}")
        ran.add(name)
        print(*(line + "\n" for line in out.splitlines() if line.startswith("figure ")), sep="", end="")
    forgotten = set()
    if "--part" not in sys.argv:
        here = {test for path in files if path.relative_to(root).parts[1] not in PARTS
                for test in map(".".join, TEST.findall(path.read_text(encoding="utf-8")))}
        forgotten = here - ran - {name for _, name in elsewhere}
        forgotten -= {name for name, program in TOGETHER.items() if program in ran}
        forgotten |= {path.stem for path in programs if path.stem not in NEEDS
                      and not reason_of(path) and not {f"program.{path.stem}", f"example.{path.stem}.spawn"} & ran}
    for name in sorted(forgotten):
        print(f"did not run, and nothing says why: {name}")
    return count["failures"] != 0 or "no reason is given" in reasons or bool(forgotten) or unexplained


if __name__ == "__main__":
    sys.exit(main())
