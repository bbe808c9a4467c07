# SPDX-License-Identifier: BSL-1.0
import multiprocessing as mp
import sys


class Worker(mp.Process):
    def __init__(self, queue, number):
        super().__init__()
        self.queue = queue
        self.number = number

    def run(self):
        self.queue.put(["hello", self.number, id(self.queue)])


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    queue = mp.Queue()
    print("my queue:", id(queue), flush=True)
    workers = [Worker(queue, number) for number in range(3)]
    for worker in workers:
        worker.start()
    for _ in range(3):
        text, number, theirs = queue.get()
        print(text, number, theirs)
    for worker in workers:
        worker.join()
