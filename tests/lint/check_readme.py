#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Checks that the code in README.md and in all pages of docs/ is the code that is compiled and run, and that README
has fewer than 200 lines, in every language.

    check_readme.py [<root of the tree>]

A block of code under a comment `<!-- examples/queue.cpp -->` must be, word for word, what stands in
that file: between `//! [readme]` lines (`#! [readme]` in Python) if it has them, else all of it, less
the SPDX line. Every block of cpp or python with an #include, an import or a main() in it must have such
a comment; fragments may do without: check_snippets.py compiles them."""
import pathlib
import re
import sys

BLOCK = re.compile(r"(?:^<!-- (?P<source>[\w./-]+) -->\n)?^```(?P<language>cpp|c\+\+|python|py)\n"
                   r"(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
MOST_LINES = 199  # of README.md and its translations: what more there is to say stands in docs/
WHOLE_PROGRAM = re.compile(r"^#include|^int main|^import |^from \w+ import ", re.MULTILINE)


def pages(root):
    """Every page that users read: name in the tree, and text."""
    root = pathlib.Path(root)
    for path in [*sorted(root.glob("README*.md")), *sorted((root / "docs").rglob("*.md"))]:
        yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")


def shown(path):
    """The part of an example that a page shows."""
    text = path.read_text(encoding="utf-8")
    marked = re.findall(r"^(?://|#)! \[readme\]\n(.*?)^(?://|#)! \[readme\]$", text,
                        re.MULTILINE | re.DOTALL)
    if marked:
        return "".join(marked)
    lines = [line for line in text.splitlines(keepends=True)
             if not re.match(r"(//|#) SPDX-License-Identifier|#!/", line)]
    return "".join(lines)


def check_page(root, name, text):
    """Every fault of a page, and how many of its blocks have a source."""
    faults, count = [], 0
    for block in BLOCK.finditer(text):
        where = f"{name}:{text[:block.start()].count(chr(10)) + 1}"
        source = block["source"]
        if not source:
            if WHOLE_PROGRAM.search(block["code"]):
                faults.append(f"{where}: a program without the comment that says which example it is")
            continue
        count += 1
        path = root / source
        if not path.is_file():
            faults.append(f"{where}: there is no {source}")
        elif shown(path).strip("\n") != block["code"].strip("\n"):
            faults.append(f"{where}: not what stands in {source}")
    return faults, count


def check(root):
    """Every fault, and how many blocks have a source."""
    root = pathlib.Path(root)
    faults, count = [], 0
    for name, text in pages(root):
        of_page, blocks = check_page(root, name, text)
        faults += of_page
        lines = len(text.splitlines())
        if name.startswith("README") and lines > MOST_LINES:
            faults.append(f"{name}: {lines} lines, the most is {MOST_LINES}")
        count += blocks
    return faults, count


if __name__ == "__main__":
    all_faults, total = check(sys.argv[1] if len(sys.argv) > 1 else ".")
    print("\n".join(all_faults) or f"{total} blocks of code are those of the examples")
    sys.exit(bool(all_faults))
