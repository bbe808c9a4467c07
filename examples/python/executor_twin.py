# SPDX-License-Identifier: BSL-1.0
import multiprocessing as mp
import sys
import time
from concurrent.futures import ProcessPoolExecutor, TimeoutError, as_completed
from operator import mul


def nap(milliseconds):
    time.sleep(milliseconds / 1000)
    return milliseconds


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    with ProcessPoolExecutor(2) as executor:
        futures = [executor.submit(nap, milliseconds) for milliseconds in (30, 10, 20)]
        for milliseconds in sorted(future.result() for future in as_completed(futures)):
            print(f"slept {milliseconds} ms")

        slow = executor.submit(nap, 1000)
        try:
            slow.result(0.01)
        except TimeoutError:
            print("not there yet")
        while not slow.running() and not slow.done():
            time.sleep(0.001)
        print(f"cancelled: {int(slow.cancel())}, slept {slow.result()} ms")

        print("sum", sum(executor.map(mul, [1, 2, 3], [4, 5, 6])))
