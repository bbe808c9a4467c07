# SPDX-License-Identifier: BSL-1.0
import multiprocessing as mp
import sys


def step(barrier, lock, number):
    for round in range(2):
        with lock:
            print("party", number, "comes to round", round, flush=True)
        if barrier.wait() == 0:
            with lock:
                print("all are here in round", round, flush=True)
        barrier.wait()


def use_licence(licences, lock, number):
    with licences:
        with lock:
            print("user", number, "has a licence", flush=True)


def fill(changed, shelf):
    for item in range(1, 4):
        with changed:
            changed.wait_for(lambda: shelf.value == 0)
            shelf.value = item
            changed.notify()


def clear_away(changed, shelf):
    for _ in range(3):
        with changed:
            changed.wait_for(lambda: shelf.value != 0)
            print("took item", shelf.value, flush=True)
            shelf.value = 0
            changed.notify()


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    lock = mp.Lock()
    barrier = mp.Barrier(3)
    licences = mp.Semaphore(2)
    changed = mp.Condition()
    shelf = mp.Value("i", 0)
    processes = [mp.Process(target=step, args=(barrier, lock, i)) for i in range(3)]
    processes += [mp.Process(target=use_licence, args=(licences, lock, i)) for i in range(4)]
    processes.append(mp.Process(target=fill, args=(changed, shelf)))
    processes.append(mp.Process(target=clear_away, args=(changed, shelf)))
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print("free licences:", licences.get_value())
