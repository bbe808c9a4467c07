#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Runs the tests of test.audit, each alone, and checks that the clean ones pass and the others fail
with the words that tell what was left behind."""
import concurrent.futures
import os
import re
import subprocess
import sys

EXPECTED = {
    "Clean.LeavesNothing": None,
    "Clean.AThreadThatEndsByItselfHasTime": None,
    "Leak.Descriptor": r"descriptor \d+ \(/dev/null\) was left behind",
    "Leak.DescriptorClosedTwice": r"descriptor 0 \(.*\) has gone",
    "Leak.Child": r"process \d+ \(test\.audit\) was left behind",
    "Leak.ChildNotReaped": r"process \d+ \(test\.audit, not reaped\) was left behind",
    "Leak.Grandchild": r"process \d+ \(test\.audit\) was left behind",
    "Leak.Thread": r"thread \d+ \(test\.audit\) was left behind",
    "Leak.SharedName": r"/dev/shm name multiprocessing-audit-\d+ was left behind",
    "Leak.File": r"file file was left behind",
    "Hang.InMainAndInAChild": r"watchdog: Hang\.InMainAndInAChild has not ended",
}


def run(program, test, **environment):
    return subprocess.run(
        [program, f"--gtest_filter={test}"], text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0",
             "MULTIPROCESSING_TEST_AUDIT_LOOKS": "400", **environment})


def check(program, test, text):
    """The faults of one test."""
    limit = {"MULTIPROCESSING_TEST_WATCHDOG": "1"} if test.startswith("Hang") else {}
    result = run(program, test, **limit)
    if (name := re.search(r"/dev/shm name (multiprocessing-audit-\d+) was left", result.stdout)):
        os.unlink("/dev/shm/" + name[1])
    if (result.returncode == 0) != (text is None):
        return [f"{test}: exit status {result.returncode}\n{result.stdout}"]
    if text and not re.search(text, result.stdout):
        return [f"{test}: said nothing like '{text}':\n{result.stdout}"]
    if test.startswith("Hang") and result.stdout.count("--- process") < 3:
        return [f"{test}: not every process was shown:\n{result.stdout}"]
    return []


def main():
    alone = "Leak.SharedName"  # what it leaves would be seen by the others, too
    rest = [test for test in EXPECTED if test != alone]
    with concurrent.futures.ThreadPoolExecutor(len(rest)) as pool:
        faults = sum(pool.map(lambda test: check(sys.argv[1], test, EXPECTED[test]), rest), [])
    faults += check(sys.argv[1], alone, EXPECTED[alone])
    print("\n".join(faults) or f"{len(EXPECTED)} tests ended as they should")
    sys.exit(bool(faults))


main()
