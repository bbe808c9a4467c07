// SPDX-License-Identifier: BSL-1.0
// Not on Windows: a crash leaves no trace there.
// With <multiprocessing/stacktrace.hpp> the trace of a crash has files and lines.
#include <multiprocessing.hpp>
#include <multiprocessing/stacktrace.hpp>

#include <iostream>
#include <string>

namespace mp = multiprocessing;

namespace {

int* volatile nowhere = nullptr;

int crash(int x) {
  return *nowhere + x;  // line 17
}

}  // namespace

int main() {
  mp::freeze_support();
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return 77;  // they handle the signal themselves
#endif
  for (const mp::StartMethod method : mp::get_all_start_methods()) {
    mp::Pool pool{{.processes = 1, .start_method = method}};
    try {
      pool.apply(crash, 1);
    } catch (const mp::BrokenProcessPool& error) {
      const std::string trace = error.traceback();
      if (trace.find("crash(int) at ") != std::string::npos &&
          trace.find("crash_lines.cpp:17 (") != std::string::npos) {
        continue;
      }
      std::cerr << error.what();
    }
    return 1;
  }
}
