# SPDX-License-Identifier: BSL-1.0
import multiprocessing as mp
import sys

WIDTH, HEIGHT = 72, 24


def row(y):
    text = ""
    for x in range(WIDTH):
        cx, cy = 3.0 * x / WIDTH - 2.0, 2.0 * y / HEIGHT - 1.0
        zx = zy = 0.0
        steps = 0
        while steps < 90 and zx * zx + zy * zy < 4:
            zx, zy = zx * zx - zy * zy + cx, 2 * zx * zy + cy
            steps += 1
        text += " .:-=+*#%@"[steps // 10]
    return text


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    with mp.Pool() as pool:
        for text in pool.imap(row, range(HEIGHT)):
            print(text + "|")
