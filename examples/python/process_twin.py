# SPDX-License-Identifier: BSL-1.0
import multiprocessing as mp
import sys
import time


class Worker(mp.Process):
    def run(self):
        time.sleep(2)
        print(f"i am {self.name} at {int(time.time())}", flush=True)


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    workers = [Worker() for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("all done")
