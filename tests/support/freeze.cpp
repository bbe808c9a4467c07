// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing.hpp>

#include <support/main.hpp>

#include <mutex>

void test::start_of_main() {
  multiprocessing::freeze_support();
}

void test::end_of_test() {
  const std::lock_guard lock{multiprocessing::detail::process_state().mutex};
  multiprocessing::detail::end_forkserver();
  multiprocessing::detail::end_tracker();
}

// The event by which close() wakes blocked threads.
bool test::is_kept(int descriptor) {
  return multiprocessing::detail::process_state().interrupt == descriptor;
}
