# SPDX-License-Identifier: BSL-1.0
import multiprocessing as mp
import sys


class Greeter(mp.Process):
    def __init__(self, connection, lock):
        super().__init__()
        self.connection = connection
        self.lock = lock

    def run(self):
        with self.lock:  # without it two readers tear one message apart
            greeting = self.connection.recv()
        print(greeting, flush=True)
        self.connection.send(f"hello, i am subprocess:{self.pid}")
        self.connection.close()


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    parent, child = mp.Pipe()
    lock = mp.Lock()
    first = Greeter(child, lock)
    second = Greeter(child, lock)
    first.start()
    second.start()
    parent.send("hello, subprocess")
    parent.send("hello, subprocess")
    print(parent.recv())
    print(parent.recv())
    first.join()
    second.join()
