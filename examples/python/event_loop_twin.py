# SPDX-License-Identifier: BSL-1.0
import multiprocessing as mp
import sys
from multiprocessing.connection import wait


def work(connection, queue):
    connection.send("hello from the child")
    queue.put(42)
    connection.recv()  # until all has been seen


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    parent, child = mp.Pipe()
    queue = mp.Queue()
    process = mp.Process(target=work, args=(child, queue))
    process.start()
    waiting = [parent, queue._reader, process.sentinel]
    seen = 0
    while waiting:
        for ready in wait(waiting):
            waiting.remove(ready)
            if ready is parent:
                print("message:", parent.recv())
                seen += 1
            elif ready == process.sentinel:
                process.join()
                print("exit code:", process.exitcode)
            else:
                print("item:", queue.get())
                seen += 1
            if seen == 2 and ready != process.sentinel:
                parent.send(0)
