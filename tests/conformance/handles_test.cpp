// SPDX-License-Identifier: BSL-1.0
// What travels inside messages through a duplex pipe, to processes that were started before it was
// made: it arrives usable, and nothing of it stays behind where the receiver dies, refuses it or
// has no room for it.
#include <multiprocessing.hpp>
#if MULTIPROCESSING_POSIX
#  include <multiprocessing/reduction/dup_fd.hpp>
#endif

#include <support/eventually.hpp>
#if MULTIPROCESSING_POSIX
#  include <support/forked.hpp>
#endif
#include <support/line.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#if MULTIPROCESSING_POSIX
#  include <fcntl.h>
#  include <sys/resource.h>
#  include <unistd.h>
#endif

namespace mp = multiprocessing;
using namespace std::chrono_literals;
#if MULTIPROCESSING_POSIX
using test::Forked;
using test::Line;
#endif

namespace {

class HandlesInMessages : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(HandlesInMessages);

template <class T>
void in_another_process(const T& sent, void (*use)(T)) {
  auto [ours, theirs] = mp::Pipe();
  mp::Process process(
      [](mp::Connection end, void (*action)(T)) {
        action(end.recv<T>());
        end.send(std::string{"done"});
      },
      theirs, use);
  process.start();
  theirs.close();
  ours.send(sent);
  EXPECT_EQ(ours.recv<std::string>(), "done");
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 0);
}

TEST_P(HandlesInMessages, QueueArrivesUsable) {
  mp::Queue<std::string> queue;
  in_another_process<mp::Queue<std::string>>(queue, [](mp::Queue<std::string> q) { q.put("hi"); });
  EXPECT_EQ(queue.get(1s), "hi");
}

TEST_P(HandlesInMessages, LocksArriveUsable) {
  using All = std::tuple<mp::Lock, mp::RLock, mp::Semaphore, mp::Event, mp::Condition>;
  const All all;
  auto [lock, recursive, semaphore, event, condition] = all;
  in_another_process<All>(all, [](All there) {
    std::get<0>(there).acquire();
    std::get<0>(there).release();
    std::get<1>(there).acquire();
    std::get<1>(there).release();
    std::get<2>(there).acquire();
    std::get<3>(there).set();
    const std::lock_guard guard{std::get<4>(there)};
    std::get<4>(there).notify_all();
  });
  EXPECT_FALSE(lock.locked());
  EXPECT_EQ(semaphore.get_value(), 0U);
  EXPECT_TRUE(event.is_set());
}

TEST_P(HandlesInMessages, ValuesAndArraysArriveUsable) {
  using Both = std::pair<mp::Value<int>, mp::Array<double>>;
  const Both both{mp::Value<int>{1}, mp::Array<double>(100)};
  in_another_process<Both>(both, [](Both there) {
    there.first.update([](int& x) { x += 41; });
    there.second[99] = 2.5;
  });
  EXPECT_EQ(both.first.load(), 42);
  EXPECT_EQ(both.second[99], 2.5);
}

TEST_P(HandlesInMessages, SharedMemoryArrivesUsable) {
  const mp::SharedMemory memory{{.create = true, .size = 1000}};
  in_another_process<mp::SharedMemory>(
      memory, [](mp::SharedMemory there) { there.buf()[999] = std::byte{7}; });
  EXPECT_EQ(memory.buf()[999], std::byte{7});
}

// What of it stayed open here, the audit of each test would find.
TEST(HandleOfAMessage, IsClosedWhenAQueueIsTakenForSomethingElse) {
  auto [ours, theirs] = mp::Pipe();
  ours.send(mp::Queue<int>{});
  ours.send(5);
  EXPECT_THROW(static_cast<void>(theirs.recv<std::string>()), mp::SerializationError);
  EXPECT_EQ(theirs.recv<int>(), 5);
}

#if MULTIPROCESSING_POSIX  // not on Windows: descriptors, and fork
TEST_P(HandlesInMessages, OpenFilesArriveUsableAndAreClosedOnExec) {
  const int file = ::open("written.txt", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_GE(file, 0);
  in_another_process<mp::reduction::DupFd>(
      mp::reduction::DupFd{file}, [](mp::reduction::DupFd there) {
        const int mine = there.detach();
        EXPECT_NE(::fcntl(mine, F_GETFD) & FD_CLOEXEC, 0);
        EXPECT_EQ(::write(mine, "hello", 5), 5);
        ::close(mine);
        EXPECT_THROW(static_cast<void>(there.get()), std::invalid_argument);
      });
  std::array<char, 5> text{};
  EXPECT_EQ(::pread(file, text.data(), text.size(), 0), 5);
  EXPECT_EQ(std::string(text.data(), text.size()), "hello");
  ::close(file);
  ::unlink("written.txt");
}

// The read end of a pipe is at its end when no copy of the write end is left anywhere.
struct Tracer {
  std::array<int, 2> ends{-1, -1};
  Tracer() { EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0); }
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;
  ~Tracer() {
    ::close(ends[0]);
    if (ends[1] >= 0) ::close(ends[1]);
  }
  [[nodiscard]] mp::reduction::DupFd take() {
    mp::reduction::DupFd file{ends[1]};
    ::close(std::exchange(ends[1], -1));
    return file;
  }
  // Waits for it; the watchdog knows when it does not come.
  void expect_gone() const {
    char byte = 0;
    EXPECT_EQ(::read(ends[0], &byte, 1), 0);
  }
};

TEST(HandleOfAMessage, IsGoneWhenTheReceiverDiesBeforeItTookTheMessage) {
  Tracer tracer;
  auto [ours, theirs] = mp::Pipe();
  const Line line;
  Forked receiver{[&, &end = ours] {
    end.close();
    ::close(tracer.ends[1]);
    ::close(tracer.ends[0]);
    static_cast<void>(line.hear());
  }};
  theirs.close();
  ours.send(tracer.take());
  receiver.kill();
  tracer.expect_gone();
  EXPECT_THROW(ours.send(1), std::system_error);
}

TEST(HandleOfAMessage, IsGoneWhenTheReceiverAsksForSomethingElse) {
  Tracer tracer;
  auto [ours, theirs] = mp::Pipe();
  ours.send(tracer.take());
  ours.send(5);
  try {
    static_cast<void>(theirs.recv<std::string>());
    FAIL() << "it is no string";
  } catch (const mp::SerializationError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("string"), std::string::npos) << text;
    EXPECT_NE(text.find("DupFd"), std::string::npos) << text;
  }
  tracer.expect_gone();
  EXPECT_EQ(theirs.recv<int>(), 5);
}

TEST(HandleOfAMessage, IsGoneWhenNobodyReceivesAndBothEndsClose) {
  Tracer tracer;
  {
    auto [ours, theirs] = mp::Pipe();
    ours.send(std::pair{std::vector<int>(100'000, 1), tracer.take()});
  }
  tracer.expect_gone();
}

TEST(HandleOfAMessage, IsGoneWhenTheReceiverHasNoDescriptorLeft) {
  Tracer tracer;
  auto [ours, theirs] = mp::Pipe();
  ours.send(tracer.take());
  ours.send(6);
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{0, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &none);
  std::error_code code;
  try {
    static_cast<void>(theirs.recv<mp::reduction::DupFd>());
  } catch (const std::system_error& error) {
    code = error.code();
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(code, std::errc::too_many_files_open);
  tracer.expect_gone();
  EXPECT_EQ(theirs.recv<int>(), 6);
}

TEST(HandleOfAMessage, DoesNotTravelInBytesNorThroughAOneWayPipe) {
  const mp::reduction::DupFd file{0};
  mp::Pipe one_way{false};
  EXPECT_THROW(one_way.second.send(file), mp::SerializationError);
  EXPECT_THROW(static_cast<void>(mp::dumps(file)), mp::SerializationError);
  EXPECT_THROW((mp::reduction::DupFd{-1}), std::system_error);
}
#endif

}  // namespace
