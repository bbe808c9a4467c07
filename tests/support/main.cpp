// SPDX-License-Identifier: BSL-1.0
#include <support/audit.hpp>
#include <support/main.hpp>
#include <support/processes.hpp>
#include <support/watchdog.hpp>

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include <sys/resource.h>
#include <unistd.h>

[[gnu::weak]] void test::start_of_main() {}
[[gnu::weak]] void test::end_of_test() {}
[[gnu::weak]] bool test::is_kept(int) {
  return false;
}

namespace {

// A folder of its own to run in, where a file that a test leaves is seen.
class Scratch {
 public:
  Scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "multiprocessing.XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) {
      throw std::system_error{errno, std::system_category(), "mkdtemp " + name};
    }
    std::filesystem::current_path(name);
    setenv("TMPDIR", name.c_str(), 1);
    folder_ = name;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { remove(); }

  void remove() const {
    if (getpid() != owner_) return;
    std::error_code ec;
    std::filesystem::current_path("/", ec);
    std::filesystem::remove_all(folder_, ec);
  }

 private:
  pid_t owner_ = getpid();
  std::filesystem::path folder_;
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
  const bool death_test = has_argument(argc, argv, "--gtest_internal_run_death_test");
  testing::InitGoogleTest(&argc, argv);
  if (death_test || testing::GTEST_FLAG(list_tests)) return RUN_ALL_TESTS();

#if defined(__SANITIZE_THREAD__)
  std::thread{[] {}}.join();  // with the first begins one of the sanitizer's own, and it stays
#endif
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);  // many tests kill; a core file each would be the leak
  test::enter_own_group();
  const Scratch scratch;
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  listeners.Append(new test::LeakAudit{test::is_kept});
  listeners.Append(new EndOfTest);  // comes before the audit: ends are told in reverse order
  listeners.Append(new test::Watchdog{[&scratch] { scratch.remove(); }});
  return RUN_ALL_TESTS();
}
