// SPDX-License-Identifier: BSL-1.0
// Producers and consumers at work are killed at any moment and replaced: every size of message,
// with a bound and without, one to eight processes on a side, singly and in batches, plain and with
// tasks. The short form runs with the others; the long one kills 10,000 processes and more (test
// chaos.long, label "long"): each load so often as MULTIPROCESSING_TEST_KILLS says.
// Not on Windows: fork; in short in spawned_random_kill_test.cpp
#include <multiprocessing.hpp>

#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <ostream>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::eventually;

namespace {

using Bytes = std::vector<std::byte>;

struct Item {
  std::uint32_t producer = 0;
  std::uint32_t number = 0;
  Bytes payload;
};

std::byte filling(std::uint32_t producer, std::uint32_t number) {
  return static_cast<std::byte>(number * 31 + producer);
}
bool is_whole(const Item& item, std::size_t size) {
  const Bytes& payload = item.payload;
  return payload.size() == size && payload.front() == filling(item.producer, item.number) &&
         std::memcmp(payload.data(), payload.data() + 1, size - 1) == 0;
}

constexpr std::uint32_t most_producers = 4000;
constexpr std::uint32_t most_items = 2048;  // of one producer; then it goes on as another
constexpr std::uint32_t batch = 5;

struct Ledger {
  std::atomic<std::uint32_t> producers{0};
  std::atomic<bool> over{false};
  std::atomic<unsigned> torn{0};
  std::array<std::atomic<std::uint32_t>, most_producers>
      returned{};  // put() came back from so many
  std::array<std::array<std::atomic<std::uint8_t>, most_items>, most_producers> received{};
};

class SharedLedger {
 public:
  SharedLedger()
      : ledger_{new (::mmap(
            nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))
                    Ledger{}} {}
  SharedLedger(const SharedLedger&) = delete;
  SharedLedger& operator=(const SharedLedger&) = delete;
  ~SharedLedger() { ::munmap(ledger_, sizeof(Ledger)); }
  Ledger* operator->() const { return ledger_; }

 private:
  Ledger* ledger_;
};

struct Load {
  std::size_t size;
  std::size_t maxsize;
  unsigned processes;  // on each side
};

std::string name_of(const Load& load) {
  return std::to_string(load.size) + "B_" + (load.maxsize == 0 ? "unbounded_" : "bounded_") +
         std::to_string(load.processes) + "x" + std::to_string(load.processes);
}
std::ostream& operator<<(std::ostream& out, const Load& load) {
  return out << name_of(load);
}

std::vector<Load> loads() {
  std::vector<Load> all;
  for (const std::size_t size :
       {std::size_t{8}, std::size_t{64}, std::size_t{4} << 10U, std::size_t{1} << 20U}) {
    for (const std::size_t maxsize : {0U, 5U, 100U}) {
      for (const unsigned processes : {1U, 2U, 4U, 8U}) {
        if (maxsize == (processes % 4 == 0 ? 5U : 100U)) continue;  // one bound is enough for each
        all.push_back({size, maxsize, processes});
      }
    }
  }
  return all;
}

unsigned kills_of_each() {
  const char* const text = std::getenv("MULTIPROCESSING_TEST_KILLS");
  return text == nullptr ? 8 : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

class QueueRandomKill : public testing::TestWithParam<Load> {
 protected:
  using Tasks = mp::JoinableQueue<Item>;
  using Process = std::unique_ptr<mp::Process<>>;

  void produce(unsigned kind) const {
    Tasks to = queue;
    const auto wait = [&] {  // memory is finite
      const std::size_t most = std::max<std::size_t>((std::size_t{128} << 20U) / load.size, 1);
      while (to.qsize() > std::min<std::size_t>(most, 100'000) && !ledger->over) {
        std::this_thread::sleep_for(1ms);
      }
    };
    while (!ledger->over) {
      const std::uint32_t mine = ledger->producers++;
      // No number is left: nothing to do but to be killed, until it is over.
      while (mine >= most_producers && !ledger->over) std::this_thread::sleep_for(1ms);
      for (std::uint32_t number = 0; number < most_items && !ledger->over;) {
        wait();
        std::vector<Item> items;
        const std::uint32_t count = kind % 2 == 0 ? 1 : std::min(batch, most_items - number);
        for (std::uint32_t i = 0; i < count; ++i, ++number) {
          items.push_back({mine, number, Bytes(load.size, filling(mine, number))});
        }
        if (count == 1) {
          to.put(items.front());
        } else {
          to.put_many(items);
        }
        ledger->returned[mine] = number;
      }
    }
  }

  void consume(unsigned kind) const {
    Tasks from = queue;
    for (;;) {
      std::vector<Item> items;
      if (kind % 2 == 0) {
        items.push_back(from.get());
      } else {
        items = from.get_many(batch);
      }
      for (const Item& item : items) {
        if (!is_whole(item, load.size)) ++ledger->torn;
        if (item.producer < most_producers && item.number < most_items) {
          ++ledger->received[item.producer][item.number];
        }
        from.task_done();
      }
    }
  }

  Process start(bool produces) {
    const unsigned kind = made++;
    auto process = std::make_unique<mp::Process<>>([this, produces, kind] {
      if (produces) {
        produce(kind / 2);
      } else {
        consume(kind / 2);
      }
    });
    process->start();
    return process;
  }

  // What was put is there once, but for what the killed had in hand.
  void audit(unsigned consumers_killed) const {
    EXPECT_EQ(ledger->torn, 0U);
    std::uint64_t lost = 0;
    const std::uint32_t producers = std::min<std::uint32_t>(ledger->producers, most_producers);
    for (std::uint32_t producer = 0; producer < producers; ++producer) {
      const std::uint32_t returned = ledger->returned[producer];
      for (std::uint32_t number = 0; number < most_items; ++number) {
        const unsigned times = ledger->received[producer][number];
        ASSERT_LE(times, 1U) << "twice";
        if (number < returned && times == 0) ++lost;
        if (number >= returned + batch) {
          ASSERT_EQ(times, 0U) << "never put";
        }
      }
    }
    EXPECT_LE(lost, queue_lost) << "items that no JoinableQueue counted as lost";
    EXPECT_LE(queue_lost, std::uint64_t{consumers_killed} * batch);
  }

  const Load load = GetParam();
  const SharedLedger ledger;
  Tasks queue{load.maxsize};
  unsigned made = 0;
  std::uint64_t queue_lost = 0;
};

}  // namespace

TEST_P(QueueRandomKill, LosesOnlyWhatKilledConsumersHeld) {
  std::mt19937 random{static_cast<unsigned>(load.size * 100 + load.maxsize + load.processes)};
  std::array<std::vector<Process>, 2> sides;
  for (unsigned i = 0; i < load.processes; ++i) {
    for (const unsigned side : {0U, 1U}) sides[side].push_back(start(side == 0));
  }
  std::array<unsigned, 2> killed{};
  const unsigned wanted = kills_of_each();
  while (killed[0] + killed[1] < wanted) {
    std::this_thread::sleep_for(std::chrono::microseconds{random() % 3000});  // any moment
    const unsigned side = random() % 2;
    auto& victim = sides[side][random() % load.processes];
    victim->kill();
    victim->join();
    ASSERT_EQ(victim->exitcode(), -SIGKILL);
    ++killed[side];
    victim = start(side == 0);
  }
  ledger->over = true;
  for (auto& producer : sides[0]) {  // they end: nobody hangs
    producer->join();
    EXPECT_EQ(producer->exitcode(), 0);
  }
  for (bool done = false; !done;) {
    try {
      done = queue.join();
    } catch (const mp::LostTasks&) {
    }
  }
  EXPECT_TRUE(queue.empty());
  queue_lost = queue.lost();
  for (auto& consumer : sides[1]) {
    consumer->kill();
    consumer->join();
  }
  EXPECT_EQ(queue.lost(), queue_lost);
  audit(killed[1]);
  std::printf("%u producers and %u consumers killed, %llu items lost with them\n", killed[0],
              killed[1], static_cast<unsigned long long>(queue_lost));
}

INSTANTIATE_TEST_SUITE_P(Loads, QueueRandomKill, testing::ValuesIn(loads()), [](const auto& load) {
  return name_of(load.param);
});
