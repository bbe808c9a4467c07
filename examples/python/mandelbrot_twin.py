# SPDX-License-Identifier: BSL-1.0
import multiprocessing as mp
import struct
import sys
import zlib

WIDTH, HEIGHT = 360, 240


def row(y):
    shades = bytearray()
    for x in range(WIDTH):
        cx, cy = 3.0 * x / WIDTH - 2.0, 2.0 * y / HEIGHT - 1.0
        zx = zy = 0.0
        shade = 255
        while shade > 0 and zx * zx + zy * zy < 4:
            zx, zy = zx * zx - zy * zy + cx, 2 * zx * zy + cy
            shade -= 1
        shades.append(shade)
    return shades


def write_png(path, rows):
    """Python's library has no PNG, but what one is made of."""
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(
            ">I", zlib.crc32(name + content))

    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.write(chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)))
        file.write(chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))))
        file.write(chunk(b"IEND", b""))


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    with mp.Pool() as pool:
        picture = list(pool.imap(row, range(HEIGHT), 8))

    write_png("mandelbrot.png", picture)
    print(f"mandelbrot.png: {WIDTH} x {HEIGHT}")
