# SPDX-License-Identifier: BSL-1.0
import multiprocessing as mp
import sys


def show(title, name_, age):
    print(f"{mp.current_process().name}: {title} {name_} {age}", flush=True)


def square(results, number):
    results.put(number * number)


def fail():
    sys.exit(3)


def sleep_for_ever(results):
    results.put(0)
    mp.Queue().get()


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    named = mp.Process(name="shower", target=show, args=("this is",),
                       kwargs={"name_": "json", "age": 19})
    print(named.name, "alive:", int(named.is_alive()), flush=True)
    named.start()
    named.join()
    print(named.name, "exit code:", named.exitcode, flush=True)

    results = mp.Queue()
    squares = [mp.Process(target=square, args=(results, i)) for i in range(1, 4)]
    for process in squares:
        process.start()
    sum = 0
    for process in squares:
        sum += results.get()
        process.join()
    print("sum of squares:", sum, flush=True)

    failing = mp.Process(target=fail)
    failing.start()
    failing.join()
    print(failing.name, "exit code:", failing.exitcode, flush=True)

    sleeper = mp.Process(target=sleep_for_ever, args=(results,))
    sleeper.start()
    results.get()
    sleeper.join(0.01)
    print("joined in time:", int(sleeper.exitcode is not None), flush=True)
    sleeper.terminate()
    sleeper.join()
    print(sleeper.name, "exit code:", sleeper.exitcode)
