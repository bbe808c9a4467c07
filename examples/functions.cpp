// SPDX-License-Identifier: BSL-1.0
// The plain form: a function, its arguments, a name; exit codes; a process ended by force.
//   ./functions [fork|spawn|forkserver]
#include <multiprocessing.hpp>

#include <chrono>
#include <iostream>
#include <string>
#include <vector>

namespace mp = multiprocessing;

struct Person {  // keyword arguments are an aggregate
  std::string name_;
  int age = 0;
};

void show(const std::string& title, const Person& person) {
  std::cout << mp::current_process().name() + ": " + title + ' ' + person.name_ + ' ' +
                   std::to_string(person.age) + '\n';
}

void square(mp::Queue<int> results, int number) {
  results.put(number * number);
}

void fail() {
  throw mp::SystemExit{3};
}

void sleep_for_ever(mp::Queue<int> results) {
  results.put(0);
  (void)mp::Queue<int>{}.get();
}

int main(int argc, char** argv) {
  mp::freeze_support();
  if (argc > 1) mp::set_start_method(argv[1]);

  mp::Process named{
      {.name = "shower"}, show, std::string{"this is"}, Person{.name_ = "json", .age = 19}};
  std::cout << named.name() << " alive: " << named.is_alive() << std::endl;
  named.start();
  named.join();
  std::cout << named.name() << " exit code: " << *named.exitcode() << '\n';

  mp::Queue<int> results;
  std::vector<mp::Process<>> squares;
  for (int i = 1; i <= 3; ++i) squares.emplace_back(square, results, i);
  for (auto& process : squares) process.start();
  int sum = 0;
  for (auto& process : squares) {
    sum += results.get();
    process.join();
  }
  std::cout << "sum of squares: " << sum << '\n';

  mp::Process failing{fail};
  failing.start();
  failing.join();
  std::cout << failing.name() << " exit code: " << *failing.exitcode() << '\n';

  mp::Process sleeper{sleep_for_ever, results};
  sleeper.start();
  results.get();
  std::cout << "joined in time: " << sleeper.join(std::chrono::milliseconds{10}) << '\n';
  sleeper.terminate();
  sleeper.join();
  std::cout << sleeper.name() << " exit code: " << *sleeper.exitcode() << '\n';
}
