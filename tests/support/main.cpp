// SPDX-License-Identifier: BSL-1.0
#include <support/audit.hpp>
#include <support/main.hpp>
#include <support/processes.hpp>
#include <support/watchdog.hpp>

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <thread>

[[gnu::weak]] void test::start_of_main() {}
[[gnu::weak]] void test::end_of_test() {}
[[gnu::weak]] bool test::is_kept(int) {
  return false;
}

namespace {

// A folder of its own to run in, where a file that a test leaves is seen.
class Scratch {
 public:
  Scratch() { std::filesystem::current_path(folder_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { remove(); }

  void remove() const {
    if (test::own_process_id() != owner_) return;
    std::error_code ec;
    std::filesystem::current_path(folder_.parent_path(), ec);
    std::filesystem::remove_all(folder_, ec);
  }

 private:
  int owner_ = test::own_process_id();
  std::filesystem::path folder_ = test::make_temporary_folder();
};

class EndOfTest : public testing::EmptyTestEventListener {
 public:
  void OnTestEnd(const testing::TestInfo&) override { test::end_of_test(); }
};

bool has_argument(int argc, char** argv, std::string_view start) {
  for (int i = 1; i < argc; ++i) {
    if (std::string_view{argv[i]}.starts_with(start)) return true;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  test::start_of_main();
#if !defined(_WIN32)  // nohup, or a shell's `&`, has them ignored, which is inherited
  for (const int number : {SIGINT, SIGQUIT, SIGHUP}) std::signal(number, SIG_DFL);
#endif
  const bool death_test = has_argument(argc, argv, "--gtest_internal_run_death_test");
  testing::InitGoogleTest(&argc, argv);
  if (death_test || testing::GTEST_FLAG(list_tests)) return RUN_ALL_TESTS();

#if defined(__SANITIZE_THREAD__)
  std::thread{[] {}}.join();  // with the first begins one of the sanitizer's own, and it stays
#endif
  test::forbid_core_files();
  test::enter_own_group();
  const Scratch scratch;
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  listeners.Append(new test::LeakAudit{test::is_kept});
  listeners.Append(new EndOfTest);  // comes before the audit: ends are told in reverse order
  listeners.Append(new test::Watchdog{[&scratch] { scratch.remove(); }});
  return RUN_ALL_TESTS();
}
