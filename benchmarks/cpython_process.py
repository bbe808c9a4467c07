#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""CPython's processes, for process_benchmark: cpython_process.py <start method> <times>

For each line on stdin: the microseconds that start() and join() of a process took, a mean of so many."""
import multiprocessing
import sys
import time


def nothing():
    pass


def main():
    context = multiprocessing.get_context(sys.argv[1])
    times = int(sys.argv[2])
    while sys.stdin.readline():
        begin = time.perf_counter()
        for _ in range(times):
            process = context.Process(target=nothing)
            process.start()
            process.join()
        print((time.perf_counter() - begin) / times * 1e6, flush=True)


if __name__ == "__main__":
    main()
