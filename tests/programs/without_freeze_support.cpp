// SPDX-License-Identifier: BSL-1.0
// main() does not call freeze_support(): spawn and forkserver are refused before there is a
// process, fork works.
#include <multiprocessing/process.hpp>

#include <cerrno>
#include <cstdio>
#include <stdexcept>
#include <string>

#if MULTIPROCESSING_POSIX
#  include <sys/wait.h>
#endif

namespace mp = multiprocessing;

namespace {

int failed(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  return 1;
}

}  // namespace

int main() {
  for (const mp::StartMethod method : mp::get_all_start_methods()) {
    if (method == mp::StartMethod::fork) continue;
    mp::Process process({.start_method = method}, [] {});
    try {
      process.start();
      return failed("it started");
    } catch (const std::logic_error& error) {
      const std::string what = error.what();
      if (what.find("multiprocessing::freeze_support();") == std::string::npos ||
          what.find("first line of main()") == std::string::npos) {
        return failed(error.what());
      }
    }
    if (process.is_alive() || process.pid()) return failed("it says that it started");
#if MULTIPROCESSING_POSIX
    if (::waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD) return failed("there is a child");
#endif
  }
#if MULTIPROCESSING_POSIX
  mp::Process forked({.start_method = mp::StartMethod::fork}, [] { throw mp::SystemExit(3); });
  forked.start();
  forked.join();
  return forked.exitcode() == 3 ? 0 : failed("fork does not work");
#else
  return 0;
#endif
}
