// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/distributed.hpp>

#include <system_error>

namespace mp = multiprocessing;

int main() {
  mp::freeze_support();
  try {
    mp::distributed::serve({.server = "127.0.0.1:1"});
  } catch (const std::system_error&) {  // nobody listens there
  }
}
