# SPDX-License-Identifier: BSL-1.0
import ctypes
import multiprocessing as mp
import sys


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_int)]


def work(count, squares, point, number):
    for _ in range(1000):
        with count.get_lock():
            count.value += 1
    squares[number] = number * number
    with point.get_lock():
        point.x += number
        point.y -= number


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    count = mp.Value("i", 0)
    squares = mp.Array("i", 5)
    point = mp.Value(Point, 10, 10)
    processes = [mp.Process(target=work, args=(count, squares, point, i)) for i in range(5)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print("count:", count.value)
    print("squares:", *squares)
    print("point:", point.x, point.y)
