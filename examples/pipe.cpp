// SPDX-License-Identifier: BSL-1.0
// Two processes share one end of a pipe: each greeting arrives whole in exactly one of them.
//   ./pipe [fork|spawn|forkserver]
#include <multiprocessing.hpp>

#include <iostream>
#include <string>
#include <utility>

namespace mp = multiprocessing;

class Greeter : public mp::Process<Greeter> {
 public:
  explicit Greeter(mp::Connection connection) : connection_{std::move(connection)} {}
  void run() override {
    std::cout << connection_.recv<std::string>() + "\n";
    connection_.send("hello, i am subprocess:" + std::to_string(*pid()));
    connection_.close();
  }
  auto reduce() const { return mp::arguments(connection_); }

 private:
  mp::Connection connection_;
};

int main(int argc, char** argv) {
  mp::freeze_support();
  if (argc > 1) mp::set_start_method(argv[1]);

  auto [parent, child] = mp::Pipe();
  Greeter first{child};
  Greeter second{child};
  first.start();
  second.start();
  parent.send(std::string{"hello, subprocess"});
  parent.send(std::string{"hello, subprocess"});
  std::cout << parent.recv<std::string>() << '\n';
  std::cout << parent.recv<std::string>() << '\n';
  first.join();
  second.join();
}
