#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Compiles programs that must not compile, and looks at what the compiler says.

    run.py COMPILER INCLUDE_DIR [FILE...] [-- COMPILER_OPTION...]

Without files: all *.cpp beside this script. A file holds, in comments,

    // expect: words of the error         in this order, in the message of the first error
    // names: a type                      somewhere in what the compiler says about it

and has exactly one error: one that compilers explain is one that people can read. A file without
`expect` is a control: it must compile. No other comment stands before the first line of code: it might be
the rest of such a line, wrapped.
"""
import itertools
import pathlib
import re
import subprocess
import sys

MAX_LINES = 60  # more than this nobody reads


def comments(text, key):
    return re.findall(rf"^// {key}: (.+)$", text, re.MULTILINE)


def faults(text):
    """What is wrong with a file's own comments, as sentences."""
    head = itertools.takewhile(lambda line: line.startswith("//"), text.splitlines())
    wrong = [f"neither expect nor names: {line}" for line in head
             if not re.match(r"// (SPDX-License-Identifier|expect|names): ", line)]
    if comments(text, "expect") and not comments(text, "names"):
        wrong.append("it expects an error, and no type's name in it")
    return wrong


def compile_file(compiler, include, options, path):
    command = [compiler, "-std=c++20", "-fsyntax-only", f"-I{include}", *options, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stderr


def complaints(path, status, output):
    """What is wrong with what the compiler said, as sentences."""
    text = path.read_text()
    if wrong := faults(text):
        return wrong
    expected = comments(text, "expect")
    if not expected:
        return [] if status == 0 else ["the control does not compile"]
    if status == 0:
        return ["it compiles"]
    wrong = []
    errors = re.findall(r"^.*\b(?:fatal )?error: .*$", output, re.MULTILINE)
    if len(errors) != 1:
        wrong.append(f"there are {len(errors)} errors, not one")
    first = re.sub(r"\s+", " ", errors[0]) if errors else ""
    if "static assertion failed" not in first and "static_assert failed" not in first:
        wrong.append("the first error is no static_assert")
    position = 0
    for words in expected:
        found = first.find(words, position)
        if found < 0:
            wrong.append(f"the error does not say: {words}")
        else:
            position = found + len(words)
    for name in comments(text, "names"):
        if not any(form in output for form in name.split(" | ")):
            wrong.append(f"nothing names: {name}")
    lines = output.count("\n")
    if lines > MAX_LINES:
        wrong.append(f"{lines} lines are too many to read")
    return wrong


def main(arguments):
    options = []
    if "--" in arguments:
        split = arguments.index("--")
        arguments, options = arguments[:split], arguments[split + 1:]
    if len(arguments) < 2:
        sys.exit(__doc__)
    compiler, include, *names = arguments
    here = pathlib.Path(__file__).resolve().parent
    paths = [pathlib.Path(name) for name in names] or sorted(here.glob("*.cpp"))
    if not paths:
        sys.exit("no files")
    failed = False
    for path in paths:
        status, output = compile_file(compiler, include, options, path)
        wrong = complaints(path, status, output)
        print(f"{'FAILED' if wrong else 'ok    '} {path.name}")
        for sentence in wrong:
            print(f"       {sentence}")
        if wrong:
            print(output)
        failed = failed or bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
