# SPDX-License-Identifier: BSL-1.0
"""CPython's queues. Writes one measurement for each line read: 64 bytes one way, in million messages a
second, or a round trip, in microseconds.

    cpython_queue.py Queue|SimpleQueue one_way|round_trip"""
import multiprocessing
import sys
import time

MESSAGE = b"x" * 64
MESSAGES = 20_000
TRIPS = 2_000


def produce(queue):
    for _ in range(MESSAGES):
        queue.put(MESSAGE)


def echo(there, back):
    for _ in range(TRIPS):
        back.put(there.get())


def one_way(kind):
    queue = kind()
    process = multiprocessing.Process(target=produce, args=(queue,))
    process.start()
    queue.get()
    begin = time.perf_counter()
    for _ in range(MESSAGES - 1):
        queue.get()
    seconds = time.perf_counter() - begin
    process.join()
    return MESSAGES / seconds / 1e6


def round_trip(kind):
    there, back = kind(), kind()
    process = multiprocessing.Process(target=echo, args=(there, back))
    process.start()
    begin = time.perf_counter()
    for _ in range(TRIPS):
        there.put(MESSAGE)
        back.get()
    seconds = time.perf_counter() - begin
    process.join()
    return seconds / TRIPS * 1e6


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    measure = {"one_way": one_way, "round_trip": round_trip}[sys.argv[2]]
    for _ in sys.stdin:
        print(measure(getattr(multiprocessing, sys.argv[1])), flush=True)
