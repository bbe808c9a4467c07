// SPDX-License-Identifier: BSL-1.0
// A target that is a member function, in Microsoft's ABI.
#include <multiprocessing/process.hpp>

namespace mp = multiprocessing;

struct Plant {
  void grow() {}
};

int main() {
  mp::Process process{&Plant::grow, Plant{}};
}
