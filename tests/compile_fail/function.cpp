// SPDX-License-Identifier: BSL-1.0
// expect: multiprocessing: objects of this type cannot travel to another process
// expect: make it an aggregate of types that can
// expect: or specialise multiprocessing::codec for it
// names: std::function<void()> | std::function<void ()>
#include <multiprocessing/serialization.hpp>

#include <functional>

std::vector<std::byte> send(const std::function<void()>& function) {
  return multiprocessing::dumps(function);
}
