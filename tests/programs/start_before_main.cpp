// SPDX-License-Identifier: BSL-1.0
// A static object may start a process: what a start needs, the standard streams among it, is there
// before it, whether this file has the library's functions or an archive has them.
// Not on Windows: fork, and a spawned child would start another one before its main()
#include <multiprocessing/process.hpp>

#include <cstdio>
#include <optional>

namespace mp = multiprocessing;

namespace {

struct Early {
  Early() {
    mp::Process process({.start_method = mp::StartMethod::fork}, [] {
      std::puts("started before main");
      throw mp::SystemExit(7);
    });
    process.start();
    process.join();
    exitcode = process.exitcode();
  }
  std::optional<int> exitcode;
};
const Early early;

}  // namespace

int main() {
  mp::freeze_support();
  return early.exitcode == 7 ? 0 : 1;
}
