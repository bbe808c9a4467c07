// SPDX-License-Identifier: BSL-1.0
// A class of the program's own in a server process, called by several others.
//   ./base_manager [fork|spawn|forkserver]
#include <multiprocessing.hpp>
#include <multiprocessing/base_manager.hpp>

#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace mp = multiprocessing;

class Bank {
 public:
  void deposit(const std::string& name, int amount) { accounts_[name] += amount; }
  void transfer(const std::string& from, const std::string& to, int amount) {
    if (accounts_[from] < amount) throw std::invalid_argument{from + " has not so much"};
    accounts_[from] -= amount;
    accounts_[to] += amount;
  }
  int balance(const std::string& name) const { return accounts_.at(name); }

 private:
  std::map<std::string, int> accounts_;
};

void work(mp::Proxy<Bank> bank, int times) {
  for (int i = 0; i < times; ++i) bank.call<&Bank::transfer>("ann", "bob", 1);
}

int main(int argc, char** argv) {
  mp::freeze_support();
  if (argc > 1) mp::set_start_method(argv[1]);

  mp::BaseManager manager;
  manager.start();
  const auto bank = manager.create<Bank>();
  bank.call<&Bank::deposit>("ann", 100);
  bank.call<&Bank::deposit>("bob", 0);

  std::vector<mp::Process<>> workers;
  for (int i = 0; i < 3; ++i) workers.emplace_back(work, bank, 10);
  for (auto& worker : workers) worker.start();
  for (auto& worker : workers) worker.join();
  std::cout << "ann " << bank.call<&Bank::balance>("ann") << ", bob "
            << bank.call<&Bank::balance>("bob") << '\n';

  try {
    bank.call<&Bank::transfer>("ann", "bob", 1000);
  } catch (const std::invalid_argument& error) {
    std::cout << "refused: " << error.what() << '\n';
  }
  manager.shutdown();
}
