// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/distributed.hpp>

namespace mp = multiprocessing;

int main() {
  mp::freeze_support();
  mp::distributed::Pool pool{1};
  return pool.apply([](int x) { return x - 3; }, 3);
}
