# SPDX-License-Identifier: BSL-1.0
"""CPython's Connection over AF_UNIX. Writes one measurement for each line read, in microseconds a message:

    cpython_connection.py one_way|processor_time <bytes> <messages>

processor_time is that of one end of round trips, for each message that it sends or receives."""
import multiprocessing
import sys
import time
from multiprocessing.connection import Client, Listener


def send(address, size, count):
    message = b"x" * size
    with Client(address) as connection:
        connection.recv_bytes()
        for _ in range(count):
            connection.send_bytes(message)


def echo(address, size, count):
    with Client(address) as connection:
        for _ in range(count):
            connection.send_bytes(connection.recv_bytes())


def connected(target, size, count):
    with Listener() as listener:
        process = multiprocessing.Process(target=target, args=(listener.address, size, count))
        process.start()
        return process, listener.accept()


def one_way(size, count):
    process, connection = connected(send, size, count)
    with connection:
        connection.send_bytes(b"")
        begin = time.perf_counter()
        for _ in range(count):
            connection.recv_bytes()
        seconds = time.perf_counter() - begin
    process.join()
    return seconds / count * 1e6


def processor_time(size, count):
    process, connection = connected(echo, size, count)
    message = b"x" * size
    with connection:
        begin = time.process_time()
        for _ in range(count):
            connection.send_bytes(message)
            connection.recv_bytes()
        seconds = time.process_time() - begin
    process.join()
    return seconds / count / 2 * 1e6


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    measure = {"one_way": one_way, "processor_time": processor_time}[sys.argv[1]]
    for _ in sys.stdin:
        print(measure(int(sys.argv[2]), int(sys.argv[3])), flush=True)
