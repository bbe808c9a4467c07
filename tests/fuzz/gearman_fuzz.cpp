// SPDX-License-Identifier: BSL-1.0
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include <fuzz/gearman.hpp>
#include <sys/socket.h>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span{data, size});
  fuzz::gearman_packets(bytes);
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) std::abort();
  fuzz::gearman_socket(multiprocessing::os::UniqueHandle{ends[0]},
                       multiprocessing::os::UniqueHandle{ends[1]}, bytes);
  return 0;
}
