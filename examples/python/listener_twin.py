# SPDX-License-Identifier: BSL-1.0
import multiprocessing as mp
import sys
from multiprocessing.connection import Client, Listener


def ask(path, numbers):
    with Client(path, authkey=b"secret") as connection:
        connection.send(numbers)
        total = connection.recv()
    print(f"the sum is {total}", flush=True)


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    with Listener(authkey=b"secret") as listener:
        path = listener.address
        first = mp.Process(target=ask, args=(path, [1, 2, 3]))
        second = mp.Process(target=ask, args=(path, [10, 20]))
        first.start()
        second.start()
        for _ in range(2):
            with listener.accept() as connection:
                connection.send(sum(connection.recv()))
        first.join()
        second.join()
