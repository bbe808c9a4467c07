#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Checks that the numbers in README.md, its translations and docs/performance.md are those that benchmarks/run printed.

    check_figures.py [<root of the tree>] [--fix]

docs/figures.txt holds what was printed. A row of a table names a figure and the peer in it,

    | Queue, one way <!-- queue_one_way_64B message_queue --> | 21.4 | 6.74 `message_queue` | 3.17 |

and shows its numbers, rounded to as many digits as one likes. A line with `<!-- machine -->` at its end
says where they were printed. With --fix both are written anew: a new row needs its cells, no numbers. Of a README
only what stands under its heading "How fast" is looked at."""
import decimal
import pathlib
import re
import sys

FIGURE = re.compile(r"^figure (\S+) ours=(\S+) (\S+?)=(\S+) ratio=(\S+)", re.MULTILINE)
ABOUT = re.compile(r"^(date|machine|system|compiler|python|load): (.*)$", re.MULTILINE)
ROW = re.compile(r"^\|(?P<text>[^|]*<!-- (?P<figure>\S+) (?P<peer>\S+) -->) *"
                 r"\| *(?P<ours>[\d.]*) *\| *(?P<theirs>[\d.]*)(?P<words>[^|]*)\| *(?P<ratio>[\d.]*) *\|$")


def rounded(printed, digits=3):
    """A number as a row shows it."""
    number = decimal.Decimal(printed)
    decimals = min(max(digits - 1 - number.adjusted(), 0), 3)
    return f"{number:.{decimals}f}"


def agrees(shown, printed):
    """Whether a number is another one, rounded to the digits that it shows."""
    if not re.fullmatch(r"\d+(\.\d+)?", shown):
        return False
    shown = decimal.Decimal(shown)
    half_a_digit = decimal.Decimal((0, (5,), shown.as_tuple().exponent - 1))
    return abs(shown - decimal.Decimal(printed)) <= half_a_digit


class Figures:
    """What was printed last."""

    def __init__(self, text):
        self.faults = []
        self.of = {}
        for figure, ours, peer, theirs, ratio in FIGURE.findall(text):
            if (figure, peer) in self.of:
                self.faults.append(f"docs/figures.txt: {figure} beside {peer} stands there twice")
            self.of[figure, peer] = ours, theirs, ratio
        self.about = dict(ABOUT.findall(text))

    def machine(self):
        """Where they were printed."""
        words = [self.about.get(what, "?") for what in ("machine", "system", "compiler", "python")]
        return (f"On {self.about.get('date', '?')}, " + ", ".join(words) +
                f", when {self.about.get('load', '?')} other processes ran. <!-- machine -->")


def row_as_printed(row, figures):
    """A row with its numbers as they were printed, or None; and what is wrong with those it has."""
    printed = figures.of.get((row["figure"], row["peer"]))
    if printed is None:
        return None, [f"benchmarks/run printed no {row['figure']} beside {row['peer']}"]
    wrong = [f"{row['figure']}: {row[cell] or 'nothing'} is shown and {number} was printed"
             for cell, number in zip(("ours", "theirs", "ratio"), printed)
             if not agrees(row[cell], number)]
    ours, theirs, ratio = (rounded(number) for number in printed)
    peer = f"{theirs} {row['words'].strip()}".rstrip()
    return f"|{row['text']} | {ours} | {peer} | {ratio} |", wrong


def check(page, printed, name="README.md"):
    """Every fault, and the page as it should be."""
    figures = Figures(printed)
    faults = list(figures.faults)
    lines = page.splitlines()
    whole = not name.startswith("README")
    inside = whole
    for i, line in enumerate(lines):
        if line.startswith("## "):
            inside = whole or re.fullmatch(r"## (How fast|.*<!-- How fast -->)", line) is not None
        if not inside:
            continue
        if line.endswith("<!-- machine -->"):
            wrong = [] if line == figures.machine() else ["the machine is another one"]
            lines[i] = figures.machine()
        elif row := ROW.match(line):
            anew, wrong = row_as_printed(row, figures)
            lines[i] = anew if anew and wrong else line
        else:
            is_table = re.match(r"\|.*\d.*\|", line)
            wrong = ["a row that does not say which figure it is"] if is_table else []
        faults += [f"{name}:{i + 1}: {fault}" for fault in wrong]
    return faults, "\n".join(lines) + "\n"


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--fix"]
    root = pathlib.Path(arguments[0] if arguments else ".")
    printed = (root / "docs" / "figures.txt").read_text(encoding="utf-8")
    faults = []
    for page in [*sorted(root.glob("README*.md")), root / "docs" / "performance.md"]:
        name = page.relative_to(root).as_posix()
        of_page, fixed = check(page.read_text(encoding="utf-8"), printed, name)
        if "--fix" in sys.argv:
            page.write_text(fixed, encoding="utf-8")
            of_page = check(fixed, printed, name)[0]
        faults += of_page
    if faults and "--fix" not in sys.argv:
        faults.append("tests/lint/check_figures.py --fix writes the printed ones")
    print("\n".join(faults) or "the pages' figures are those that were printed last")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
