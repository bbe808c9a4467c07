// SPDX-License-Identifier: BSL-1.0
// What CPython's tests pin of processes and of what they share, under every start method, where no
// other test here does: _TestProcess, _TestQueue, _TestConnection, TestWait, TestStartMethod, ...
#include <multiprocessing.hpp>

#include <support/captured.hpp>
#include <support/eventually.hpp>
#include <support/line.hpp>
#include <support/processes.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <parity/in_child.hpp>

#if MULTIPROCESSING_POSIX
#  include <arpa/inet.h>
#  include <fcntl.h>
#  include <netinet/in.h>
#  include <sys/socket.h>
#  include <unistd.h>
#endif

namespace mp = multiprocessing;
using in_child::exit_code_of;
using in_child::expect;
using namespace std::chrono_literals;
using test::Line;
using Indexes = std::vector<std::size_t>;

namespace {

class ProcessParity : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(ProcessParity);

template <class Error, class Call>
void expect_refused(Call call) {
  try {
    call();
  } catch (const Error&) {
    return;
  }
  throw std::runtime_error{"it was not refused"};
}

// ---- processes ----

void make_processes(const Line& line) {
  const mp::Process inherits{[] {}};
  const mp::Process daemon{{.daemon = true}, [] {}};
  const mp::Process none{{.daemon = false}, [] {}};
  expect(daemon.daemon() && !none.daemon());
  line.say(inherits.daemon() ? "a daemon" : "no daemon");
}

TEST_P(ProcessParity, DaemonIsWhatItsMakerIsUnlessItIsToldOtherwise) {
  const Line line;
  for (const bool daemon : {true, false}) {
    EXPECT_EQ(exit_code_of(mp::ProcessOptions{.daemon = daemon}, make_processes, line), 0);
    EXPECT_EQ(line.hear(), daemon ? "a daemon" : "no daemon");
  }
}

// The child's thread has another identity than the one that it is a copy of under fork.
void use_locks(mp::RLock held, mp::Lock held_too, mp::RLock free) {
  expect(!held.acquire(0s) && !held_too.acquire(0s));
  expect_refused<std::logic_error>([&] { held.release(); });
  expect_refused<std::logic_error>([&] { held_too.release(); });
  for (int i = 0; i < 2; ++i) expect(free.acquire(0s));
  for (int i = 0; i < 2; ++i) free.release();
  expect_refused<std::logic_error>([&] { free.release(); });
}

TEST_P(ProcessParity, ThreadOfTheChildIsNotItsStarters) {
  mp::RLock held;
  mp::Lock held_too;
  mp::RLock free;
  const std::scoped_lock guard{held, held_too};
  EXPECT_EQ(exit_code_of(use_locks, held, held_too, free), 0);
  EXPECT_FALSE(free.locked());
}

#if MULTIPROCESSING_POSIX  // not on Windows: signals
void disturb(const mp::Event& go) {
  mp::Event{go}.wait();
  const int parent = mp::parent_process()->pid();
  const std::string status = "/proc/" + std::to_string(parent) + "/stat";
  for (int i = 0; i < 20; ++i) {
    test::eventually([&] { return test::first_line(status).find(") S ") != std::string::npos; });
    ::kill(parent, SIGUSR1);
  }
}

TEST_P(ProcessParity, JoinGoesOnThroughSignals) {
  static std::atomic<int> signals;
  signals = 0;
  struct sigaction counting {};
  struct sigaction before {};
  counting.sa_handler = [](int) { ++signals; };  // without SA_RESTART
  ::sigaction(SIGUSR1, &counting, &before);
  mp::Event go;
  mp::Process process{disturb, go};
  process.start();
  go.set();
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_GT(signals, 0);
  ::sigaction(SIGUSR1, &before, nullptr);
}

void look_for(const Line& line, int descriptor) {
  line.say(::fcntl(descriptor, F_GETFD) >= 0 ? "open" : "closed");
}

TEST_P(ProcessParity, UnrelatedDescriptorsReachAForkedChildOnly) {
  const int unrelated = ::fcntl(STDIN_FILENO, F_DUPFD, 200);  // not close-on-exec
  ASSERT_GE(unrelated, 200);
  const Line line;
  EXPECT_EQ(exit_code_of(look_for, line, unrelated), 0);
  EXPECT_EQ(line.hear(), forks() ? "open" : "closed");
  ::close(unrelated);
}

int& preloaded() {
  static int units = 0;
  return units;
}

TEST_P(ProcessParity, LocksOfAPreloadDisturbNobody) {
  mp::set_forkserver_preload(mp::Task{[] {
    static mp::Lock lock;
    static mp::Queue<int> queue;
    static mp::Semaphore units{3};
    queue.put(static_cast<int>(units.get_value()) + (lock.locked() ? 1 : 0));
    preloaded() = queue.get();
  }});
  {
    const test::Captured errors{STDERR_FILENO};
    const Line line;
    int server = 0;
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(exit_code_of(
                    [](const Line& to) {
                      mp::Lock{}.acquire();
                      to.say(std::to_string(preloaded()));
                      to.say(std::to_string(::getppid()));
                    },
                    line),
                0);
      EXPECT_EQ(line.hear(), GetParam() == mp::StartMethod::forkserver ? "3" : "0");
      server = std::stoi(line.hear());
    }
    mp::detail::end_forkserver();  // which gives back what the preload made
    if (server != ::getpid()) test::eventually([&] { return in_child::is_gone(server); });
    EXPECT_EQ(errors.text(), "");
  }
  mp::set_forkserver_preload({});
}
#endif

void have_a_queue_and_a_child() {
  mp::Queue<int> queue;
  mp::Process child{[](mp::Queue<int> to) { to.put(7); }, queue};
  child.start();
  expect(queue.get() == 7);
  child.join();
  expect(child.exitcode() == 0);
}

TEST_P(ProcessParity, AProcessMakesQueuesAndChildrenOfItsOwn) {
  EXPECT_EQ(exit_code_of(have_a_queue_and_a_child), 0);
}

// ---- queues ----

void put_ten(mp::Queue<int> queue) {
  for (int i = 10; i < 20; ++i) queue.put(i);
}

TEST_P(ProcessParity, AQueueThatWasUsedBeforeTheStartIsUsedByTheChildToo) {
  mp::Queue<int> queue;
  for (int i = 0; i < 10; ++i) queue.put(i);
  EXPECT_EQ(exit_code_of(put_ten, queue), 0);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(queue.get(), i);
  EXPECT_THROW(queue.get_nowait(), mp::Empty);
}

void take_six(mp::Queue<int> queue, mp::Event may, mp::Event done) {
  may.wait();
  for (int i = 1; i <= 6; ++i) expect(queue.get() == i);
  done.set();
}

TEST_P(ProcessParity, ABoundedQueueIsFilledInEveryWayAndEmptiedByTheChild) {
  mp::Queue<int> queue{6};
  mp::Event may;
  mp::Event done;
  mp::Process process{take_six, queue, may, done};
  process.start();
  EXPECT_TRUE(queue.empty());
  EXPECT_FALSE(queue.full());
  queue.put(1);
  queue.put(2, mp::forever);
  queue.put(3, 0s);
  queue.put(4, 1h);
  queue.put_nowait(5);
  EXPECT_TRUE(queue.try_put(6));
  EXPECT_FALSE(queue.empty());
  EXPECT_TRUE(queue.full());
  EXPECT_THROW(queue.put(7, 0s), mp::Full);
  EXPECT_THROW(queue.put(7, 20ms), mp::Full);
  EXPECT_THROW(queue.put_nowait(7), mp::Full);
  EXPECT_FALSE(queue.try_put(7));
  may.set();
  done.wait();
  EXPECT_TRUE(queue.empty());
  EXPECT_FALSE(queue.full());
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

template <class AnyQueue>
void put_five(AnyQueue queue, mp::Event may, mp::Event done) {
  may.wait();
  for (int i = 1; i <= 5; ++i) queue.put(i);
  done.set();
}

TEST_P(ProcessParity, WhatTheChildPutsIsTakenInEveryWay) {
  mp::Queue<int> queue;
  mp::Event may;
  mp::Event done;
  mp::Process process{put_five<mp::Queue<int>>, queue, may, done};
  process.start();
  EXPECT_TRUE(queue.empty());
  may.set();
  done.wait();
  EXPECT_FALSE(queue.empty());
  EXPECT_EQ(queue.get(), 1);
  EXPECT_EQ(queue.get(mp::forever), 2);
  EXPECT_EQ(queue.get(1h), 3);
  EXPECT_EQ(queue.get_nowait(), 4);
  EXPECT_EQ(queue.try_get(), 5);
  EXPECT_TRUE(queue.empty());
  EXPECT_THROW(queue.get(0s), mp::Empty);
  EXPECT_THROW(queue.get(20ms), mp::Empty);
  EXPECT_THROW(queue.get_nowait(), mp::Empty);
  process.join();
}

TEST_P(ProcessParity, ASimpleQueueIsEmptyUntilTheChildPuts) {
  mp::SimpleQueue<int> queue;
  mp::Event may;
  mp::Event done;
  mp::Process process{put_five<mp::SimpleQueue<int>>, queue, may, done};
  process.start();
  EXPECT_TRUE(queue.empty());
  may.set();
  done.wait();
  for (int i = 1; i <= 5; ++i) {
    EXPECT_FALSE(queue.empty());
    EXPECT_EQ(queue.get(), i);
  }
  EXPECT_TRUE(queue.empty());
  process.join();
}

// ---- a condition ----

void wait_in_vain(mp::Condition condition, mp::Value<int> state, mp::Semaphore ready) {
  const std::lock_guard guard{condition};
  ready.release();
  const auto before = std::chrono::steady_clock::now();
  expect(!condition.wait_for([&] { return state.load() == 4; }, 100ms), "three notifications");
  expect(std::chrono::steady_clock::now() - before >= 100ms, "too early");
}

TEST_P(ProcessParity, WaitForOfAConditionEndsAtItsTimeAndNotBefore) {
  mp::Condition condition;
  mp::Value<int> state{0};
  mp::Semaphore ready{0};
  mp::Process process{wait_in_vain, condition, state, ready};
  process.start();
  ready.acquire();
  for (int i = 0; i < 3; ++i) {
    const std::lock_guard guard{condition};
    state.update([](int& x) { ++x; });
    condition.notify();
  }
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

// ---- connections ----

void use_ends(mp::Connection from) {
  auto in = from.recv<mp::Connection>();
  auto out = from.recv<mp::Connection>();
  expect(in.readable() && !in.writable() && !out.readable() && out.writable());
  expect_refused<std::invalid_argument>([&] { in.send(1); });
  expect_refused<std::invalid_argument>([&] { static_cast<void>(out.recv<int>()); });
  out.send(in.recv<std::string>() + "!");
}

TEST_P(ProcessParity, OneWayEndsKeepTheirRightsOnTheWay) {
  auto [ours, theirs] = mp::Pipe();
  mp::Process process{use_ends, theirs};
  process.start();
  mp::Pipe there{false};
  mp::Pipe back{false};
  ours.send(there.first);
  ours.send(back.second);
  there.second.send("hello");
  EXPECT_EQ(back.first.recv<std::string>(), "hello!");
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

TEST(ConnectionParity, SendsAnyPartOfAText) {
  auto [receiving, sending] = mp::Pipe(false);
  const std::string_view text = "abcdefghijklmnopqrstuvwxyz";
  const auto sent = [&, &from = receiving, &to = sending](std::string_view part) {
    to.send_bytes(part);
    const auto bytes = from.recv_bytes();
    return std::string{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  };
  EXPECT_EQ(sent(text), text);
  EXPECT_EQ(sent(text.substr(5)), "fghijklmnopqrstuvwxyz");
  EXPECT_EQ(sent(text.substr(7, 8)), "hijklmno");
  EXPECT_EQ(sent(text.substr(26)), "");
  EXPECT_EQ(sent(text.substr(26, 0)), "");
}

// ---- errors ----

template <class... Errors>
constexpr bool all_are_process_errors = (std::is_base_of_v<mp::ProcessError, Errors> && ...);

TEST(ErrorsParity, AreProcessErrors) {
  static_assert(all_are_process_errors<mp::TimeoutError, mp::BufferTooShort, mp::EOFError,
                                       mp::SerializationError, mp::Empty, mp::Full, mp::ShutDown>);
  static_assert(all_are_process_errors<mp::LostTasks, mp::AbandonedLock, mp::BrokenBarrierError,
                                       mp::BrokenProcessPool, mp::CancelledError,
                                       mp::InvalidStateError, mp::RemoteError>);
  const mp::Queue<int> queue;
  EXPECT_THROW(mp::Queue<int>{queue}.get_nowait(), mp::ProcessError);
  EXPECT_THROW(mp::Future<int>{}.result(0s), mp::ProcessError);
}

// ---- wait ----

void say_ten(mp::Connection to, int number, int pause) {
  for (int i = 0; i < 10; ++i) {
    if (pause != 0) std::this_thread::sleep_for(std::chrono::milliseconds{pause});
    to.send(std::pair{number, i});
  }
}

TEST_P(ProcessParity, WaitHearsAllWritersToTheirEnd) {
  for (const int pause : {0, 3}) {
    std::vector<mp::Connection> readers;
    std::vector<mp::Process<>> processes;
    for (int i = 0; i < 4; ++i) {
      mp::Pipe pipe{false};
      processes.emplace_back(say_ten, pipe.second, i, pause);
      processes.back().start();
      pipe.second.close();
      readers.push_back(pipe.first);
    }
    std::map<int, int> heard;
    while (!readers.empty()) {
      const Indexes ready = mp::wait(readers);
      ASSERT_FALSE(ready.empty());
      for (auto at = ready.rbegin(); at != ready.rend(); ++at) {
        try {
          const auto [number, i] = readers[*at].recv<std::pair<int, int>>();
          EXPECT_EQ(i, heard[number]++);
        } catch (const mp::EOFError&) {
          readers.erase(readers.begin() + static_cast<std::ptrdiff_t>(*at));
        }
      }
    }
    for (int i = 0; i < 4; ++i) EXPECT_EQ(heard[i], 10);
    for (auto& process : processes) process.join();
  }
}

#if MULTIPROCESSING_POSIX  // not on Windows: sockets are no handles there that can be waited for
void write_to(int port, int pause) {
  const int to = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  expect(::connect(to, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0, "connect");
  for (char digit = '0'; digit <= '9'; ++digit) {
    if (pause != 0) std::this_thread::sleep_for(std::chrono::milliseconds{pause});
    expect(::send(to, &digit, 1, MSG_NOSIGNAL) == 1, "send");
  }
  ::close(to);
}

TEST_P(ProcessParity, WaitHearsSocketsToTheirEnd) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener, 4), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  for (const int pause : {0, 3}) {
    std::vector<mp::Process<>> processes;
    for (int i = 0; i < 4; ++i) processes.emplace_back(write_to, ntohs(address.sin_port), pause);
    for (auto& process : processes) process.start();
    std::vector<mp::native_handle_type> open;
    std::map<int, std::string> heard;
    for (int i = 0; i < 4; ++i) open.push_back(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    while (!open.empty()) {
      const Indexes ready = mp::wait(open);
      ASSERT_FALSE(ready.empty());
      for (auto at = ready.rbegin(); at != ready.rend(); ++at) {
        const int from = open[*at];
        char text[32];
        const auto got = ::recv(from, text, sizeof text, 0);
        ASSERT_GE(got, 0);
        heard[from].append(text, static_cast<std::size_t>(got));
        if (got == 0) open.erase(open.begin() + static_cast<std::ptrdiff_t>(*at));
      }
    }
    EXPECT_EQ(heard.size(), 4U);
    for (const auto& [from, text] : heard) {
      EXPECT_EQ(text, "0123456789");
      ::close(from);
    }
    for (auto& process : processes) {
      process.join();
      EXPECT_EQ(process.exitcode(), 0);
    }
  }
  ::close(listener);
}
#endif

TEST_P(ProcessParity, WaitReturnsASentinelAndConnectionsTogether) {
  const Line go;
  mp::Process process{[](const Line& from) { static_cast<void>(from.hear()); }, go};
  process.start();
  auto first = mp::Pipe();
  auto second = mp::Pipe();
  const auto wait = [&](mp::Timeout timeout = mp::forever) {
    return mp::wait({process.sentinel(), first.first, second.first}, timeout);
  };
  EXPECT_EQ(wait(20ms), Indexes{});
  EXPECT_EQ(wait(-1s), Indexes{});
  go.say("end");
  EXPECT_EQ(wait(), Indexes{0});
  first.second.send(1);
  EXPECT_EQ(wait(), (Indexes{0, 1}));
  second.second.send(1);
  EXPECT_EQ(wait(), (Indexes{0, 1, 2}));
  static_cast<void>(first.first.recv<int>());
  EXPECT_EQ(wait(0s), (Indexes{0, 2}));
  process.join();
}

}  // namespace
