#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Runs an example and its Python twin, and fails when they print different things.

    compare.py <start method> <twin.py> <program>...

The program may be several words, e.g. an emulator and what it runs.

Ids (numbers of five digits or more, hexadecimal ones, and what follows "pid", "id" or "subprocess:") and
times (16:21:02.345, 0.123) differ from run to run and count as the same; and since several processes print at
once, the lines are compared in sorted order."""
import difflib
import os
import re
import subprocess
import sys

RULES = [
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "<date>"),
    (re.compile(r"\b\d{1,2}:\d\d:\d\d(?:[.,]\d+)?\b"), "<time>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b|\b\d{5,}\b"), "<id>"),
    (re.compile(r"\b(pid|ident|id|subprocess)([ :=]+)\d+\b", re.IGNORECASE), r"\1\2<id>"),
    (re.compile(r"\b\d+\.\d+\b"), "<time>"),
]


def run(*command):
    """What a program prints on stdout, as sorted lines with placeholders, and on stderr."""
    # Unbuffered, Python writes a line and its end apart, and other processes' lines come between.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            check=False, env=environment)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit status {result.returncode}\n"
                 f"{result.stdout}{result.stderr}")
    text = result.stdout
    for pattern, placeholder in RULES:
        text = pattern.sub(placeholder, text)
    return sorted(text.splitlines()), result.stderr


def main():
    method, twin, *program = sys.argv[1:]
    ours, our_errors = run(*program, method)
    program = program[-1]
    theirs, their_errors = run(sys.executable, "-B", twin, method)
    if not ours:
        sys.exit(f"{program} {method} printed nothing")
    if our_errors and not their_errors:
        sys.exit(f"{program} {method} complains:\n{our_errors}")
    if ours != theirs:
        lines = difflib.unified_diff(theirs, ours, twin, program, lineterm="")
        sys.exit("they print different lines:\n" + "\n".join(lines) + f"\n{their_errors}")
    print("\n".join(ours))


main()
