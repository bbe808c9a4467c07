#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Runs an example and its Python twin, and fails when they print different things.

    compare.py <start method> <twin.py> <program>...

The program may be several words, e.g. an emulator and what it runs.

Ids (numbers of five digits or more, hexadecimal ones, and what follows "pid", "id" or "subprocess:") and
times (16:21:02.345, 0.123) differ from run to run and count as the same; and since several processes print at
once, the lines are compared in sorted order: but the last one is the last where ENDS says so, and where WORKS does, the
processes that print a time when their work is done were seen at work at once. Each runs in a folder of its own, and
pictures that they leave there must have the same pixels."""
import difflib
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import zlib

RULES = [
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "<date>"),
    (re.compile(r"\b\d{1,2}:\d\d:\d\d(?:[.,]\d+)?\b"), "<time>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b|\b\d{5,}\b"), "<id>"),
    (re.compile(r"\b(pid|ident|id|subprocess)([ :=]+)\d+\b", re.IGNORECASE), r"\1\2<id>"),
    (re.compile(r"\b\d+\.\d+\b"), "<time>"),
]


# Examples whose parent says the last word, when it has waited for the others.
ENDS = {"process": "all done"}
# Examples whose processes each work for so many seconds at least, and how each then says what time it is: those whose
# last times lie closer together were at work at once. Who has few processors may have to be asked again.
WORKS = {"process": (2, re.compile(r"^i am .* at (\d+)$", re.MULTILINE))}
TIMES_ASKED = 10


def are_at_work_at_once(text, seconds, pattern):
    """Whether several processes that end at those times, in whole seconds, have all been there at one moment."""
    ends = [int(end) for end in pattern.findall(text)]
    return len(ends) > 1 and max(ends) - min(ends) + 1 <= seconds


def pixels(path):
    """Width, height and grey pixels of a PNG of 8 bits. @source https://www.w3.org/TR/png/"""
    content = path.read_bytes()
    at, chunks = 8, {b"IDAT": b""}
    while at < len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        body = content[at + 8:at + 8 + size]
        if zlib.crc32(name + body) != struct.unpack_from(">I", content, at + 8 + size)[0]:
            sys.exit(f"{path}: damaged")
        chunks[name] = chunks.get(name, b"") + body
        at += 12 + size
    width, height, *kind = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if kind != [8, 0, 0, 0, 0]:
        sys.exit(f"{path}: not a grey picture of 8 bits: {kind}")
    data = zlib.decompress(chunks[b"IDAT"])
    rows, above = [], bytes(width)
    for y in range(height):
        which, *row = data[y * (width + 1):(y + 1) * (width + 1)]
        for x in range(width):
            left, up, corner = (row[x - 1], above[x], above[x - 1]) if x else (0, above[x], 0)
            nearest = min((left, up, corner), key=lambda each: abs(left + up - corner - each))
            row[x] = row[x] + (0, left, up, (left + up) // 2, nearest)[which] & 0xFF
        rows.append(row)
        above = row
    return width, height, rows


def run(folder, *command):
    """What a program prints on stdout and on stderr."""
    # Unbuffered, Python writes a line and its end apart, and other processes' lines come between.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            check=False, env=environment, cwd=folder)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit status {result.returncode}\n"
                 f"{result.stdout}{result.stderr}")
    return result.stdout, result.stderr


def lines_of(text):
    """What does not differ from run to run: sorted lines with placeholders."""
    for pattern, placeholder in RULES:
        text = pattern.sub(placeholder, text)
    return sorted(text.splitlines())


def check_order(name, text, again, who):
    """Ends, if what an example prints shows by its order or its times that it is wrong."""
    if name in ENDS and text.splitlines()[-1:] != [ENDS[name]]:
        sys.exit(f"{who}: the last line is not '{ENDS[name]}':\n{text}")
    if name in WORKS:
        for _ in range(TIMES_ASKED - 1):
            if are_at_work_at_once(text, *WORKS[name]):
                return
            text = again()
        if not are_at_work_at_once(text, *WORKS[name]):
            sys.exit(f"{who}: its processes are never at work at once:\n{text}")


def main():
    method, twin, *program = sys.argv[1:]
    twin, program[-1] = os.path.abspath(twin), os.path.abspath(program[-1])
    name = pathlib.Path(twin).stem.removesuffix("_twin")
    with tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory() as there:
        our_command = [here, *program, method]
        their_command = [there, sys.executable, "-B", twin, method]
        ours, our_errors = run(*our_command)
        program = program[-1]
        theirs, their_errors = run(*their_command)
        check_order(name, ours, lambda: run(*our_command)[0], f"{program} {method}")
        check_order(name, theirs, lambda: run(*their_command)[0], f"{twin} {method}")
        ours, theirs = lines_of(ours), lines_of(theirs)
        our_files, their_files = (sorted(pathlib.Path(each).iterdir()) for each in (here, there))
        names = [file.name for file in our_files], [file.name for file in their_files]
        if names[0] != names[1]:
            sys.exit(f"{program} {method} leaves {names[0]}, its twin {names[1]}")
        for one, other in zip(our_files, their_files):
            if pixels(one) != pixels(other):
                sys.exit(f"{program} {method}: another {one.name} than its twin's")
    if not ours:
        sys.exit(f"{program} {method} printed nothing")
    if our_errors and not their_errors:
        sys.exit(f"{program} {method} complains:\n{our_errors}")
    if ours != theirs:
        lines = difflib.unified_diff(theirs, ours, twin, program, lineterm="")
        sys.exit("they print different lines:\n" + "\n".join(lines) + f"\n{their_errors}")
    print("\n".join(ours))


if __name__ == "__main__":
    main()
