// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/network.hpp>

namespace mp = multiprocessing;

int main() {
  mp::Listener listener{{.authkey = "k"}};
  return listener.try_accept() ? 1 : 0;
}
