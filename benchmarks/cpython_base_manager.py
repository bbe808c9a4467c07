# SPDX-License-Identifier: BSL-1.0
"""For every line that comes, prints how many microseconds a call of an object in CPython's BaseManager takes, when so
many clients call at the same time: the time of all, divided by the calls of all.

    cpython_base_manager.py <clients>"""
import multiprocessing
import sys
import time
from multiprocessing.managers import BaseManager

CALLS = 2_000


class Counter:
    def __init__(self):
        self.value = 0

    def add(self, n):
        self.value += n
        return self.value


class Manager(BaseManager):
    pass


Manager.register("Counter", Counter)


def client(counter, begin, done):
    counter.add(1)
    while True:
        begin.acquire()
        for _ in range(CALLS):
            counter.add(1)
        done.release()


if __name__ == "__main__":
    clients = int(sys.argv[1])
    multiprocessing.set_start_method("fork")
    begin = multiprocessing.Semaphore(0)
    done = multiprocessing.Semaphore(0)
    with Manager() as manager:
        counter = manager.Counter()
        for _ in range(clients):
            multiprocessing.Process(target=client, args=(counter, begin, done), daemon=True).start()
        while sys.stdin.read(1):
            start = time.perf_counter()
            for _ in range(clients):
                begin.release()
            for _ in range(clients):
                done.acquire()
            print(f"{(time.perf_counter() - start) / (CALLS * clients) * 1e6:.9g}", flush=True)
