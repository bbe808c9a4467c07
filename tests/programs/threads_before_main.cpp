// SPDX-License-Identifier: BSL-1.0
// A program whose static objects start a thread has no fork server: start() says why, and starts
// nothing. Its other start methods work.
// Not on Windows: the fork server
#include <multiprocessing/process.hpp>

#include <cstdio>
#include <stdexcept>
#include <string_view>
#include <thread>

#include <unistd.h>

namespace mp = multiprocessing;

namespace {

const bool started = [] {
  std::thread{[] { ::pause(); }}.detach();
  return true;
}();

bool is_refused() {
  mp::Process process({.start_method = mp::StartMethod::forkserver}, [] {});
  try {
    process.start();
  } catch (const std::logic_error& error) {
    const std::string_view text{error.what()};
    return text.find("static objects of this program") != std::string_view::npos &&
           !process.is_alive();
  }
  return false;
}

bool works(mp::StartMethod method) {
  mp::Process process({.start_method = method}, [] { throw mp::SystemExit(7); });
  process.start();
  process.join();
  return process.exitcode() == 7;
}

}  // namespace

int main() {
  mp::freeze_support();
  if (!started || !is_refused()) return std::puts("a server with threads forks"), 1;
  if (!works(mp::StartMethod::fork) || !works(mp::StartMethod::spawn)) return 2;
  return 0;
}
