# SPDX-License-Identifier: BSL-1.0
import multiprocessing as mp
import sys


def square(x):
    return x * x


def refuse(x):
    raise ValueError(f"not {x}")


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    with mp.Pool(4) as pool:
        for x in pool.map(square, [1, 2, 3]):
            print(x)
        later = pool.apply_async(square, (20,))
        total = 0
        for x in pool.imap_unordered(square, [4, 5, 6]):
            total += x
        print(f"later: {later.get()}, sum: {total}")
        try:
            pool.apply(refuse, (7,))
        except ValueError as error:
            print("refused:", error)
