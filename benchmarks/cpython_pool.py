#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""CPython's pools, for pool_benchmark: cpython_pool.py <what> <how many workers> <times>

For each line on stdin: the time that it took, in microseconds, for each of so many (of map: for all)."""
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor


def square(x):
    return x * x


def same(x):
    return x


def measure(what, pool, executor, times):
    numbers = range(times)
    payload = bytes(1 << 20)
    begin = time.perf_counter()
    if what == "apply":
        for i in numbers:
            pool.apply(square, (i,))
    elif what == "apply_1MiB":
        for _ in numbers:
            pool.apply(same, (payload,))
    elif what == "imap_unordered":
        for _ in pool.imap_unordered(square, numbers):
            pass
    elif what == "map":
        pool.map(square, numbers)
        times = 1
    elif what == "submit":
        for future in [executor.submit(square, i) for i in numbers]:
            future.result()
    return (time.perf_counter() - begin) / times * 1e6


def main():
    what, workers, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    context = multiprocessing.get_context("fork")
    with context.Pool(workers) as pool, ProcessPoolExecutor(workers, context) as executor:
        while sys.stdin.readline():
            print(measure(what, pool, executor, times), flush=True)


if __name__ == "__main__":
    main()
