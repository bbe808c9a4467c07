#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Compiles the fragments of C++ in the pages, README.md and docs/, all in one translation unit.

    check_snippets.py <root of the tree> <compiler> [<option of the compiler>...]
    check_snippets.py <root of the tree> --show

Programs are those of examples/: check_readme.py sees to them. Every other block of cpp is a fragment: what
stands above a line `// in main():` is declared, what stands below it is run in a function. Without such a
line all of it is in a function, unless it begins with a function's body or a class. Each fragment has a namespace
of its own, in which PRELUDE is known. The compiler's complaints name page and line. With --show the unit is
printed."""
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from check_readme import BLOCK, pages  # noqa: E402 (it stands beside this file)

PRELUDE = """
#include <multiprocessing.hpp>
#include <multiprocessing/distributed.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <iostream>
#include <mutex>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;

int square(int n);
void work(int n);
"""
SPLIT = "// in main():"
DECLARATION = re.compile(r"template\b|class\b|struct\b|enum\b"
                         r"|(?!return\b|throw\b|co_)(?:[\w:&*]+(?:<[^<>]*>)?[&*]* )+\w+\(.*\)[\w ]*{$")
OPTIONS = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unused"]


def unit_of(all_pages):
    """The translation unit, and how many fragments are in it."""
    text, count = PRELUDE, 0
    for name, page in all_pages:
        for block in BLOCK.finditer(page):
            if block["source"] or block["language"] not in ("cpp", "c++"):
                continue
            count += 1
            lines = block["code"].rstrip("\n").split("\n")
            line = page[:block.start("code")].count("\n") + 1
            split = lines.index(SPLIT) if SPLIT in lines else None
            if split is None:
                split = len(lines) if DECLARATION.match(lines[0]) else 0
            above, below = lines[:split], lines[split:]
            text += f"namespace fragment_{count} {{\n"
            if above:
                text += f'#line {line} "{name}"\n' + "\n".join(above) + "\n"
            if below:
                text += (f"void in_a_function() {{\n#line {line + split} \"{name}\"\n" +
                         "\n".join(below) + "\n}\n")
            text += "}\n"
    return text, count


def main():
    root = pathlib.Path(sys.argv[1])
    unit, count = unit_of(pages(root))
    if sys.argv[2] == "--show":
        print(unit)
        return 0
    command = [sys.argv[2], *OPTIONS, f"-I{root / 'include'}", *sys.argv[3:], "-x", "c++", "-"]
    done = subprocess.run(command, input=unit, text=True, capture_output=True, check=False)
    print(done.stderr, end="")
    if done.returncode == 0:
        print(f"{count} fragments compile")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
