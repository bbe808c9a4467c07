// SPDX-License-Identifier: BSL-1.0
// A child finds memory by its name and a list as an argument; Python programs could, too.
//   ./shared_memory [fork|spawn|forkserver]
#include <multiprocessing.hpp>

#include <cstddef>
#include <iostream>
#include <string>
#include <variant>

namespace mp = multiprocessing;

void change(const std::string& name, mp::ShareableList list) {
  mp::SharedMemory memory{{.name = name}};
  for (std::size_t i = 0; i < 4; ++i) memory.buf()[i] = std::byte(i * i);
  list.set(0, "changed");
  list.set(2, std::get<std::int64_t>(list[2]) + 1);
}

int main(int argc, char** argv) {
  mp::freeze_support();
  mp::set_start_method(argc > 1 ? argv[1] : "fork");

  mp::SharedMemory memory{{.create = true, .size = 64}};
  mp::ShareableList list{"text", 2.5, 41, true};
  mp::Process process{change, memory.name(), list};
  process.start();
  process.join();
  std::cout << "bytes:";
  for (std::size_t i = 0; i < 4; ++i) std::cout << ' ' << std::to_integer<int>(memory.buf()[i]);
  std::cout << "\nlist: " << std::get<std::string>(list[0]) << ' '
            << std::get<std::int64_t>(list[2]) << ", " << list.size() << " items, " << list.format()
            << '\n';
}
