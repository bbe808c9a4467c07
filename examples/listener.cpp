// SPDX-License-Identifier: BSL-1.0
// A server and two clients that know a key, in the protocol of Python's multiprocessing: either
// side could be a Python program.
//   ./listener [fork|spawn|forkserver]
#include <multiprocessing.hpp>
#include <multiprocessing/network.hpp>

#include <iostream>
#include <string>
#include <vector>

namespace mp = multiprocessing;

void ask(const std::string& path, const std::vector<int>& numbers) {
  auto connection = mp::Client(path, {.authkey = "secret"});
  mp::pickle::send(connection, numbers);
  const auto sum = mp::pickle::recv<int>(connection);
  std::cout << "the sum is " + std::to_string(sum) + "\n";
}

int main(int argc, char** argv) {
  mp::freeze_support();
  if (argc > 1) mp::set_start_method(argv[1]);

  mp::Listener listener{{.authkey = "secret"}};
  const std::string path = listener.address().path();
  mp::Process first{ask, path, std::vector<int>{1, 2, 3}};
  mp::Process second{ask, path, std::vector<int>{10, 20}};
  first.start();
  second.start();
  for (int clients = 0; clients < 2; ++clients) {
    auto connection = listener.accept();
    int sum = 0;
    for (const int number : mp::pickle::recv<std::vector<int>>(connection)) sum += number;
    mp::pickle::send(connection, sum);
  }
  first.join();
  second.join();
}
