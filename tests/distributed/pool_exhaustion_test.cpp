// SPDX-License-Identifier: BSL-1.0
// Distributed pools where memory or descriptors run out.
// Not on Windows: pools on several machines are not available there.
#include <multiprocessing.hpp>
#include <multiprocessing/distributed.hpp>

#include <support/failing_new.hpp>
#include <support/pool_tasks.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using mp::detail::EngineEvent;
using test::left;
using test::square;

namespace {

template <class F, class... A>
auto submitted(const std::shared_ptr<mp::detail::Fleet>& fleet, F function, A... arguments) {
  return mp::Future{mp::detail::submit_call<F>(
      std::shared_ptr<mp::detail::TaskRunner>{fleet}, mp::TaskOptions{}, true, [](auto&) {},
      function, arguments...)};
}

// One agent that joins and says nothing; then an error, and no memory to deal with it.
class FailingEngine final : public mp::detail::Engine {
 public:
  explicit FailingEngine(int good) : good_{good} {}
  void fail() {
    is_to_fail_ = true;
    wake();
  }
  std::uint32_t connect() override { return 1; }
  void send(std::uint32_t /*peer*/, std::vector<std::byte> /*message*/) override {}
  EngineEvent poll(mp::Timeout timeout) override {
    if (!std::exchange(has_joined_, true)) return {EngineEvent::Kind::joined, 1, {}, "here"};
    {
      std::unique_lock lock{mutex_};
      bell_.wait_for(lock, timeout.value(), [&] { return is_woken_; });
      is_woken_ = false;
    }
    if (!is_to_fail_) return {};
    const std::runtime_error error{"the network is gone"};
    left = good_;
    throw error;
  }
  void wake() noexcept override {
    const std::lock_guard lock{mutex_};
    is_woken_ = true;
    bell_.notify_all();
  }
  void drop(std::uint32_t /*peer*/) noexcept override {}
  void close() noexcept override {}

 private:
  const int good_;
  bool has_joined_ = false;
  std::atomic<bool> is_to_fail_{false};
  std::mutex mutex_;
  std::condition_variable bell_;
  bool is_woken_ = false;
};

TEST(DistributedExhaustion, WithoutMemoryABrokenPoolFailsItsTasksAllTheSame) {
  constexpr int most = 10;  // allocations until all is told
  for (int good = 0; good < most; ++good) {
    auto engine = std::make_unique<FailingEngine>(good);
    FailingEngine& network = *engine;
    const auto fleet = mp::detail::Fleet::create({}, std::move(engine));
    auto first = submitted(fleet, square, 3);
    auto second = submitted(fleet, square, 4);
    const auto is_told = [](const auto&) { left = -1; };
    first.add_done_callback(is_told);
    second.add_done_callback(is_told);
    network.fail();
    EXPECT_THROW(first.result(), mp::BrokenProcessPool) << good;
    EXPECT_THROW(second.result(), mp::BrokenProcessPool) << good;
    EXPECT_THROW(fleet->check_takes_tasks(), mp::BrokenProcessPool) << good;
    left = -1;
    fleet->terminate(mp::os::Signal::kill);
  }
}

// An agent in this process that receives large messages in shared memory.
class SessionEngine final : public mp::detail::Engine {
 public:
  // From now on an agent has no descriptor left when a message comes.
  void exhaust() { is_exhausted_ = true; }
  std::uint32_t connect() override { return 1; }
  void send(std::uint32_t /*peer*/, std::vector<std::byte> message) override {
    if (message.size() < mp::detail::TaskMemory::worthwhile) return session_.handle(message);
    const auto memory = std::make_shared<mp::detail::TaskMemory>(message.size());
    std::memcpy(memory->data(), message.data(), message.size());
    const std::span<const std::byte> bytes{memory->data(), message.size()};
    if (!is_exhausted_) return session_.handle(bytes, memory);
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    const int next = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ASSERT_GE(next, 0);
    ::close(next);
    const rlimit none{static_cast<rlim_t>(next), before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    session_.handle(bytes, memory);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  }
  EngineEvent poll(mp::Timeout /*timeout*/) override {
    if (!std::exchange(has_joined_, true)) return {EngineEvent::Kind::joined, 1, {}, "here"};
    session_.fetch(mp::detail::Deadline{mp::Timeout{1ms}});
    for (auto& each : outbox_->take()) {
      if (each.memory) {
        const auto more = each.memory->part(0, each.in_memory);
        each.bytes.insert(each.bytes.end(), more.begin(), more.end());
      }
      said_.push_back(std::move(each.bytes));
    }
    if (said_.empty()) return {};
    EngineEvent event{EngineEvent::Kind::message, 1, std::move(said_.front()), {}};
    said_.pop_front();
    return event;
  }
  void wake() noexcept override {}
  void drop(std::uint32_t /*peer*/) noexcept override {}
  void close() noexcept override { session_.abandon(); }

 private:
  std::shared_ptr<mp::detail::Outbox> outbox_ = std::make_shared<mp::detail::Outbox>([] {});
  mp::detail::AgentSession session_{outbox_, mp::StartMethod::fork, "here",
                                    mp::detail::AgentSession::Results::are_fetched};
  bool has_joined_ = false;
  std::atomic<bool> is_exhausted_{false};
  std::deque<std::vector<std::byte>> said_;
};

TEST(DistributedExhaustion, WithoutDescriptorsLargeTasksGoTheOldWay) {
  auto engine = std::make_unique<SessionEngine>();
  SessionEngine& network = *engine;
  mp::detail::FleetOptions options;
  options.session.workers = 1;
  const auto fleet = mp::detail::Fleet::create(std::move(options), std::move(engine));
  const std::vector<char> large(3U << 20U, 'x');
  const auto same = [](std::vector<char> all) { return all; };
  EXPECT_EQ(submitted(fleet, same, large).result(), large);
  network.exhaust();
  EXPECT_EQ(submitted(fleet, same, large).result(), large);
  fleet->close();
  fleet->join();
}

TEST(DistributedExhaustion, MemoryOfAHugeTaskDoesNotServeSmallOnesForEver) {
  const auto store = std::make_shared<mp::detail::TaskMemoryStore>();
  constexpr std::size_t huge = std::size_t{256} << 20U;
  constexpr std::size_t large = mp::detail::TaskMemory::worthwhile;
  const auto used = [&](std::size_t size) {
    const auto memory = store->acquire(size);
    memory->settle();
    return memory->room();
  };
  EXPECT_GE(used(huge), huge);
  EXPECT_LT(used(large), huge);
  EXPECT_GE(used(huge), huge);
  EXPECT_LT(used(2 * large), huge);
}

}  // namespace
