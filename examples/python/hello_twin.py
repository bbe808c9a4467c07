# SPDX-License-Identifier: BSL-1.0
#! [readme]
import multiprocessing as mp


def greet(queue, name):
    queue.put("hello, " + name)


if __name__ == "__main__":
    queue = mp.Queue()
    process = mp.Process(target=greet, args=(queue, "world"))
    process.start()
    print(queue.get())
    process.join()
#! [readme]
