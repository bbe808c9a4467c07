// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing.hpp>

#include <support/main.hpp>

void test::start_of_main() {
  multiprocessing::freeze_support();
}

// The event by which close() wakes blocked threads.
bool test::is_kept(int descriptor) {
  return multiprocessing::detail::process_state().interrupt == descriptor;
}
