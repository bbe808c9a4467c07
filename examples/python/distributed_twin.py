# SPDX-License-Identifier: BSL-1.0
import multiprocessing as mp
import sys


def row(y):
    shades = ""
    for x in range(64):
        cx, cy = 3.0 * x / 64 - 2.0, 2.0 * y / 24 - 1.0
        zx = zy = 0.0
        rounds = 0
        while rounds < 200 and zx * zx + zy * zy < 4:
            zx, zy = zx * zx - zy * zy + cx, 2 * zx * zy + cy
            rounds += 1
        shades += "#" if rounds == 200 else "+" if rounds > 9 else "."
    return shades


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    with mp.Pool() as pool:
        for shades in pool.imap(row, range(25)):
            print(shades)
