#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Checks that every system call of the library is made to fail by some test.

    check_faults.py [<root of the tree>]

Every MULTIPROCESSING_SYSTEM(name) in include/ must have a function of that name in a tests/fault/*.cpp,
inside namespace fault: written out, or made by one of its FAULT_ macros. `using ::name` passes a call
on and does not count."""
import pathlib
import re
import sys

CALL = re.compile(r"MULTIPROCESSING_SYSTEM\((\w+)\)")
NAMESPACE = re.compile(r"^namespace fault \{$(.*?)^\}  // namespace fault$", re.MULTILINE | re.DOTALL)
FUNCTION = re.compile(r"^(?:FAULT_\w+\((\w+)\)|[\w:*& ]+[ *&](\w+)\()", re.MULTILINE)

# Why a call needs no test.
CANNOT_FAIL = {
    "_exit": "does not return",
    "chdir": "to / alone: where it fails the folder stays, which harms nobody",
    "exit": "does not return",
    "getauxval": "always successful for what the kernel gives",
    "getgroups": "fails only where another thread adds groups meanwhile",
    "getpid": "always successful",
    "getresgid": "fails for bad addresses",
    "getresuid": "fails for bad addresses",
    "raise": "fails for numbers that are no signals",
    "sched_yield": "always successful on Linux",
    "setitimer": "fails for bad addresses and values",
}


def check(root):
    """Every fault of the tree, and how many calls there are."""
    root = pathlib.Path(root)
    made = {}
    for path in sorted((root / "include").rglob("*.ipp")):
        if path.parent.name == "windows":  # the tests of this system cannot reach it
            continue
        for name in CALL.findall(path.read_text(encoding="utf-8")):
            made.setdefault(name, path.relative_to(root).as_posix())
    failing = set()
    for path in sorted((root / "tests/fault").glob("*.cpp")):
        for body in NAMESPACE.findall(path.read_text(encoding="utf-8")):
            failing.update(name for names in FUNCTION.findall(body) for name in names if name)
    faults = [f"{where}: no test in tests/fault makes {name} fail" for name, where in sorted(made.items())
              if name not in failing and name not in CANNOT_FAIL]
    faults += [f"tests/lint/check_faults.py: {name} is not called" for name in CANNOT_FAIL
               if made and name not in made]
    if not made:
        faults.append("include/: no system calls")
    return faults, len(made)


if __name__ == "__main__":
    all_faults, total = check(sys.argv[1] if len(sys.argv) > 1 else ".")
    print("\n".join(all_faults) or f"{total} system calls: each fails in some test, or cannot")
    sys.exit(bool(all_faults))
