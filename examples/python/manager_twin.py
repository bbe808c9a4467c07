# SPDX-License-Identifier: BSL-1.0
import multiprocessing as mp
import sys


def work(squares, names, words, lock, number):
    squares[number] = number * number
    names.append("worker " + str(number))
    for word in ["spam", "eggs", "spam"]:
        with lock:
            words[word] = words.get(word, 0) + 1


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    with mp.Manager() as manager:
        squares = manager.dict()
        names = manager.list()
        words = manager.dict()
        lock = manager.Lock()
        settings = manager.Namespace()
        settings.title = "squares"

        workers = [mp.Process(target=work, args=(squares, names, words, lock, i)) for i in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

        names.sort()
        print(settings.title)
        for i in range(4):
            print(f"{i}: {squares[i]}")
        for name in names:
            print(name)
        print(f"spam {words['spam']}, eggs {words['eggs']}")

        outer = manager.list()
        outer.append(names)
        outer[0].append("one more")
        print(f"{names[-1]}, {len(names)}")
