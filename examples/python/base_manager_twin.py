# SPDX-License-Identifier: BSL-1.0
import multiprocessing as mp
import sys
from multiprocessing.managers import BaseManager


class Bank:
    def __init__(self):
        self.accounts = {}

    def deposit(self, name, amount):
        self.accounts[name] = self.accounts.get(name, 0) + amount

    def transfer(self, source, target, amount):
        if self.accounts[source] < amount:
            raise ValueError(source + " has not so much")
        self.accounts[source] -= amount
        self.accounts[target] += amount

    def balance(self, name):
        return self.accounts[name]


class Manager(BaseManager):
    pass


Manager.register("Bank", Bank)


def work(bank, times):
    for _ in range(times):
        bank.transfer("ann", "bob", 1)


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")

    with Manager() as manager:
        bank = manager.Bank()
        bank.deposit("ann", 100)
        bank.deposit("bob", 0)

        workers = [mp.Process(target=work, args=(bank, 10)) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print(f"ann {bank.balance('ann')}, bob {bank.balance('bob')}")

        try:
            bank.transfer("ann", "bob", 1000)
        except ValueError as error:
            print("refused:", error)
