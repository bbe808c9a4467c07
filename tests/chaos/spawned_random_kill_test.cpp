// SPDX-License-Identifier: BSL-1.0
// Spawned processes at work are killed from outside, at any instruction, and replaced: what
// queue_random_kill_test.cpp and synchronize_test.cpp do at length to forked ones, in short, on
// every system.
#include <multiprocessing.hpp>

#include <support/codes.hpp>
#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;

namespace {

unsigned spawned_kills() {
  const char* const text = std::getenv("MULTIPROCESSING_TEST_KILLS");
  constexpr unsigned few = MULTIPROCESSING_WINDOWS ? 16 : 40;
  return text == nullptr ? few : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

// A process that can be looked at by what it counts.
using Counter = mp::Value<std::uint32_t>;
std::atomic_ref<std::uint32_t> count_of(const Counter& counter) {
  return std::atomic_ref{counter.value()};
}

class SpawnedForKills {
 public:
  template <class Work, class... Arguments>
  explicit SpawnedForKills(Work work, const Arguments&... arguments)
      : process_{std::make_unique<mp::Process<>>(
            mp::ProcessOptions{.start_method = mp::StartMethod::spawn},
            work,
            counter_,
            arguments...)} {
    process_->start();
  }
  [[nodiscard]] std::uint32_t count() const { return count_of(counter_); }
  // It is at work before; if it ends by itself, that is a failure.
  void kill() {
    test::eventually([&] { return count() != 0 || !process_->is_alive(); });
    process_->kill();
    EXPECT_EQ(join(), test::killed_code);
  }
  int join() {
    process_->join();
    return process_->exitcode().value();
  }

 private:
  Counter counter_{0U};
  std::unique_ptr<mp::Process<>> process_;
};

// Kills `wanted` of them, at random, each replaced by `make()`, which gets the dead one.
template <class Make>
void kill_some(std::vector<SpawnedForKills>& all, std::mt19937& random, Make make) {
  for (unsigned killed = 0; killed < spawned_kills(); ++killed) {
    // Orders nothing: it spreads the kills over what the others are doing.
    std::this_thread::sleep_for(std::chrono::microseconds{random() % 20'000});
    const std::size_t place = random() % all.size();
    all[place].kill();
    make(place);
  }
}

// ---- a queue ----

struct Parcel {
  std::uint32_t sender = 0;
  std::uint32_t number = 0;
  std::string text;
};
std::string text_for(std::uint32_t sender, std::uint32_t number) {
  constexpr std::size_t sizes[] = {8, 4096, 100'000};
  return std::string(sizes[number % 3], static_cast<char>('a' + (sender + number) % 26));
}

void send_parcels(const Counter& sent, std::uint32_t sender, mp::Queue<Parcel> to, mp::Event over) {
  for (std::uint32_t number = 0; !over.is_set(); ++number) {
    to.put({sender, number, text_for(sender, number)});
    count_of(sent) = number + 1;
  }
}
void pass_parcels_on(const Counter& passed, mp::Queue<Parcel> from, mp::Queue<Parcel> to) {
  try {
    for (;;) {
      to.put(from.get());
      ++count_of(passed);
    }
  } catch (const mp::ShutDown&) {
  }
}

// ---- a lock ----

struct Guarded {
  mp::Lock lock{};
  Counter first{0U};  // the same, unless their owner is in between, or died there
  Counter second{0U};
  Counter torn{0U};
  Counter inherited{0U};
  mp::Event over{};
};

void own_again_and_again(const Counter& times, const Guarded& guarded) {
  mp::Lock lock{guarded.lock};
  const auto first = count_of(guarded.first);
  const auto second = count_of(guarded.second);
  while (!guarded.over.is_set()) {
    bool is_sound = true;
    try {
      lock.acquire();
    } catch (const mp::AbandonedLock&) {
      is_sound = false;
      ++count_of(guarded.inherited);
      lock.recover();  // only now it is ours
      second = first.load();
    }
    if (is_sound && first != second) ++count_of(guarded.torn);
    first = first + 1;
    const auto end = std::chrono::steady_clock::now() + 200us;
    while (std::chrono::steady_clock::now() < end) {
    }
    second = second + 1;
    lock.release();
    ++count_of(times);
  }
}

}  // namespace

TEST(SpawnedRandomKill, LosesOnlyWhatKilledConsumersHeldAndDoublesNothing) {
  mp::Queue<Parcel> queue{5};
  mp::Queue<Parcel> arrived{100};
  mp::Event over;
  std::vector<SpawnedForKills> all;  // senders, consumers
  std::vector<std::uint32_t> sent;   // by each sender that there was
  std::vector<std::uint32_t> sender_at(2);
  const auto start_sender = [&] {
    sent.push_back(0);
    return SpawnedForKills{send_parcels, static_cast<std::uint32_t>(sent.size() - 1), queue, over};
  };
  const auto start_consumer = [&] { return SpawnedForKills{pass_parcels_on, queue, arrived}; };
  for (std::uint32_t i = 0; i < 2; ++i) {
    sender_at[i] = i;
    all.push_back(start_sender());
  }
  for (int i = 0; i < 2; ++i) all.push_back(start_consumer());

  std::map<std::pair<std::uint32_t, std::uint32_t>, unsigned> times;
  std::thread collector{[&] {
    try {
      for (;;) {
        const Parcel parcel = arrived.get();
        EXPECT_EQ(parcel.text, text_for(parcel.sender, parcel.number)) << "torn";
        ++times[{parcel.sender, parcel.number}];
      }
    } catch (const mp::ShutDown&) {
    }
  }};
  std::mt19937 random{20261127};
  unsigned consumers_killed = 0;
  kill_some(all, random, [&](std::size_t place) {
    if (place < 2) {
      sent[sender_at[place]] = all[place].count();
      sender_at[place] = static_cast<std::uint32_t>(sent.size());
      all[place] = start_sender();
    } else {
      ++consumers_killed;
      all[place] = start_consumer();
    }
  });
  over.set();
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(all[i].join(), 0);
    sent[sender_at[i]] = all[i].count();
  }
  queue.shutdown();
  for (std::size_t i = 2; i < 4; ++i) EXPECT_EQ(all[i].join(), 0);
  arrived.shutdown();
  collector.join();

  unsigned lost = 0;
  for (std::uint32_t sender = 0; sender < sent.size(); ++sender) {
    for (std::uint32_t number = 0; number < sent[sender]; ++number) {
      if (!times.contains({sender, number})) ++lost;
    }
  }
  for (const auto& [which, count] : times) {
    EXPECT_EQ(count, 1U) << "twice";
    EXPECT_LE(which.second, sent[which.first]) << "never put";
  }
  EXPECT_LE(lost, consumers_killed);
  std::printf("figure spawned_queue_kills=%u parcels=%zu lost=%u\n", spawned_kills(), times.size(),
              lost);
}

TEST(SpawnedRandomKill, OfAnOwnerHandsTheLockOnAndLetsNoTwoIn) {
  const Guarded guarded;
  std::vector<SpawnedForKills> all;
  const auto start = [&] { return SpawnedForKills{own_again_and_again, guarded}; };
  for (int i = 0; i < 3; ++i) all.push_back(start());
  std::mt19937 random{20261128};
  kill_some(all, random, [&](std::size_t place) { all[place] = start(); });
  test::eventually([&] {  // a few kills may all have missed an owner
    if (count_of(guarded.inherited) != 0) return true;
    all[0].kill();
    all[0] = start();
    return false;
  });
  mp::Event{guarded.over}.set();
  for (auto& one : all) EXPECT_EQ(one.join(), 0);
  EXPECT_EQ(count_of(guarded.torn), 0U);
  EXPECT_GT(count_of(guarded.inherited), 0U);
  std::printf("figure spawned_lock_kills=%u inherited=%u of %u\n", spawned_kills(),
              count_of(guarded.inherited).load(), count_of(guarded.first).load());
}
