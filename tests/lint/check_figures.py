#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Checks that the numbers under "How fast" in README.md are those that benchmarks/run printed.

    check_figures.py [<root of the tree>] [--fix]

docs/figures.txt holds what was printed. A row of the README's table names a figure and the peer in it,

    | Queue, one way <!-- queue_one_way_64B message_queue --> | 21.4 | 6.74 `message_queue` | 3.17 |

and shows its numbers, rounded to as many digits as one likes. A line with `<!-- machine -->` at its end
says where they were printed. With --fix both are written anew: a new row needs its cells, no numbers."""
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


def check(readme, printed):
    """Every fault, and the README as it should be."""
    figures = Figures(printed)
    faults = list(figures.faults)
    lines = readme.splitlines()
    inside = False
    for i, line in enumerate(lines):
        inside = line == "## How fast" or (inside and not line.startswith("## "))
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
        faults += [f"README.md:{i + 1}: {fault}" for fault in wrong]
    return faults, "\n".join(lines) + "\n"


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--fix"]
    root = pathlib.Path(arguments[0] if arguments else ".")
    readme = root / "README.md"
    printed = (root / "docs" / "figures.txt").read_text(encoding="utf-8")
    faults, fixed = check(readme.read_text(encoding="utf-8"), printed)
    if "--fix" in sys.argv:
        readme.write_text(fixed, encoding="utf-8")
        faults = check(fixed, printed)[0]
    elif faults:
        faults.append("tests/lint/check_figures.py --fix writes the printed ones")
    print("\n".join(faults) or "the README's figures are those that were printed last")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
