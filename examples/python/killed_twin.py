# SPDX-License-Identifier: BSL-1.0
# A Pool of Python's would wait for ever here, and an executor break as a whole: so each call has its own.
import multiprocessing as mp
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool


def square(n):
    if n == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return n * n


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    for n in (1, 2, 3):
        with ProcessPoolExecutor(1) as executor:
            try:
                print(f"{n}: {executor.submit(square, n).result()}")
            except BrokenProcessPool as error:
                print(error, file=sys.stderr)
