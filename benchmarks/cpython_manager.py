# SPDX-License-Identifier: BSL-1.0
"""For every line that comes, prints how many nanoseconds one access to CPython's Manager dict takes.

    cpython_manager.py get|set int|str"""
import multiprocessing
import sys
import time

ROUNDS = 2_000
KEYS = 1_000


def measure(shared, keys, sets):
    begin = time.perf_counter()
    for i in range(ROUNDS):
        key = keys[i % KEYS]
        if sets:
            shared[key] = key
        else:
            shared[key]
    return (time.perf_counter() - begin) / ROUNDS * 1e9


if __name__ == "__main__":
    names = list(range(KEYS)) if sys.argv[2] == "int" else [f"key number {i}" for i in range(KEYS)]
    with multiprocessing.Manager() as manager:
        contents = manager.dict({name: name for name in names})
        while sys.stdin.read(1):
            print(f"{measure(contents, names, sys.argv[1] == 'set'):.9g}", flush=True)
