#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Checks what `#include <multiprocessing.hpp>` costs a compiler.

    check_compile_cost.py <root of the tree> <compiler> [<option of the compiler>...]

Fails if more than 150,000 lines come out of the preprocessor, or if a file that includes it and uses
nothing makes code of more than 1,500 functions and objects: of a class whose first virtual function
is defined behind it, g++ makes code in every file. Prints the processor time, beside that
of the standard, system and third-party headers alone that ours include: no test asserts a time, and
on a busy machine the two differ by a third between runs. The goals are 2.0 s, and 1.5 times theirs."""
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

LINES = 150_000
SYMBOLS = 1_500
ROUNDS = 3
UMBRELLA = "multiprocessing.hpp"
INCLUDE = re.compile(r"^\s*#\s*include\s*<([^>]+)>", re.MULTILINE)
ANOTHER_SYSTEM = "multiprocessing/os/windows/"


def foreign_headers(include):
    """What the umbrella includes that is not ours, directly or through ours."""
    foreign, seen, waiting = set(), set(), [UMBRELLA]
    while waiting:
        name = waiting.pop()
        if name in seen or name.startswith(ANOTHER_SYSTEM):
            continue
        seen.add(name)
        for what in INCLUDE.findall((include / name).read_text(encoding="utf-8")):
            if what == UMBRELLA or what.startswith("multiprocessing/"):
                waiting.append(what)
            else:
                foreign.add(what)
    return sorted(foreign)


def lines_of(command, source):
    """How many lines the preprocessor makes of it."""
    return subprocess.run([*command, "-E", "-P", source], stdout=subprocess.PIPE,
                          check=True).stdout.count(b"\n")


def symbols_of(command, source):
    """How many functions and objects the compiler makes code of."""
    assembly = subprocess.run([*command, "-O0", "-S", "-o", "-", source], stdout=subprocess.PIPE,
                              check=True).stdout
    return len(re.findall(rb"^\s*\.type\s.*[@%](?:function|object|gnu_unique_object)$", assembly,
                          re.MULTILINE))


def processor_time(command, source):
    """Seconds in user mode of one compiler and its children, without making code."""
    fresh = {**os.environ, "CCACHE_DISABLE": "1"}  # the compiler's name may lead to ccache
    before = os.times().children_user
    subprocess.run([*command, "-fsyntax-only", source], check=True, env=fresh)
    return os.times().children_user - before


def main():
    include = pathlib.Path(sys.argv[1], "include")
    command = [sys.argv[2], "-std=c++20", f"-I{include}", *sys.argv[3:], "-x", "c++"]
    with tempfile.TemporaryDirectory() as folder:
        sources = {}
        for name, headers in (("ours", [UMBRELLA]), ("theirs", foreign_headers(include))):
            path = pathlib.Path(folder, name)
            path.write_text("".join(f"#include <{header}>\n" for header in headers),
                            encoding="utf-8")
            sources[name] = str(path)
        lines = {name: lines_of(command, source) for name, source in sources.items()}
        symbols = symbols_of(command, sources["ours"])
        times = {name: [] for name in sources}
        for _ in range(ROUNDS):
            for name, source in sources.items():
                times[name].append(processor_time(command, source))
    ours, theirs = (statistics.median(times[name]) for name in ("ours", "theirs"))
    print(f"figure umbrella_user_time {ours:.2f} s, of {ROUNDS} runs the median; theirs alone {theirs:.2f} s")
    print(f"figure umbrella_ratio {ours / theirs:.2f}")
    print(f"figure umbrella_lines {lines['ours']}; theirs alone {lines['theirs']}")
    print(f"figure umbrella_symbols {symbols}")
    if lines["ours"] > LINES:
        print(f"{UMBRELLA} is {lines['ours']} lines, the most is {LINES}")
        return 1
    if symbols > SYMBOLS:
        print(f"{UMBRELLA} alone makes code of {symbols} functions and objects, the most is {SYMBOLS}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
