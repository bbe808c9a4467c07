// SPDX-License-Identifier: BSL-1.0
// Who asks about a task, takes it back or kills it does not run other tasks' callbacks meanwhile.
// Not on Windows: pools on several machines are not available there.
#include <multiprocessing.hpp>
#include <multiprocessing/distributed.hpp>

#include <support/eventually.hpp>
#include <support/pool_tasks.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include <sys/stat.h>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::eventually;
using test::square;

namespace {

[[noreturn]] void sleep_long() {
  test::wait_for_ever();
}

// What a task waits at, also on another host's agent.
class Gate {
 public:
  Gate() {
    static std::atomic<int> number{0};
    path_ = std::filesystem::temp_directory_path() / ("gate." + std::to_string(++number));
    if (::mkfifo(path_.c_str(), 0600) != 0) throw std::runtime_error{"mkfifo " + path_.string()};
  }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  ~Gate() { std::filesystem::remove(path_); }
  [[nodiscard]] std::string path() const { return path_.string(); }
  // Somebody waits.
  void open() const { const std::ofstream opened{path_}; }
  static int wait(const std::string& path) {
    std::ifstream{path}.get();
    return 3;
  }

 private:
  std::filesystem::path path_;
};

class DistributedAsking : public testing::Test {
 protected:
  template <class F, class... A>
  auto submitted(F function, A... arguments) {
    return mp::Future{mp::detail::submit_call<F>(
        std::shared_ptr<mp::detail::TaskRunner>{fleet}, mp::TaskOptions{}, true, [](auto&) {},
        function, arguments...)};
  }
  void SetUp() override {
    mp::detail::FleetOptions options;
    options.session.workers = 2;
    fleet = mp::detail::Fleet::create(std::move(options),
                                      std::make_unique<mp::detail::LocalEngine>(2U));
    slow.emplace(submitted(&sleep_long));
    eventually([&] { return slow->running(); });
  }
  void TearDown() override { fleet->terminate(mp::os::Signal::kill); }

  // While the caller holds what a callback takes, which becomes due meanwhile.
  template <class Ask>
  void expect_no_callback_in(const Ask& ask) {
    const auto me = std::this_thread::get_id();
    const Gate gate;
    std::mutex held;
    std::atomic<bool> is_inside{false};
    std::atomic<bool> is_here{false};
    std::atomic<bool> is_over{false};
    auto soon = submitted(&Gate::wait, gate.path());
    eventually([&] { return soon.running(); });
    {
      const std::lock_guard lock{held};
      soon.add_done_callback([&](const auto&) {
        is_here = std::this_thread::get_id() == me;
        is_inside = true;
        if (!is_here) held.lock();  // here it would wait for ever
        if (!is_here) held.unlock();
        is_over = true;
      });
      gate.open();
      while (!is_inside) ask();
      EXPECT_FALSE(is_here);
    }
    EXPECT_EQ(soon.result(), 3);
    eventually([&] { return is_over.load(); });
  }

  std::shared_ptr<mp::detail::Fleet> fleet;
  std::optional<mp::Future<void>> slow;
};

TEST_F(DistributedAsking, WhetherATaskRunsCallsNothingBack) {
  expect_no_callback_in([&] { static_cast<void>(slow->running()); });
}

TEST_F(DistributedAsking, ToTakeARunningTaskBackCallsNothingBack) {
  expect_no_callback_in([&] { EXPECT_FALSE(slow->cancel()); });
}

TEST_F(DistributedAsking, ToTakeAllBackCallsNothingBack) {
  expect_no_callback_in([&] { fleet->cancel_waiting(); });
  EXPECT_FALSE(slow->done());
}

TEST_F(DistributedAsking, ToKillATaskCallsNothingBack) {
  expect_no_callback_in([&] {
    auto other = submitted(&sleep_long);
    static_cast<void>(other.kill());
  });
}

// It waits for agents that are still coming, which are heard by the thread that the callback would
// hold up if it waited for us.
TEST_F(DistributedAsking, ForAgentsCallsNothingBack) {
  const auto me = std::this_thread::get_id();
  for (int i = 0; i < 10; ++i) {
    std::atomic<bool> is_here{false};
    std::atomic<bool> is_over{false};
    const Gate gate;
    auto soon = submitted(&Gate::wait, gate.path());
    soon.add_done_callback([&](const auto&) {
      is_here = std::this_thread::get_id() == me;
      is_over = true;
    });
    std::thread opener{[&] { gate.open(); }};  // waits until the task runs, and we must not
    do {
      EXPECT_EQ(fleet->workers(), 4U);
    } while (!is_over);
    opener.join();
    EXPECT_FALSE(is_here);
    TearDown();
    SetUp();  // with agents that have not come yet
  }
}

TEST_F(DistributedAsking, IsAnsweredInACallbackToo) {
  std::atomic<int> said{-1};
  auto soon = submitted(square, 2);
  soon.add_done_callback([&](const auto&) {
    bool runs = false;
    for (int tries = 0; !runs && tries < 10; ++tries) runs = slow->running();  // 2 s each
    said = runs ? 1 : 0;
  });
  eventually([&] { return said.load() >= 0; });
  EXPECT_EQ(said, 1);
}

TEST_F(DistributedAsking, IsAnsweredWhileOthersWaitAndDrive) {
  std::atomic<bool> is_over{false};
  std::thread other{[&] {
    while (!is_over) EXPECT_EQ(submitted(square, 3).result(), 9);
  }};
  constexpr int times = 300;
  int answered = 0;
  for (int i = 0; i < times; ++i) {
    answered += slow->running() ? 1 : 0;
    if (i % 3 != 0) continue;
    EXPECT_EQ(submitted(square, i).result(), i * i);  // we drive now and then
  }
  is_over = true;
  other.join();
  EXPECT_GE(answered, times - 5);  // an agent that stands still for 2 s has not answered
}

TEST_F(DistributedAsking, IsAnsweredWhileNobodyDrives) {
  constexpr int times = 100;
  int answered = 0;
  for (int i = 0; i < times; ++i) {
    EXPECT_EQ(submitted(square, i).result(), i * i);
    answered += slow->running() ? 1 : 0;  // the pool's own thread does not drive at this moment
  }
  EXPECT_GE(answered, times - 5);
}

}  // namespace
