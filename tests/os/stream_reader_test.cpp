// SPDX-License-Identifier: BSL-1.0
// Not on Windows: there is no StreamReader.
#include <multiprocessing/os/stream_reader.hpp>
#include <multiprocessing/timeout.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

namespace mp = multiprocessing;
namespace os = multiprocessing::os;
using namespace std::chrono_literals;
using mp::detail::Deadline;

namespace {

/// Who reads, and the other end of its stream.
class Stream {
 public:
  Stream() {
    std::array<int, 2> ends{};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) std::abort();
    ours_ = ends[0];
    theirs_ = ends[1];
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() {
    hang_up();
    close(ours_);
  }
  void write(std::string_view bytes) const {
    while (!bytes.empty()) {
      const auto sent = send(theirs_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  void hang_up() {
    if (theirs_ >= 0) close(theirs_);
    theirs_ = -1;
  }
  [[nodiscard]] int ours() const noexcept { return ours_; }

 private:
  int ours_ = -1;
  int theirs_ = -1;
};

std::string big_endian(std::uint64_t number, int size) {
  std::string bytes;
  while (size-- > 0) bytes.push_back(static_cast<char>(number >> (8 * size)));
  return bytes;
}
std::string framed(const std::string& message) {
  return big_endian(message.size(), 4) + message;
}

class StreamReader : public ::testing::Test {
 protected:
  os::Outcome receive(mp::Timeout timeout = mp::forever) {
    std::vector<std::byte> bytes;
    const auto outcome = reader_.receive(bytes, Deadline{timeout}, ec_);
    message_.clear();
    for (const std::byte one : bytes) message_.push_back(static_cast<char>(one));
    return outcome;
  }
  void expect(const std::string& message) {
    EXPECT_EQ(receive(), os::Outcome::done);
    EXPECT_EQ(ec_, std::error_code{});
    EXPECT_EQ(message_, message);
  }

  Stream stream_;
  os::StreamReader reader_{stream_.ours()};
  std::error_code ec_;
  std::string message_;
};

}  // namespace

TEST_F(StreamReader, TakesMessagesThatCameTogetherOneByOne) {
  stream_.write(framed("one") + framed("") + framed("three"));
  expect("one");
  expect("");
  expect("three");
  EXPECT_EQ(receive(0s), os::Outcome::timed_out);
}

TEST_F(StreamReader, TakesMessagesOfEverySizeHoweverTheyLieInItsBuffer) {
  constexpr std::size_t largest = 4200;  // beyond what it reads ahead
  std::jthread writer{[&] {
    for (std::size_t size = 0; size < largest; ++size) {
      stream_.write(framed(std::string(size, static_cast<char>('a' + size % 26))));
    }
  }};
  for (std::size_t size = 0; size < largest; ++size) {
    ASSERT_EQ(receive(), os::Outcome::done);
    ASSERT_EQ(message_, std::string(size, static_cast<char>('a' + size % 26)));
  }
}

TEST_F(StreamReader, TakesAMessageThatComesByteByByte) {
  const std::string message = framed("piece by piece");
  std::jthread writer{[&] {
    for (const char one : message) stream_.write({&one, 1});
  }};
  expect("piece by piece");
}

TEST_F(StreamReader, TakesLargeMessages) {
  const std::string large(5'000'000, 'x');
  std::jthread writer{[&] { stream_.write(framed("before") + framed(large) + framed("behind")); }};
  expect("before");
  expect(large);
  expect("behind");
}

TEST_F(StreamReader, TakesAMessageWhoseSizeHasTwelveBytes) {
  stream_.write(big_endian(0xffffffff, 4) + big_endian(4, 8) + "long");
  expect("long");
}

TEST_F(StreamReader, IsLateWhenNoMessageHasBegun) {
  EXPECT_EQ(receive(0s), os::Outcome::timed_out);
  EXPECT_EQ(receive(1ms), os::Outcome::timed_out);
  stream_.write(framed("in time"));
  EXPECT_EQ(receive(60s), os::Outcome::done);
  EXPECT_EQ(message_, "in time");
}

TEST_F(StreamReader, WaitsForTheRestOfAMessageThatHasBegun) {
  stream_.write(framed("late").substr(0, 6));
  std::jthread writer{[&] { stream_.write("te"); }};
  EXPECT_EQ(receive(0s), os::Outcome::done);
  EXPECT_EQ(message_, "late");
}

TEST_F(StreamReader, TellsAnEndFromABreak) {
  const std::string message = framed("message");
  for (std::size_t size = 0; size < message.size(); ++size) {
    Stream stream;
    os::StreamReader reader{stream.ours()};
    stream.write(framed("before") + message.substr(0, size));
    stream.hang_up();
    std::vector<std::byte> bytes;
    ASSERT_EQ(reader.receive(bytes, Deadline{mp::forever}, ec_), os::Outcome::done);
    const auto outcome = reader.receive(bytes, Deadline{mp::forever}, ec_);
    if (size == 0) {
      EXPECT_EQ(outcome, os::Outcome::ended);
      EXPECT_FALSE(ec_);
    } else {
      EXPECT_EQ(ec_, std::errc::connection_aborted) << size;
    }
  }
}

TEST_F(StreamReader, BelievesNoSizeThatIsNone) {
  stream_.write(big_endian(0x80000000, 4) + "garbage");
  static_cast<void>(receive());
  EXPECT_EQ(ec_, std::errc::bad_message);
}

TEST_F(StreamReader, TakesNoMemoryForASizeThatIsALie) {
  stream_.write(big_endian(0xffffffff, 4) + big_endian(std::uint64_t{1} << 40U, 8) + "little");
  stream_.hang_up();
  static_cast<void>(receive());
  EXPECT_EQ(ec_, std::errc::connection_aborted);
}

TEST_F(StreamReader, EndsWhenItIsShutDownByAnotherThread) {
  std::jthread closer{[&] { reader_.shut_down(); }};
  EXPECT_EQ(receive(), os::Outcome::ended);
  EXPECT_EQ(receive(60s), os::Outcome::ended);
}
