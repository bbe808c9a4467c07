# SPDX-License-Identifier: BSL-1.0
import multiprocessing as mp
import sys
from multiprocessing.shared_memory import ShareableList, SharedMemory


def change(name, items):
    memory = SharedMemory(name)
    for i in range(4):
        memory.buf[i] = i * i
    items[0] = "changed"
    items[2] += 1
    memory.close()
    items.shm.close()


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    memory = SharedMemory(create=True, size=64)
    items = ShareableList(["text", 2.5, 41, True])
    process = mp.Process(target=change, args=(memory.name, items))
    process.start()
    process.join()
    print("bytes:", *memory.buf[:4])
    print(f"list: {items[0]} {items[2]}, {len(items)} items, {items.format}")
    for each in (memory, items.shm):
        each.close()
        each.unlink()
