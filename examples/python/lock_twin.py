# SPDX-License-Identifier: BSL-1.0
import multiprocessing as mp
import sys


def greet(start, lock, number):
    start.wait()
    with lock:
        print("hello world", number, flush=True)


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    start = mp.Event()
    lock = mp.Lock()
    processes = [mp.Process(target=greet, args=(start, lock, i)) for i in range(10)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join()
    free = lock.acquire(block=False)
    print("locked:", int(not free))
