# SPDX-License-Identifier: BSL-1.0
"""The list of mutants, and how one is planted."""
import dataclasses
import re


@dataclasses.dataclass
class Mutant:
    """A named bug: one text of one header, changed."""
    name: str
    what: str = ""
    header: str = ""
    test: str = ""   # the file of tests, below tests/
    which: str = ""  # of its tests: a filter of GoogleTest's
    old: str = ""
    new: str = ""


def read_list(path):
    """All of a list. @raise ValueError a line is none of the list's form."""
    mutants = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        current = mutants[-1] if mutants else None
        if found := re.fullmatch(r"name (\S+)", line):
            mutants.append(Mutant(found[1]))
        elif current is None:
            raise ValueError(f"{path}:{number}: a mutant begins with its name")
        elif found := re.fullmatch(r"  what (.+)", line):
            current.what = found[1]
        elif found := re.fullmatch(r"  in   (\S+)", line):
            current.header = found[1]
        elif found := re.fullmatch(r"  test (\S+) (\S+)", line):
            current.test, current.which = found[1], found[2]
        elif line[0] == "-":
            current.old += line[1:] + "\n"
        elif line[0] == "+":
            current.new += line[1:] + "\n"
        else:
            raise ValueError(f"{path}:{number}: not understood: {line}")
    return mutants


def apply(mutant, text):
    """The header's text with the bug. @raise RuntimeError its old text is not there once."""
    count = text.count(mutant.old)
    if not mutant.old or count != 1:
        raise RuntimeError(f"its text stands {count} times in {mutant.header}")
    return text.replace(mutant.old, mutant.new)
