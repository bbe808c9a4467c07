// SPDX-License-Identifier: BSL-1.0
// Queue beside boost::interprocess::message_queue, a bare pipe, a lock-free ring without crash
// safety and CPython's queues. Arguments: the figures that are wanted, by how their names begin.
#include <multiprocessing.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "elsewhere.hpp"
#include "figure.hpp"
#include "queue_peers.hpp"
#include <sys/resource.h>

namespace mp = multiprocessing;
using namespace benchmark;

namespace {

std::vector<std::string_view> wanted;

bool is_wanted(const std::string& name) {
  return wanted.empty() || std::ranges::any_of(wanted, [&](std::string_view begin) {
           return name.starts_with(begin);
         });
}
void show(const std::string& name,
          const std::string& unit,
          const std::function<double()>& ours,
          const std::vector<Contestant>& peers,
          int rounds = 9) {
  if (is_wanted(name)) figure(name, unit, ours, peers, rounds);
}

/// Seconds that `messages` take from so many processes to so many; this one is a consumer.
template <class Kind>
double seconds(std::size_t size, int messages, int producers = 1, int consumers = 1) {
  Kind queue{size};
  const Shared<std::array<std::atomic<int>, 2>> gate;
  const auto wait = [&] {
    ++(*gate.operator->())[0];
    while ((*gate.operator->())[1] == 0) std::this_thread::yield();
  };
  std::vector<std::unique_ptr<mp::Process<>>> processes;
  const auto start = [&](const auto& work) {
    processes.push_back(std::make_unique<mp::Process<>>([&] {
      std::vector<std::byte> bytes(size);
      wait();
      work(bytes.data());
    }));
    processes.back()->start();
  };
  const auto receive = [&](std::byte* bytes) {
    for (int i = 0; i < messages / consumers; ++i) queue.receive(bytes);
  };
  for (int i = 0; i < producers; ++i) {
    start([&](std::byte* bytes) {
      for (int k = 0; k < messages / producers; ++k) queue.send(bytes);
    });
  }
  for (int i = 1; i < consumers; ++i) start(receive);
  std::vector<std::byte> bytes(size);
  while ((*gate.operator->())[0] != producers + consumers - 1) std::this_thread::yield();
  (*gate.operator->())[1] = 1;
  return seconds_of([&] {
    receive(bytes.data());
    for (auto& process : processes) process->join();
  });
}

template <class Kind>
std::function<double()> one_way(std::size_t size,
                                int messages,
                                int producers = 1,
                                int consumers = 1) {
  return [=] { return messages / seconds<Kind>(size, messages, producers, consumers) / 1e6; };
}

/// Microseconds.
template <class Kind>
double round_trip() {
  constexpr std::size_t size = 64;
  constexpr int trips = 20'000;
  Kind there{size};
  Kind back{size};
  std::array<std::byte, size> bytes{};
  mp::Process echo{[&] {
    for (int i = 0; i < trips; ++i) {
      there.receive(bytes.data());
      back.send(bytes.data());
    }
  }};
  echo.start();
  const double time = seconds_of([&] {
    for (int i = 0; i < trips; ++i) {
      there.send(bytes.data());
      back.receive(bytes.data());
    }
  });
  echo.join();
  return time / trips * 1e6;
}

double memcpy_speed(std::size_t size) {  // GiB/s
  std::vector<std::byte> from(size, std::byte{1});
  std::vector<std::byte> into(size);
  const auto times = static_cast<int>((std::size_t{256} << 20U) / size);
  const double time = seconds_of([&] {
    for (int i = 0; i < times; ++i) {
      from[0] = static_cast<std::byte>(i);
      std::memcpy(into.data(), from.data(), size);
      asm volatile("" : : "r"(into.data()) : "memory");
    }
  });
  return static_cast<double>(size) * times / time / (1U << 30U);
}

template <class Kind>
std::function<double()> speed(std::size_t size) {  // GiB/s
  const auto messages = static_cast<int>((std::size_t{256} << 20U) / size);
  return [=] {
    return static_cast<double>(size) * messages / seconds<Kind>(size, messages) / (1U << 30U);
  };
}

/// Nanoseconds a message, with all of them there before they are taken, in one process.
struct Drain {
  using Message = std::array<std::byte, 64>;
  static constexpr int messages = 1000;
  static constexpr int rounds = 200;

  mp::Queue<Message> queue;
  std::vector<Message> items{messages};

  template <class Put, class Get>
  double time(const Put& put, const Get& get, bool counts_put) {
    double all = 0;
    for (int i = 0; i < rounds; ++i) {
      const double putting = seconds_of(put);
      all += seconds_of(get) + (counts_put ? putting : 0);
    }
    return all / rounds / messages * 1e9;
  }
  double singly(bool counts_put) {
    return time(
        [&] {
          for (const Message& item : items) queue.put(item);
        },
        [&] {
          for (Message& item : items) item = queue.get();
        },
        counts_put);
  }
  double in_batches(bool counts_put) {
    return time([&] { queue.put_many(items); }, [&] { items = queue.get_many(messages); },
                counts_put);
  }
};

/// Microseconds a message, there and taken, when the memory has been used before.
template <class Kind>
double warm(std::size_t size) {
  constexpr int messages = 50;
  Kind queue{size};
  std::vector<std::byte> bytes(size);
  const auto pass = [&] {
    queue.send(bytes.data());
    queue.receive(bytes.data());
  };
  for (int i = 0; i < 5; ++i) pass();
  return seconds_of([&] {
           for (int i = 0; i < messages; ++i) pass();
         }) /
         messages * 1e6;
}

/// What waiting costs for three seconds, in a process of its own: switches a second, and the share
/// of a processor in percent.
std::array<double, 2> cost_of_waiting(const std::function<void(std::chrono::milliseconds)>& wait) {
  mp::Queue<std::array<double, 2>> result;
  mp::Process process{[&] {
    wait(std::chrono::milliseconds{100});
    rusage before{};
    rusage after{};
    getrusage(RUSAGE_SELF, &before);
    wait(std::chrono::seconds{3});
    getrusage(RUSAGE_SELF, &after);
    const auto time = [](const rusage& usage) {
      return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
             static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    };
    result.put({static_cast<double>(after.ru_nvcsw - before.ru_nvcsw) / 3,
                (time(after) - time(before)) / 3 * 100});
  }};
  process.start();
  process.join();
  return result.get();
}

/// A get() that finds nothing, beside a process that does nothing but sleep for 50 ms at a time.
void show_blocked_get() {
  if (!is_wanted("queue_blocked_get")) return;
  const auto [wakes, share] = cost_of_waiting([](std::chrono::milliseconds time) {
    mp::Queue<int> empty;
    (void)empty.try_get(time);
  });
  const auto bare = cost_of_waiting([](std::chrono::milliseconds time) {
    const std::chrono::milliseconds nap{50};
    for (auto slept = nap; slept <= time; slept += nap)
      std::this_thread::sleep_for(nap);  // what is measured
  })[1];
  std::printf("figure queue_blocked_get_wakes ours=%s limit=20 ratio=%.3f a second\n",
              text(wakes).c_str(), wakes / 20);
  std::printf("figure queue_blocked_get_processor ours=%s limit=0.1 ratio=%.3f %%\n",
              text(share).c_str(), share / 0.1);
  std::printf("figure queue_blocked_get_processor ours=%s bare_sleeps=%s ratio=%.3f %%\n",
              text(share).c_str(), text(bare).c_str(), share / bare);
}

void show_against_python() {
  if (!is_wanted("queue_one_way_64B") && !is_wanted("queue_round_trip_64B")) return;
  for (const char* kind : {"Queue", "SimpleQueue"}) {
    for (const char* what : {"one_way", "round_trip"}) {
      const Elsewhere python{{"python3", BENCHMARKS_FOLDER "/cpython_queue.py", kind, what}};
      const std::string peer = std::string{"CPython_"} + kind;
      if (!python.ask()) {
        std::printf("left out: %s, there is no python3 that could\n", peer.c_str());
      } else if (std::string_view{what} == "one_way") {
        show("queue_one_way_64B", "Mmsg/s", one_way<Ours<64>>(64, 300'000),
             {{peer, [&] { return python(); }}}, 5);
      } else {
        show("queue_round_trip_64B", "us", round_trip<Ours<64>>, {{peer, [&] { return python(); }}},
             5);
      }
    }
  }
}

template <std::size_t Size>
void show_cost_of_size() {  // nanoseconds a message
  const auto messages =
      static_cast<int>(std::clamp<std::size_t>((std::size_t{128} << 20U) / Size, 24, 200'000));
  const auto cost = [=](auto kind) {
    return [=] { return seconds<typename decltype(kind)::type>(Size, messages) / messages * 1e9; };
  };
  const std::string name = "queue_cost_of_size_" + std::to_string(Size) + "B";
  const std::vector<Contestant> peers{{"message_queue", cost(std::type_identity<MessageQueue>{})},
                                      {"pipe", cost(std::type_identity<BarePipe>{})},
                                      {"our_loans", cost(std::type_identity<OurLoans>{})}};
  if constexpr (Size <= 4096) {
    show(name, "ns/msg", cost(std::type_identity<Ours<Size>>{}), peers, 5);
  } else {
    show(name, "ns/msg", cost(std::type_identity<OurVectors>{}), peers, 5);
  }
}

void show_shapes() {
  constexpr int messages = 400'000;
  for (const int processes : {2, 4, 8}) {
    const std::string name = std::to_string(processes) + "x" + std::to_string(processes);
    show("queue_" + name + "_64B", "Mmsg/s", one_way<Ours<64>>(64, messages, processes, processes),
         {{"message_queue", one_way<MessageQueue>(64, messages, processes, processes)}}, 5);
  }
  for (const int processes : {1, 2, 4, 8, 16}) {
    const auto cost = [=](auto kind) {
      return [=] {
        using Kind = typename decltype(kind)::type;
        return seconds<Kind>(64, 160'000, processes, processes) / 160'000 * 1e9;
      };
    };
    show("queue_cost_of_processes_" + std::to_string(processes), "ns/msg",
         cost(std::type_identity<Ours<64>>{}),
         {{"message_queue", cost(std::type_identity<MessageQueue>{})},
          {"pipe", cost(std::type_identity<BarePipe>{})}},
         3);
  }
}

}  // namespace

int main(int argc, char** argv) {
  wanted.assign(argv + 1, argv + argc);
  constexpr int messages = 1'000'000;
  show("queue_one_way_64B", "Mmsg/s", one_way<Ours<64>>(64, messages),
       {{"message_queue", one_way<MessageQueue>(64, messages)},
        {"pipe", one_way<BarePipe>(64, messages / 4)},
        {"lock_free", one_way<LockFreeRing>(64, messages)}});
  show("queue_one_way_8B", "Mmsg/s", one_way<Ours<8>>(8, messages),
       {{"64B", one_way<Ours<64>>(64, messages)},
        {"message_queue", one_way<MessageQueue>(8, messages)},
        {"lock_free", one_way<LockFreeRing>(8, messages)}});
  show("queue_round_trip_64B", "us", round_trip<Ours<64>>,
       {{"message_queue", round_trip<MessageQueue>},
        {"pipe", round_trip<BarePipe>},
        {"flag", round_trip<Flag>}});
  show_shapes();
  for (const std::size_t size :
       {std::size_t{4} << 10U, std::size_t{64} << 10U, std::size_t{1} << 20U}) {
    show("queue_copied_" + std::to_string(size) + "B", "GiB/s", speed<OurVectors>(size),
         {{"message_queue", speed<MessageQueue>(size)},
          {"pipe", speed<BarePipe>(size)},
          {"bare_copies", speed<BareCopies>(size)},
          {"memcpy", [=] { return memcpy_speed(size); }}},
         5);
  }
  for (const std::size_t size :
       {std::size_t{64} << 10U, std::size_t{1} << 20U, std::size_t{16} << 20U}) {
    show("queue_loaned_" + std::to_string(size) + "B", "us/msg",
         [=] { return warm<OurLoans>(size); },
         {{"copied", [=] { return warm<OurVectors>(size); }},
          {"message_queue", [=] { return warm<MessageQueue>(size); }}});
  }
  Drain drain;
  show("queue_drain_64B", "ns/msg", [&] { return drain.in_batches(false); },
       {{"single_calls", [&] { return drain.singly(false); }}});
  show("queue_batches_64B", "ns/msg", [&] { return drain.in_batches(true); },
       {{"single_calls", [&] { return drain.singly(true); }}});
  show_blocked_get();
  show_against_python();
  show_cost_of_size<8>();
  show_cost_of_size<64>();
  show_cost_of_size<512>();
  show_cost_of_size<4096>();
  show_cost_of_size<(std::size_t{32} << 10U)>();
  show_cost_of_size<(std::size_t{256} << 10U)>();
  show_cost_of_size<(std::size_t{2} << 20U)>();
  show_cost_of_size<(std::size_t{16} << 20U)>();
}
