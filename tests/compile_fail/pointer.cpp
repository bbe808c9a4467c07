// SPDX-License-Identifier: BSL-1.0
// expect: multiprocessing: a pointer cannot travel to another process
// expect: send the value (text as std::string, an object as unique_ptr or shared_ptr)
// expect: or give the class that holds the pointer a serialize(Archive&)
// names: int* | int *
#include <multiprocessing/serialization.hpp>

std::vector<std::byte> send(int* pointer) {
  return multiprocessing::dumps(pointer);
}
