#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Checks docs/parity.md: what became of each behaviour that CPython's tests pin, and of each public name.

    check_parity.py [--fix] [<root of the tree>]

A row names its tests, as <Suite>.<Test> of a file that tests/CMakeLists.txt builds, or as program.<name>,
example.<name>, compile_fail.<name>, and has a status:

    tested
    difference: [<words that stand there>](differences.md#<section>)
    not applicable: <reason>
    open: <what is missing>

A test that is not there, that no program runs, or that returns at once for some of its parameters (GTEST_SKIP
says so; a plain return does not), is a fault; so are a row that is tested by nothing, an
excuse without words, a difference that docs/differences.md does not tell, a name that our header has not,
and a number of rows that is not the inventory's. --fix writes the totals anew."""
import collections
import pathlib
import re
import sys

ROWS = {"Behaviours": 336, "Names": 283}

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
DISABLED = re.compile(r"^[ \t]*#[ \t]*if 0\b.*?^[ \t]*#[ \t]*endif", re.MULTILINE | re.DOTALL)
TEST = re.compile(r"^(TEST|TEST_F|TEST_P|TYPED_TEST)\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.MULTILINE)
EVERY = r"TEST_EVERY_START_METHOD\(\s*%s\b|INSTANTIATE_TEST_SUITE_P\([^;]*?\b%s\b[^;]*get_all_start_methods"
RUN = {
    "TEST_P": r"(?:TEST_EVERY_START_METHOD\(\s*|INSTANTIATE_TEST_SUITE_P\(\s*\w*\s*,\s*)%s\b",
    "TYPED_TEST": r"TYPED_TEST_SUITE\(\s*%s\b",
}
INCLUDE = re.compile(r"^#\s*include [<\"]([\w/]+\.hpp)[>\"]", re.MULTILINE)
BUILT = re.compile(r"[\w*/]+_test\.cpp")
PROGRAMS = {"program": "tests/programs", "example": "examples", "compile_fail": "tests/compile_fail"}

STATUS = re.compile(r"(tested)|(difference): \[(.+)\]\(differences\.md#([\w-]+)\)"
                    r"|(not applicable): \S.*|(open): \S.*")
SECTION = re.compile(r"^## (\w+)$", re.MULTILINE)
TOTALS = re.compile(r"^Of \d+ .*$", re.MULTILINE)
LEAVES = re.compile(r"^\s*if \([^;{]*\b(?:GetParam|forks)\(\)[^;{]*\)\s*\{?\s*return;", re.MULTILINE)
BODY_ENDS = re.compile(r"\n\}|^(?=TEST)", re.MULTILINE)
Test = collections.namedtuple("Test", "is_run every_start_method leaves", defaults=(False,))


def text_with_headers(path, root, seen):
    """A file of tests, and what it includes of tests/, without comments and what is switched off."""
    text = DISABLED.sub("", COMMENT.sub("", path.read_text(encoding="utf-8")))
    for name in INCLUDE.findall(text):
        header = root / "tests" / name
        if name not in seen and header.is_file():
            seen.add(name)
            text += text_with_headers(header, root, seen)
    return text


def tests_of(root):
    """Every test that the sources have, by its name."""
    found = {}
    cmake = root / "tests/CMakeLists.txt"
    patterns = BUILT.findall(cmake.read_text(encoding="utf-8")) if cmake.exists() else []
    for path in sorted((root / "tests").rglob("*.cpp")):
        text = text_with_headers(path, root, set())
        is_built = any(path.relative_to(root / "tests").match(pattern) for pattern in patterns)
        for match in TEST.finditer(text):
            kind, suite, name = match.groups()
            leaves = bool(LEAVES.search(BODY_ENDS.split(text[match.end():], 1)[0]))
            is_run = is_built and not f"{suite}{name}".count("DISABLED_")
            if kind in RUN:
                is_run = is_run and bool(re.search(RUN[kind] % suite, text))
            every = bool(re.search(EVERY % (suite, suite), text))
            before = found.get(f"{suite}.{name}", Test(False, False))
            found[f"{suite}.{name}"] = Test(before.is_run or is_run, before.every_start_method or every,
                                            before.leaves or leaves)
    for kind, folder in PROGRAMS.items():
        for path in (root / folder).glob("*.cpp"):
            found[f"{kind}.{path.stem}"] = Test(True, False)
    return found


def sections_of(text):
    """The text under each heading, by the heading's anchor, without the marks of code."""
    parts = re.split(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-"): body.replace("`", "")
            for title, body in zip(parts[1::2], parts[2::2])}


def cells_of(line):
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


class Page:
    """docs/parity.md, and what is wrong with it."""

    def __init__(self, root):
        self.root = root
        self.text = (root / "docs/parity.md").read_text(encoding="utf-8")
        self.tests = tests_of(root)
        self.differences = sections_of((root / "docs/differences.md").read_text(encoding="utf-8"))
        self.faults = []
        self.totals = {}
        parts = SECTION.split(self.text)
        for title, body in zip(parts[1::2], parts[2::2]):
            if title in ROWS:
                self.totals[title] = self.check_section(title, body)
        for title in ROWS:
            if title not in self.totals:
                self.faults.append(f"no section '{title}'")

    def check_section(self, title, body):
        counts = collections.Counter()
        seen = set()
        for line in body.splitlines():
            if not line.startswith("| `"):
                continue
            cells = cells_of(line)
            row = cells[0].strip("`")
            if row in seen:
                self.faults.append(f"{row}: stands there twice")
            seen.add(row)
            if len(cells) != (3 if title == "Behaviours" else 5):
                self.faults.append(f"{row}: {len(cells)} cells")
                continue
            names = re.findall(r"`([^`]+)`", cells[-2])
            status = self.check_status(row, names, cells[-1])
            if title == "Names":
                self.check_header(row, status, cells[1].strip("`"), cells[2].strip("`"))
            counts[status] += 1
            if status in ("tested", "difference") and any(
                    self.tests.get(name, Test(False, False)).every_start_method for name in names):
                counts["every"] += 1
        if not TOTALS.search(body):
            self.faults.append(f"{title}: no totals")
        if len(seen) != ROWS[title]:
            self.faults.append(f"{title}: {len(seen)} rows, not {ROWS[title]}")
        return counts

    def check_status(self, row, names, cell):
        for name in names:
            if name not in self.tests:
                self.faults.append(f"{row}: there is no test {name}")
            elif not self.tests[name].is_run:
                self.faults.append(f"{row}: no program runs {name}")
            elif self.tests[name].leaves:
                self.faults.append(f"{row}: {name} returns at once for some of its parameters")
        match = STATUS.fullmatch(cell)
        if not match:
            self.faults.append(f"{row}: '{cell}' is no status")
            return "none"
        status = match[1] or match[2] or match[5] or match[6]
        if status == "tested" and not names:
            self.faults.append(f"{row}: tested by nothing")
        if status == "not applicable" and names:
            self.faults.append(f"{row}: not applicable, and has tests")
        if status == "difference":
            section = self.differences.get(match[4])
            if section is None:
                self.faults.append(f"{row}: docs/differences.md has no section #{match[4]}")
            elif match[3].replace("`", "") not in section:
                self.faults.append(f"{row}: docs/differences.md#{match[4]} does not say '{match[3]}'")
        return status

    def check_header(self, row, status, ours, header):
        if header == "-":
            if status == "tested":
                self.faults.append(f"{row}: tested, but no header has it")
            return
        path = self.root / "include/multiprocessing" / header
        if not path.is_file():
            self.faults.append(f"{row}: there is no header {header}")
            return
        words = re.findall(r"\w+", ours.split("(")[0].split("{")[0])
        code = COMMENT.sub("", path.read_text(encoding="utf-8"))
        if not words or not re.search(rf"\b{words[-1]}\b", code):
            self.faults.append(f"{row}: {header} has no {ours}")

    def summary(self, title):
        counts = self.totals.get(title, collections.Counter())
        return (f"Of {ROWS[title]} {title.lower()}: {counts['tested']} tested, {counts['difference']} different on "
                f"purpose, {counts['not applicable']} not applicable, {counts['open']} open; {counts['every']} run "
                f"under every start method.")

    def fixed(self):
        """The text with its totals written anew."""
        parts = SECTION.split(self.text)
        for i in range(1, len(parts), 2):
            if parts[i] in ROWS:
                summary = self.summary(parts[i])
                parts[i + 1] = TOTALS.sub(lambda _: summary, parts[i + 1], count=1)
            parts[i] = f"## {parts[i]}"
        return "".join(parts)


def check(root):
    """Every fault of the page, and its totals."""
    page = Page(pathlib.Path(root))
    if not page.faults and page.fixed() != page.text:
        page.faults.append("the totals are others: check_parity.py --fix")
    return [f"docs/parity.md: {fault}" for fault in page.faults], [page.summary(title) for title in ROWS]


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--fix"]
    where = pathlib.Path(arguments[0] if arguments else ".")
    if "--fix" in sys.argv:
        (where / "docs/parity.md").write_text(Page(where).fixed(), encoding="utf-8")
    all_faults, all_totals = check(where)
    print("\n".join(all_faults + all_totals))
    sys.exit(bool(all_faults))
