// SPDX-License-Identifier: BSL-1.0
// All of the library at once, for long, while processes are killed at random. What must hold in
// each round: what arrives is whole, each task is resolved, sums are right, nobody hangs. What must
// hold over all: memory, descriptors, processes and names are no more in the end than in the
// beginning. Not on Windows: /proc
#include <multiprocessing.hpp>
#include <multiprocessing/managers.hpp>

#include <support/chaos.hpp>
#include <support/pool_tasks.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;

namespace {

struct Item {
  std::uint64_t number = 0;
  std::string text;
};
Item item_of(std::uint64_t number) {
  const std::size_t size = number % 101 == 0 ? 100'000 : number % 50;
  return {number, std::string(size, static_cast<char>('a' + number % 26))};
}
bool is_whole(const Item& item) {
  return item.text == item_of(item.number).text;
}

// ---- who lives on ----

void echo(mp::Queue<Item> from, mp::Queue<Item> to) {
  for (;;) {
    Item item = from.get();
    if (item.number == 0) return;
    to.put(std::move(item));
  }
}

// ---- who is killed ----

void put_for_ever(mp::Queue<Item> to) {
  for (std::uint64_t number = 1;; ++number) to.put(item_of(number));
}
void get_for_ever(mp::Queue<Item> from) {
  for (;;) from.get();
}
void answer(mp::Connection connection) {
  for (;;) connection.send(connection.recv<std::string>());
}
struct Two {
  long first = 0;
  long second = 0;
};
void count_both(mp::Value<Two> both) {
  for (;;) {
    both.update([](Two& two) {
      ++two.first;
      ++two.second;
    });
  }
}
void hold(mp::Lock lock, mp::Event held) {
  lock.acquire();
  held.set();
  test::wait_for_ever();
}
constexpr int accounts = 8;
constexpr long money = 100;
using Accounts = mp::DictProxy<int, long>;
void transfer(mp::Manager manager, Accounts all, mp::ListProxy<std::string> log) {
  for (int i = 0;; ++i) {
    manager.transaction([&] {
      all.update(i % accounts, [](long& n) { --n; });
      log.append("one from " + std::to_string(i % accounts));
      all.update((i + 3) % accounts, [](long& n) { ++n; });
      if (log.size() > 40) log.clear();
    });
  }
}

// ---- what is measured ----

long resident_kib(int pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/statm"};
  long pages = 0;
  file >> pages >> pages;
  return pages * 4;
}
std::size_t descriptors(int pid) {
  return test::names_in("/proc/" + std::to_string(pid) + "/fd").size();
}

struct Measure {
  long parent_kib = 0;
  long children_kib = 0;  // of those that live on, together
  std::size_t parents_descriptors = 0;
  std::size_t childrens_descriptors = 0;
  std::size_t processes = 0;
  std::size_t names = 0;
};

template <class Field>
auto median_of(std::vector<Measure> all, Field Measure::*field) {
  const auto middle = all.begin() + static_cast<std::ptrdiff_t>((all.size() - 1) / 2);
  std::ranges::nth_element(all, middle, {}, field);
  return (*middle).*field;
}

int seconds_to_soak() {
  const char* const text = std::getenv("MULTIPROCESSING_TEST_SOAK");
  return text == nullptr ? 0 : std::atoi(text);
}

class Soak : public testing::Test {
 protected:
  Soak() {
    auto [reader, writer] = mp::Pipe();
    EXPECT_FALSE(reader.poll(1ms));  // the first that waits makes an event, for the whole process
    for (int i = 0; i < accounts; ++i) accounts_.set(i, money);
    for (const auto method : mp::get_all_start_methods()) {
      echoes_.emplace_back(mp::ProcessOptions{.start_method = method}, echo, requests_, answers_);
      echoes_.back().start();
    }
  }
  ~Soak() override {
    for (std::size_t i = 0; i < echoes_.size(); ++i) requests_.put(Item{});
    for (auto& each : echoes_) each.join();
  }

  void round() {
    use_queues();
    use_one_way_pipe();
    kill_in(20ms, put_for_ever, noise_);
    while (const auto item = noise_.try_get()) EXPECT_TRUE(is_whole(*item));
    for (std::uint64_t i = 1; i < 80; ++i) noise_.try_put(item_of(i));
    kill_in(2ms, get_for_ever, noise_);
    kill_in(3ms, count_both, both_);
    const Two two = both_.load();
    EXPECT_EQ(two.first, two.second);
    kill_in(5ms, transfer, manager_, accounts_, log_);
    check_accounts();
    kill_who_answers();
    kill_who_holds_a_lock();
    kill_a_worker();
    use_what_comes_and_goes();
    ++rounds_;
  }

  [[nodiscard]] Measure measure() const {
    Measure now;
    const int self = mp::os::process_id();
    now.parent_kib = resident_kib(self);
    now.parents_descriptors = descriptors(self);
    for (const auto& each : echoes_) {
      now.children_kib += resident_kib(each.pid().value());
      now.childrens_descriptors += descriptors(each.pid().value());
    }
    now.processes = test::family().size();
    auto names = test::shared_names();
    const auto held = test::names_held_by_strangers();
    const auto still = test::shared_names();
    std::erase_if(names, [&](const auto& one) {
      return held.contains(one.first) || !still.contains(one.first);
    });
    now.names = names.size();
    return now;
  }
  [[nodiscard]] unsigned rounds() const { return rounds_; }
  [[nodiscard]] unsigned killed() const { return killed_; }

 private:
  // The next start method's child does that, and is killed at some moment.
  template <class... Argument>
  void kill_in(std::chrono::microseconds longest, const Argument&... what) {
    const auto methods = mp::get_all_start_methods();
    mp::Process victim({.start_method = methods[killed_ % methods.size()]}, what...);
    victim.start();
    std::this_thread::sleep_for(  // to die anywhere
        std::chrono::microseconds{random_() % static_cast<unsigned>(longest.count())});
    victim.kill();
    victim.join();
    EXPECT_EQ(victim.exitcode(), -SIGKILL);
    ++killed_;
  }

  void use_queues() {
    constexpr std::uint64_t items = 400;
    std::uint64_t sum = 0;
    for (std::uint64_t i = 1; i <= items; ++i) {
      requests_.put(item_of(i));
      while (const auto item = answers_.try_get()) sum += checked(*item);
    }
    while (sum < items * (items + 1) / 2) sum += checked(answers_.get());
    EXPECT_EQ(sum, items * (items + 1) / 2);
    EXPECT_TRUE(answers_.empty());
  }
  static std::uint64_t checked(const Item& item) {
    EXPECT_TRUE(is_whole(item)) << item.number;
    return item.number;
  }
  static void use_one_way_pipe() {
    mp::Pipe pipe(false);
    auto writer = test::started([out = pipe.second]() mutable {
      for (std::uint64_t i = 95; i < 110; ++i) out.send(item_of(i));
    });
    for (std::uint64_t i = 95; i < 110; ++i) {
      const auto item = pipe.first.recv<Item>();
      EXPECT_TRUE(is_whole(item) && item.number == i);
    }
    EXPECT_EQ(test::code_of(writer), 0);
  }
  void check_accounts() {
    manager_.transaction([&] {
      long sum = 0;
      for (int i = 0; i < accounts; ++i) sum += accounts_.get(i);
      EXPECT_EQ(sum, accounts * money);
    });
  }
  void kill_who_answers() {
    auto [ours, theirs] = mp::Pipe();
    const std::string large(150'000, 'x');
    mp::Process victim(answer, theirs);
    victim.start();
    theirs.close();
    unsigned asked = 0;
    for (const std::string& text : {std::string{"a"}, large, std::string{"b"}}) {
      if (ours.try_send(text, 1s)) ++asked;
    }
    std::this_thread::sleep_for(std::chrono::microseconds{random_() % 2000});  // likewise
    victim.kill();
    victim.join();
    ++killed_;
    unsigned answered = 0;
    EXPECT_THROW(
        for (;; ++answered) {
          const auto text = ours.recv<std::string>();
          EXPECT_EQ(text, answered == 1 ? large : answered == 0 ? "a" : "b");
        },
        mp::EOFError);
    EXPECT_LE(answered, asked);
  }
  void kill_who_holds_a_lock() {
    const mp::Event held;
    mp::Process victim(hold, lock_, held);
    victim.start();
    mp::Event{held}.wait();
    victim.kill();
    victim.join();
    ++killed_;
    EXPECT_THROW(lock_.acquire(), mp::AbandonedLock);
    EXPECT_TRUE(lock_.recover());
    lock_.release();
  }
  void kill_a_worker() {
    std::vector<mp::AsyncResult<int>> results;
    for (int i = 0; i < 40; ++i) results.push_back(pool_.apply_async(test::square, i));
    const auto workers = pool_.stats().workers;
    if (const auto pid = workers[random_() % workers.size()].pid) {
      test::kill_process(*pid);
      ++killed_;
    }
    int lost = 0;
    for (int i = 0; i < 40; ++i) {
      try {
        EXPECT_EQ(results[static_cast<std::size_t>(i)].get(), i * i);
      } catch (const mp::BrokenProcessPool&) {
        ++lost;
      }
    }
    EXPECT_LE(lost, 1);
    test::eventually([&] {  // the next round has both again: a pool replaces while it has a task
      EXPECT_EQ(pool_.map(test::square, std::vector(10, 3)), std::vector(10, 9));
      const auto all = pool_.stats().workers;
      return std::ranges::all_of(all, [](const auto& each) { return each.pid.has_value(); });
    });
  }
  // Of everything a new one, which goes again.
  static void use_what_comes_and_goes() {
    const mp::Queue<Item> queue{10};
    const mp::Manager manager;
    const auto list = manager.list<std::string>();
    mp::SharedMemory memory{{.create = true, .size = 100'000}};
    memory.buf()[99'999] = std::byte{7};
    mp::Condition condition;
    mp::Barrier barrier{2};
    auto child = test::started([&] {
      mp::Queue<Item>{queue}.put(item_of(101));
      list.append("from a child");
      mp::Barrier{barrier}.wait();
    });
    EXPECT_TRUE(is_whole(mp::Queue<Item>{queue}.get()));
    barrier.wait();
    EXPECT_EQ(test::code_of(child), 0);
    EXPECT_EQ(list.size(), 1U);
    mp::Pool pool{1};
    EXPECT_EQ(pool.apply(test::square, 7), 49);
  }

  std::mt19937 random_{20211113};
  unsigned rounds_ = 0;
  unsigned killed_ = 0;
  mp::Queue<Item> requests_{200};
  mp::Queue<Item> answers_;
  mp::Queue<Item> noise_{100};
  mp::Value<Two> both_{Two{}};
  mp::Lock lock_;
  mp::Manager manager_;
  Accounts accounts_ = manager_.dict<int, long>();
  mp::ListProxy<std::string> log_ = manager_.list<std::string>();
  mp::Pool pool_{2};
  std::vector<mp::Process<>> echoes_;
};

// Without a MULTIPROCESSING_TEST_SOAK (in seconds) as many rounds as say something about what
// grows, fewer where a round takes long.
TEST_F(Soak, OfAllAtOnceWithRandomKillsGrowsNothing) {
  constexpr unsigned few_rounds = 48;
  constexpr std::size_t fewest_measures = 8;
  const int seconds = seconds_to_soak();
  const auto begin = std::chrono::steady_clock::now();
  const auto end = begin + std::chrono::seconds{seconds == 0 ? 20 : seconds};
  std::vector<Measure> measures;
  while (!HasFailure() &&
         (measures.size() < fewest_measures ||
          (std::chrono::steady_clock::now() < end && (seconds != 0 || rounds() < few_rounds)))) {
    round();
    measures.push_back(measure());
  }
  // The first quarter brings what is kept for the next time; the next is compared with the last.
  const auto quarter = static_cast<std::ptrdiff_t>(measures.size() / 4);
  const std::vector before(measures.begin() + quarter, measures.begin() + 2 * quarter);
  const std::vector after(measures.end() - quarter, measures.end());
  std::printf("figure soak rounds=%u kills=%u seconds=%lld", rounds(), killed(),
              static_cast<long long>(std::chrono::duration_cast<std::chrono::seconds>(
                                         std::chrono::steady_clock::now() - begin)
                                         .count()));
  const auto compare = [&](const char* name, auto field, long most_more) {
    const auto first = static_cast<long>(median_of(before, field));
    const auto last = static_cast<long>(median_of(after, field));
    std::printf(" %s=%ld..%ld", name, first, last);
    EXPECT_LE(last, first + most_more) << name;
  };
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr long most_kib = 1L << 30U;  // what is freed stays with them
#else
  constexpr long most_kib = 4096;
#endif
  compare("parent_kib", &Measure::parent_kib, most_kib);
  compare("children_kib", &Measure::children_kib, most_kib);
  compare("descriptors", &Measure::parents_descriptors, 0);
  compare("childrens_descriptors", &Measure::childrens_descriptors, 0);
  compare("processes", &Measure::processes, 0);
  compare("names", &Measure::names, 0);
  std::printf("\n");
}

}  // namespace
