#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Runs clang-tidy over every file of the tree that is compiled.

    check_tidy.py <root of the tree> <build folder> [<part of a file's path>...]

Each file is looked at once, however many programs it is in; a header is looked at through those that
include it. What passed is noted in the build folder, and not looked at again while neither it, nor a
header, nor a .clang-tidy has changed. Prints every finding and exits 1, or prints what it did and
exits 0. Each processor looks at one file at a time. check_tidy_test.py shows it at work."""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time

SHARED = re.compile(r"(\.hpp|\.ipp|\.clang-tidy)$")
FOLDERS = ("include", "tests", "examples", "benchmarks")


def sources(root, build):
    """The compile commands of the tree's own files: each file's first."""
    found = {}
    for entry in json.loads((build / "compile_commands.json").read_text(encoding="utf-8")):
        path = pathlib.Path(entry["file"])
        if path.is_relative_to(root) and not path.is_relative_to(build):
            found.setdefault(str(path.relative_to(root)), entry)
    return found


def shared_digest(root):
    """Of all that has a say about every file."""
    digest = hashlib.sha256(subprocess.run(["clang-tidy", "--version"], check=True,
                                           stdout=subprocess.PIPE).stdout)
    digest.update((root / ".clang-tidy").read_bytes())
    for path in (path for folder in FOLDERS for path in sorted((root / folder).rglob("*"))):
        if SHARED.search(path.name):
            digest.update(path.read_bytes())
    return digest.digest()


def look_at(path, entry, folder, shared):
    """Returns what was found, or nothing, and the seconds that it took."""
    digest = hashlib.sha256(shared + entry["command"].encode() + path.read_bytes()).hexdigest()
    note = folder / hashlib.sha256(str(path).encode()).hexdigest()
    if note.exists() and note.read_text(encoding="utf-8") == digest:
        return "", 0
    begun = time.monotonic()
    done = subprocess.run(["clang-tidy", "-p", str(folder), "--quiet", str(path)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        note.write_text(digest, encoding="utf-8")
        return "", time.monotonic() - begun
    return done.stdout or done.stderr or "clang-tidy failed", time.monotonic() - begun


def main():
    root, build = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
    wanted = sys.argv[3:]
    found = {name: entry for name, entry in sources(root, build).items()
             if not wanted or any(part in name for part in wanted)}
    folder = build / "tidy"
    folder.mkdir(exist_ok=True)
    # One command for each file, or clang-tidy looks at it once for every program that has it.
    (folder / "compile_commands.json").write_text(json.dumps(list(found.values())),
                                                  encoding="utf-8")
    shared = shared_digest(root)
    refused = 0
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as workers:
        names = {workers.submit(look_at, root / name, found[name], folder, shared): name
                 for name in sorted(found, key=lambda name: -(root / name).stat().st_size)}
        for number, task in enumerate(concurrent.futures.as_completed(names), 1):
            findings, seconds = task.result()
            refused += bool(findings)
            print(f"[{number}/{len(names)}] {names[task]}, {seconds:.0f} s\n{findings}".rstrip(),
                  flush=True)
    print(f"{len(found)} files, {refused} with findings")
    return 1 if refused or not found else 0


if __name__ == "__main__":
    sys.exit(main())
