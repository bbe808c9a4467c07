# SPDX-License-Identifier: BSL-1.0
"""For every line that comes, prints how many nanoseconds CPython's Lock takes to be acquired and released."""
import multiprocessing
import sys
import time

ROUNDS = 200_000


def measure(lock):
    begin = time.perf_counter()
    for _ in range(ROUNDS):
        lock.acquire()
        lock.release()
    return (time.perf_counter() - begin) / ROUNDS * 1e9


if __name__ == "__main__":
    shared = multiprocessing.Lock()
    while sys.stdin.read(1):
        print(f"{measure(shared):.9g}", flush=True)
