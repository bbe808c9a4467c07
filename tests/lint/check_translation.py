#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Checks that each README.<language>.md says what README.md says, as far as that can be seen without the language.

    check_translation.py [<root of the tree>]

A heading of a translation ends with a comment that holds the English one, `## 安装 <!-- Install -->`. Under each
heading must stand, in both: the same blocks of code (of a console the commands and what they print: a comment
behind a command may be translated), as many rows of tables with the same code and numbers in each, and, anywhere,
the same inline code, numbers and links. Order within a sentence is the language's own."""
import collections
import pathlib
import re
import sys

BLOCK = re.compile(r"^(?:<!-- (?P<source>\S+) -->\n)?```(?P<language>\S*)\n(?P<code>.*?)^```$\n?",
                   re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(?P<level>#+) (?P<title>.*?)(?: <!-- (?P<english>.*?) -->)?$")
COMMENT = re.compile(r"<!--.*?-->")
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)]+)\)")
NUMBER = re.compile(r"(?<![A-Za-z0-9_.])\d+(?:\.\d+)*")
ANOTHER_README = re.compile(r"README(\.[\w-]+)?\.md$")


class Section:
    """What stands under a heading, as far as every language has it."""

    def __init__(self, title, line):
        self.title = title
        self.line = line
        self.blocks = []  # (source, language, code)
        self.rows = []    # the parts of each row of a table
        self.parts = collections.Counter()

    def add_line(self, line):
        parts = parts_of(line)
        if line.startswith("|"):
            self.rows.append(parts)
        else:
            self.parts.update(parts)


def parts_of(line):
    """What of a line no language changes: code, links, comments, numbers."""
    parts = [f"`{code}`" for code in CODE.findall(line)]
    parts += COMMENT.findall(line)
    line = COMMENT.sub("", CODE.sub("", line))
    parts += [link for link in LINK.findall(line) if not ANOTHER_README.search(link)]
    parts += NUMBER.findall(LINK.sub("]", line))
    return sorted(parts)


def code_of(block):
    """A block of code, less what may be translated."""
    code = block["code"]
    if block["language"] in ("console", "sh"):
        code = re.sub(r"^([$>].*?)\s+# .*$", r"\1", code, flags=re.MULTILINE)
    return block["source"], block["language"], code


def sections_of(text, translated):
    """The sections of a page, in order, and what is wrong with its headings."""
    sections, faults = [Section("", 1)], []
    position, line_number = 0, 1
    while position < len(text):
        block = BLOCK.match(text, position)
        if block:
            sections[-1].blocks.append((line_number, code_of(block)))
            position = block.end()
            line_number += block[0].count("\n")
            continue
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        line = text[position:end]
        heading = HEADING.match(line)
        if heading and (english := heading["english"] if translated else heading["title"]):
            sections.append(Section(f"{heading['level']} {english}", line_number))
        elif heading:
            faults.append((line_number, "a heading without the comment that says which English one it is"))
        else:
            sections[-1].add_line(line)
        position = end + 1
        line_number += 1
    return sections, faults


def differences(english, other):
    """What a section of a translation has not, or has too much: (line, sentence)."""
    mine, theirs = [code for _, code in english.blocks], [code for _, code in other.blocks]
    if len(mine) != len(theirs):
        yield other.line, f"{len(theirs)} blocks of code, not {len(mine)}"
    for expected, (line, code) in zip(mine, other.blocks):
        if code != expected:
            yield line, "another block of code"
    if len(english.rows) != len(other.rows):
        yield other.line, f"{len(other.rows)} rows of tables, not {len(english.rows)}"
    else:
        for expected, row in zip(english.rows, other.rows):
            yield from compared(collections.Counter(expected), collections.Counter(row), other.line, "in a row, ")
    yield from compared(english.parts, other.parts, other.line, "")


def compared(expected, found, line, where):
    for part in expected - found:
        yield line, f"{where}missing: {part}"
    for part in found - expected:
        yield line, f"{where}too much: {part}"


def check_page(english, other, name):
    """Every fault of a translation."""
    expected, _ = sections_of(english, False)
    sections, wrong = sections_of(other, True)
    titles, found = [part.title for part in expected], [part.title for part in sections]
    if titles != found:
        wrong.append((1, f"the headings are {found[1:]}, not {titles[1:]}"))
    else:
        for one, another in zip(expected, sections):
            wrong += [(line, f"{one.title}: {fault}") for line, fault in differences(one, another)]
    return [f"{name}:{line}: {fault}" for line, fault in wrong]


def check(root):
    """Every fault, and how many translations there are."""
    root = pathlib.Path(root)
    pages = sorted(root.glob("README.*.md"))
    english = (root / "README.md").read_text(encoding="utf-8") if pages else ""
    faults = []
    for page in pages:
        faults += check_page(english, page.read_text(encoding="utf-8"), page.name)
    return faults, len(pages)


if __name__ == "__main__":
    all_faults, total = check(sys.argv[1] if len(sys.argv) > 1 else ".")
    print("\n".join(all_faults) or f"{total} translation in step with README.md")
    sys.exit(bool(all_faults))
