// SPDX-License-Identifier: BSL-1.0
// Not on Windows: os/posix/passage.ipp and passages.ipp
#include <multiprocessing/os/bell.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/two_way_channel.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace os = multiprocessing::os;
using multiprocessing::forever;
using multiprocessing::detail::Deadline;
using multiprocessing::detail::process_state;
using os::posix::Passage;
using os::posix::PassagePage;
using os::posix::Passages;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kept = Passage::front + Passage::ring;
const Deadline never{forever};

std::vector<std::byte> bytes_of(std::size_t size) {
  std::vector<std::byte> made(size);
  for (std::size_t i = 0; i < size; ++i) made[i] = static_cast<std::byte>(i * 7 + i / 4096);
  return made;
}

std::size_t memory_of(int file) {
  struct stat status {};
  EXPECT_EQ(::fstat(file, &status), 0);
  return static_cast<std::size_t>(status.st_blocks) * 512;
}

// What a passage's other processes see of it.
class Seen {
 public:
  explicit Seen(int file)
      : mapped_{::mmap(nullptr, kept, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)} {
    EXPECT_NE(mapped_, MAP_FAILED);
  }
  Seen(const Seen&) = delete;
  Seen& operator=(const Seen&) = delete;
  ~Seen() { ::munmap(mapped_, kept); }
  PassagePage& page() { return *static_cast<PassagePage*>(mapped_); }

 private:
  void* mapped_;
};

os::UniqueHandle duplicate(int file) {
  return os::UniqueHandle{::fcntl(file, F_DUPFD_CLOEXEC, 3)};
}

// The memory of the one passage that this process has.
os::UniqueHandle passage_of_this_process() {
  for (int descriptor = 3; descriptor < 1024; ++descriptor) {
    struct stat status {};
    const int seals = ::fcntl(descriptor, F_GET_SEALS);
    if (seals == (F_SEAL_SHRINK | F_SEAL_SEAL) && ::fstat(descriptor, &status) == 0 &&
        status.st_size >= static_cast<off_t>(Passage::front + 100'000) &&
        status.st_size <= static_cast<off_t>(kept)) {
      return duplicate(descriptor);
    }
  }
  ADD_FAILURE() << "there is none";
  return {};
}

os::Outcome send(const os::TwoWayEnd& to, std::span<const std::byte> bytes, std::error_code& ec) {
  return to.send({1, bytes, {}}, {}, never, ec);
}

void expect_message(const os::TwoWayEnd& from, std::span<const std::byte> bytes) {
  os::IncomingMessage message;
  std::error_code ec;
  EXPECT_EQ(from.receive(message, {}, never, ec), os::Outcome::done);
  EXPECT_FALSE(ec) << ec.message();
  EXPECT_TRUE(
      std::equal(bytes.begin(), bytes.end(), message.bytes().begin(), message.bytes().end()));
}

}  // namespace

// It writes, and the passage's `written` goes to and fro meanwhile: no byte beside the room.
TEST(PassageReceiver, BelievesNoCountTwice) {
  constexpr std::uint64_t size = 200'000;
  const auto passage = Passage::create();
  ASSERT_TRUE(passage->begin(bytes_of(size)));
  std::error_code ec;
  os::posix::write_at(passage->file(), kept, bytes_of(size), ec);
  ASSERT_FALSE(ec);
  Seen seen{passage->file()};
  std::atomic<bool> over{false};
  std::thread liar{[&] {
    while (!over) {
      seen.page().written = 0;
      seen.page().written = size;
    }
  }};
  std::vector<std::byte> memory(3 * size, std::byte{'.'});
  for (int round = 0; round < 6000 && !ec; ++round) {
    seen.page().spilled = round % 2 == 0 ? PassagePage::nowhere : Passage::piece;
    os::IncomingMessage message;
    message.offer(std::span{memory}.subspan(size, size), 9);
    static_cast<void>(passage->take(passage->file(), 1, size, message, {}, ec));
  }
  over = true;
  liar.join();
  passage->end(true);
  EXPECT_FALSE(ec) << ec.message();
  const auto is_as_before = [](std::byte one) { return one == std::byte{'.'}; };
  EXPECT_TRUE(std::all_of(memory.begin(), memory.begin() + size, is_as_before));
  EXPECT_TRUE(std::all_of(memory.end() - size, memory.end(), is_as_before));
}

TEST(PassageSender, IsHeldUpByNobodyWhoSaysNowThisNowThat) {
  const auto passage = Passage::create();
  const auto bytes = bytes_of(5'000'000);
  ASSERT_TRUE(passage->begin(bytes));
  Seen seen{passage->file()};
  std::atomic<bool> over{false};
  std::thread liar{[&] {
    while (!over) {
      seen.page().taken = 0;
      seen.page().taken = 1;
    }
  }};
  std::error_code ec;
  passage->go_on(bytes, {}, ec);
  over = true;
  liar.join();
  EXPECT_FALSE(ec);
  EXPECT_TRUE(passage->has_spilled());
  passage->end(true);
}

// close() in a process must not take a message from others when its sender is at work.
TEST(PassageReceiver, ThatIsToLeaveTakesWhatIsComing) {
  const auto bytes = bytes_of(4'000'000);
  const std::atomic<bool> raised{true};
  os::Outcome outcome = os::Outcome::interrupted;
  for (int round = 0; round < 30 && outcome != os::Outcome::done; ++round) {
    const auto passage = Passage::create();
    ASSERT_TRUE(passage->begin(bytes));
    Seen seen{passage->file()};
    std::thread receiver{[&] {
      os::IncomingMessage message;
      std::error_code ec;
      outcome = passage->take(passage->file(), 1, bytes.size(), message, {&raised, nullptr}, ec);
      EXPECT_FALSE(ec);
      if (outcome == os::Outcome::done) {
        EXPECT_TRUE(
            std::equal(bytes.begin(), bytes.end(), message.bytes().begin(), message.bytes().end()));
      }
    }};
    while (seen.page().taken < Passage::ring) ::sched_yield();
    for (int i = 0; i < 2000; ++i) os::relax();  // it looks, and nothing is there
    std::error_code ec;
    passage->go_on(bytes, {}, ec);
    passage->end(true);
    receiver.join();
  }
  EXPECT_EQ(outcome, os::Outcome::done);
}

TEST(Passage, KeepsNothingOfWhatDidNotFitIntoIt) {
  std::error_code ec;
  const auto large = bytes_of(100'000);
  const auto very_large = bytes_of(9U << 20U);
  const auto ends = os::TwoWayEnd::create(ec);
  ASSERT_FALSE(ec);
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(send(ends.first, large, ec), os::Outcome::done);
    const os::UniqueHandle memory = passage_of_this_process();
    expect_message(ends.second, large);
    EXPECT_EQ(send(ends.first, very_large, ec), os::Outcome::done);
    EXPECT_GT(memory_of(memory.get()), kept);
    expect_message(ends.second, very_large);
    EXPECT_LE(memory_of(memory.get()), kept);
  }
}

TEST(Passage, KeepsNothingOfWhatNobodyReceives) {
  const auto bytes = bytes_of(9U << 20U);
  for (const bool in_time : {true, false}) {  // its receiver leaves: before the rest is there
    auto passage = Passage::create();
    ASSERT_TRUE(passage->begin(bytes));
    Seen seen{passage->file()};
    const os::UniqueHandle memory = duplicate(passage->file());
    std::error_code ec;
    if (in_time) seen.page().busy = 0;
    passage->go_on(bytes, {}, ec);
    EXPECT_FALSE(ec);
    EXPECT_GT(memory_of(memory.get()), kept);
    seen.page().busy = 0;
    passage->end(true);
    passage.reset();
    EXPECT_LE(memory_of(memory.get()), kept);
  }
}

TEST(Passage, KeepsNothingOfWhatTheSystemRefused) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto bytes = bytes_of(9U << 20U);
    const auto passage = Passage::create();
    const rlimit limit{4U << 20U, 4U << 20U};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::error_code ec;
    if (!passage->begin(bytes)) ::_exit(1);
    passage->go_on(bytes, {}, ec);
    if (ec != std::errc::file_too_large) ::_exit(2);
    ::_exit(memory_of(passage->file()) <= kept ? 0 : 3);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(Passages, InHandAtAForkAreNotMissedByTheChild) {
  os::install_fork_handlers();
  const auto bytes = bytes_of(100'000);
  Passages passages;
  auto first = passages.begin(bytes);
  auto second = passages.begin(bytes);
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(passages.begin(bytes));  // two of them are enough
  const pid_t child = ::fork();
  if (child == 0) {
    auto made = passages.begin(bytes);
    auto other = passages.begin(bytes);
    if (!made || !other || passages.begin(bytes)) ::_exit(1);
    passages.end(std::move(made), false);
    made = passages.begin(bytes);
    ::_exit(made ? 0 : 2);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  passages.end(std::move(first), false);
  passages.end(std::move(second), false);
}

TEST(Passages, BeyondThoseThatAProcessMayKeepAreReadUnmapped) {
  std::error_code ec;
  const auto ends = os::TwoWayEnd::create(ec);
  ASSERT_FALSE(ec);
  os::UniqueHandle memory;  // the same one for all
  for (const std::size_t size : {std::size_t{100'000}, Passage::ring, std::size_t{3'000'000}}) {
    const auto bytes = bytes_of(size);
    EXPECT_EQ(send(ends.first, bytes, ec), os::Outcome::done);
    if (!memory) memory = passage_of_this_process();
    Seen seen{memory.get()};
    EXPECT_EQ(seen.page().busy, 1U);
    process_state().passages += 32;
    expect_message(ends.second, bytes);
    process_state().passages -= 32;
    EXPECT_EQ(seen.page().busy, 0U);
  }
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // their shadow is too large
TEST(PassageReceiver, NeedsNoAddressesForWhatTheRingHolds) {
  std::error_code ec;
  const auto ends = os::TwoWayEnd::create(ec);
  ASSERT_FALSE(ec);
  const auto bytes = bytes_of(1U << 20U);
  const auto very_large = bytes_of(3U << 20U);
  const pid_t child = ::fork();
  if (child == 0) {
    std::vector<std::byte> room(very_large.size());
    if (send(ends.first, bytes, ec) != os::Outcome::done) ::_exit(1);
    const os::UniqueHandle memory = passage_of_this_process();
    Seen seen{memory.get()};
    os::IncomingMessage message;
    message.offer(room, 9);
    const rlimit limit{1U << 20U, RLIM_INFINITY};
    ::setrlimit(RLIMIT_AS, &limit);
    const os::Outcome outcome = ends.second.receive(message, {}, never, ec);
    if (outcome != os::Outcome::done || ec || message.bytes().size() != bytes.size()) ::_exit(2);
    if (!std::equal(bytes.begin(), bytes.end(), room.begin())) ::_exit(3);
    if (seen.page().busy != 0) ::_exit(4);
    if (send(ends.first, very_large, ec) != os::Outcome::done) ::_exit(5);
    static_cast<void>(ends.second.receive(message, {}, never, ec));
    if (ec != std::errc::not_enough_memory) ::_exit(6);
    ::_exit(seen.page().busy == 0 ? 0 : 7);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}
#endif

TEST(Passages, OfMemoryThatCannotBeWrittenAreRefused) {
  Passages passages;
  for (const bool sealed : {true, false}) {
    os::UniqueHandle memory{::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    std::error_code ec;
    os::posix::write_at(memory.get(), 0, bytes_of(kept), ec);
    ASSERT_EQ(::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | (sealed ? F_SEAL_WRITE : 0)), 0);
    if (!sealed) {
      const std::string path = "/proc/self/fd/" + std::to_string(memory.get());
      memory = os::UniqueHandle{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    }
    EXPECT_EQ(passages.find(memory, 100'000, ec), nullptr);
    EXPECT_EQ(ec, std::errc::bad_message);
  }
}

TEST(TwoWayEnd, ThatIsNoneHasNoMessage) {
  const os::TwoWayEnd none;
  std::error_code ec;
  os::IncomingMessage message;
  static_cast<void>(none.receive(message, {}, never, ec));
  EXPECT_EQ(ec, std::errc::bad_file_descriptor);
  static_cast<void>(send(none, bytes_of(10), ec));
  EXPECT_EQ(ec, std::errc::bad_file_descriptor);
}
