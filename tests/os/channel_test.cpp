// SPDX-License-Identifier: BSL-1.0
// Not on Windows: the fork server
#include <multiprocessing/os/channel.hpp>
#include <multiprocessing/os/one_way_channel.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace os = multiprocessing::os;
using multiprocessing::forever;
using multiprocessing::native_handle_type;
using multiprocessing::detail::Deadline;
using namespace std::chrono_literals;

namespace {

const Deadline never{forever};
const Deadline now{0s};

// What a stranger could write to the other end: a header as the channel's own, with one thing
// wrong.
struct Header {
  std::uint32_t magic = 0x316d706dU;
  std::uint8_t kind = 1;
  std::uint8_t in_memory = 0;
  std::uint16_t handles = 0;
  std::uint64_t size = 0;
};

// What another process could write into the memory of a one-way pipe.
class RawRing {
 public:
  explicit RawRing(const os::OneWayEnd& end) {
    std::error_code ec;
    region_ = os::SharedRegion::adopt(os::UniqueHandle{os::duplicate_handle(end.handles()[1], ec)},
                                      ring + os::posix::ring_size, ec);
    if (!ec) region_.commit(ring, os::posix::ring_size, ec);
    EXPECT_FALSE(ec);
  }
  /// Behind what is there already.
  void write(const os::posix::PartHeader& header, std::uint64_t size) {
    std::memcpy(region_.data() + ring + shared().written % os::posix::ring_size, &header,
                sizeof header);
    shared().written += size;
  }
  void forget() { shared().read = shared().written.load(); }
  [[nodiscard]] os::OneWayEnd::Shared& shared() const {
    return *reinterpret_cast<os::OneWayEnd::Shared*>(region_.data());
  }

 private:
  static constexpr std::size_t ring = os::posix::page_size;
  os::SharedRegion region_;
};

void send_raw(int to, const void* bytes, std::size_t size, int descriptor = -1) {
  iovec part{const_cast<void*>(bytes), size};
  msghdr packet{};
  packet.msg_iov = &part;
  packet.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof descriptor)> control{};
  if (descriptor >= 0) {
    packet.msg_control = control.data();
    packet.msg_controllen = control.size();
    cmsghdr* const rights = CMSG_FIRSTHDR(&packet);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof descriptor);
    std::memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
  }
  ASSERT_EQ(::sendmsg(to, &packet, 0), static_cast<ssize_t>(size));
}

std::error_code receive_from(native_handle_type end) {
  os::IncomingMessage message;
  std::error_code error;
  static_cast<void>(os::receive_message(end, message, {}, now, error));
  return error;
}

class Channel : public testing::Test {
 protected:
  std::error_code ec_;
  os::ChannelEnds ends_ = os::make_channel(ec_);

  std::error_code receive() { return receive_from(ends_.second.get()); }
  os::UniqueHandle memory(std::size_t size, int seals) {
    os::UniqueHandle made{::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    EXPECT_EQ(::ftruncate(made.get(), static_cast<off_t>(size)), 0);
    const std::vector<char> bytes(size, 'x');
    EXPECT_EQ(::pwrite(made.get(), bytes.data(), size, 0), static_cast<ssize_t>(size));
    EXPECT_EQ(::fcntl(made.get(), F_ADD_SEALS, seals), 0);
    return made;
  }
};
constexpr int all_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;

}  // namespace

// A packet is received where its message keeps it: there must be such a place again when the one
// before was moved away, and what was received there first stays whole.
TEST_F(Channel, IsReceivedAgainIntoAMessageThatWasMovedAway) {
  os::IncomingMessage message;
  std::vector<os::IncomingMessage> kept;
  for (const std::byte content : {std::byte{1}, std::byte{2}, std::byte{3}}) {
    const std::vector<std::byte> bytes(100, content);
    ASSERT_EQ(os::send_message(ends_.first.get(), {1, bytes, {}}, {}, now, ec_), os::Outcome::done);
    ASSERT_EQ(os::receive_message(ends_.second.get(), message, {}, now, ec_), os::Outcome::done);
    kept.push_back(std::move(message));
  }
  for (std::size_t i = 0; i < kept.size(); ++i) {
    EXPECT_EQ(kept[i].bytes().size(), 100U);
    for (const std::byte one : kept[i].bytes()) EXPECT_EQ(one, static_cast<std::byte>(i + 1));
  }
}

TEST_F(Channel, CarriesKindBytesAndHandles) {
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  const os::UniqueHandle out{pipe[0]};
  os::UniqueHandle in{pipe[1]};
  const std::vector<std::byte> large(200'000, std::byte{3});
  for (const std::size_t size : {std::size_t{0}, std::size_t{5}, large.size()}) {
    const std::array<native_handle_type, 2> handles{in.get(), out.get()};
    const auto bytes = std::span{large}.first(size);
    ASSERT_EQ(os::send_message(ends_.first.get(), {9, bytes, handles}, {}, never, ec_),
              os::Outcome::done);
    os::IncomingMessage message;
    ASSERT_EQ(os::receive_message(ends_.second.get(), message, {}, never, ec_), os::Outcome::done);
    EXPECT_EQ(message.kind(), 9);
    EXPECT_TRUE(
        std::equal(bytes.begin(), bytes.end(), message.bytes().begin(), message.bytes().end()));
    ASSERT_EQ(message.handles.size(), 2U);
    EXPECT_NE(::fcntl(message.handles[0].get(), F_GETFD) & FD_CLOEXEC, 0);
    EXPECT_EQ(::write(message.handles[0].get(), "a", 1), 1);
    char read = 0;
    EXPECT_EQ(::read(message.handles[1].get(), &read, 1), 1);
    EXPECT_EQ(read, 'a');
  }
}

TEST_F(Channel, AnswersWhatItDidNotDo) {
  os::IncomingMessage message;
  EXPECT_EQ(os::receive_message(ends_.first.get(), message, {}, now, ec_), os::Outcome::timed_out);
  EXPECT_EQ(os::wait_for_message(ends_.first.get(), {}, now, ec_), os::Outcome::timed_out);
  const std::atomic<bool> raised{true};
  const os::Interrupt interrupt{&raised, nullptr};
  EXPECT_EQ(os::receive_message(ends_.first.get(), message, interrupt, Deadline{1ms}, ec_),
            os::Outcome::interrupted);
  EXPECT_FALSE(ec_);
  const std::vector<native_handle_type> many(os::most_handles + 1, ends_.first.get());
  static_cast<void>(os::send_message(ends_.first.get(), {1, {}, many}, {}, never, ec_));
  EXPECT_EQ(ec_, std::errc::argument_list_too_long);
  ends_.second.reset();
  EXPECT_EQ(os::wait_for_message(ends_.first.get(), {}, now, ec_), os::Outcome::done);
  EXPECT_EQ(os::receive_message(ends_.first.get(), message, {}, now, ec_), os::Outcome::ended);
  static_cast<void>(os::send_message(ends_.first.get(), {1, {}, {}}, {}, never, ec_));
  EXPECT_EQ(ec_, std::errc::broken_pipe);
}

TEST_F(Channel, SaysThatThereAreNoHandlesLeft) {
  const std::vector<std::byte> large(200'000, std::byte{3});
  const std::array<native_handle_type, 1> handle{0};
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(os::send_message(ends_.first.get(), {1, large, {}}, {}, never, ec_),
              os::Outcome::done);
  }
  ASSERT_EQ(os::send_message(ends_.first.get(), {1, {}, handle}, {}, never, ec_),
            os::Outcome::done);
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{3, before.rlim_max};
  std::array<std::error_code, 4> errors;
  const native_handle_type to = ends_.first.get();
  const native_handle_type end = ends_.second.get();
  ::setrlimit(RLIMIT_NOFILE, &none);
  errors[0] = receive_from(end);
  static_cast<void>(os::make_channel(errors[1]));
  static_cast<void>(os::send_message(to, {1, large, {}}, {}, never, errors[2]));
  static_cast<void>(os::make_event(errors[3]));
  ::setrlimit(RLIMIT_NOFILE, &before);
  for (std::size_t i = 0; i < errors.size(); ++i) {
    EXPECT_EQ(errors[i], std::errc::too_many_files_open) << i;
  }
  EXPECT_EQ(receive(), std::error_code{});
  EXPECT_EQ(receive(), std::error_code{});
  EXPECT_EQ(os::wait_for_message(ends_.second.get(), {}, now, ec_), os::Outcome::timed_out);
}

TEST_F(Channel, RefusesWhatItDidNotSend) {
  const int to = ends_.first.get();
  const std::vector<char> noise(100'000, '!');
  send_raw(to, "short", 5);
  EXPECT_EQ(receive(), std::errc::bad_message);
  send_raw(to, noise.data(), 90'000);  // longer than any packet
  EXPECT_EQ(receive(), std::errc::bad_message);
  Header header{};
  header.size = 1;  // and there is none
  send_raw(to, &header, sizeof header);
  EXPECT_EQ(receive(), std::errc::bad_message);
  header = {};
  header.handles = 1;
  send_raw(to, &header, sizeof header);
  EXPECT_EQ(receive(), std::errc::bad_message);
  header = {};
  send_raw(to, &header, sizeof header, 0);  // one that was not announced, and does not stay open
  EXPECT_EQ(receive(), std::errc::bad_message);
}

TEST_F(Channel, RefusesMemoryThatCanStillChange) {
  Header header{};
  header.in_memory = 1;
  header.size = 5000;
  const auto offer = [&](const os::UniqueHandle& memory) {
    send_raw(ends_.first.get(), &header, sizeof header, memory.get());
    return receive();
  };
  EXPECT_EQ(offer(memory(5000, 0)), std::errc::bad_message);
  EXPECT_EQ(offer(memory(5000, F_SEAL_SHRINK | F_SEAL_SEAL)), std::errc::bad_message);
  EXPECT_EQ(offer(memory(4999, all_seals)), std::errc::bad_message);
  EXPECT_EQ(offer(os::UniqueHandle{::dup(0)}), std::errc::bad_message);
  EXPECT_EQ(offer(memory(5000, all_seals)), std::error_code{});
  header.size = std::uint64_t{1} << 40U;  // said, and of that size, but nothing is there
  const os::UniqueHandle empty{::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  ASSERT_EQ(::ftruncate(empty.get(), static_cast<off_t>(header.size)), 0);
  ASSERT_EQ(::fcntl(empty.get(), F_ADD_SEALS, all_seals), 0);
  send_raw(ends_.first.get(), &header, sizeof header, empty.get());
  EXPECT_EQ(receive(), std::errc::bad_message);
}

// A passage, as a stranger could make one: see os/posix/passage.ipp.
TEST_F(Channel, RefusesPassagesThatCannotHoldTheMessage) {
  Header header{};
  header.in_memory = 2;
  header.size = 100'000;
  const auto offer = [&](const os::UniqueHandle& memory) {
    send_raw(ends_.first.get(), &header, sizeof header, memory.get());
    return receive();
  };
  constexpr std::size_t whole = os::posix::Passage::front + os::posix::Passage::ring;
  EXPECT_EQ(offer(memory(whole, 0)), std::errc::bad_message) << "it can shrink";
  EXPECT_EQ(offer(memory(100'000, F_SEAL_SHRINK)), std::errc::bad_message) << "it is too small";
  EXPECT_EQ(offer(os::UniqueHandle{::dup(0)}), std::errc::bad_message);
  const os::UniqueHandle hole{::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  ASSERT_EQ(::ftruncate(hole.get(), whole), 0);
  ASSERT_EQ(::fcntl(hole.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
  send_raw(ends_.first.get(), &header, sizeof header, hole.get());
  EXPECT_EQ(receive(), std::errc::bad_message);
  header.in_memory = 3;
  EXPECT_EQ(offer(memory(whole, F_SEAL_SHRINK)), std::errc::bad_message);
}

TEST_F(Channel, IsNotLedAstrayByWhatAPassageSays) {
  using os::posix::PassagePage;
  constexpr std::size_t whole = os::posix::Passage::front + os::posix::Passage::ring;
  constexpr auto nowhere = PassagePage::nowhere;
  struct Said {
    std::uint64_t size, written, spilled;
    std::error_code error;
    os::Outcome outcome;
  };
  const auto bad = std::make_error_code(std::errc::bad_message);
  const std::error_code fine;
  const std::vector<Said> all{
      {100'000, 0, nowhere, fine, os::Outcome::timed_out},  // its sender has gone, and gave up
      {100'000, 99'999, nowhere, fine, os::Outcome::timed_out},
      {100'000, nowhere, nowhere, fine, os::Outcome::done},
      {10'000'000, nowhere, nowhere, fine, os::Outcome::done},  // round the ring
      {100'000, 100'000, 0, bad, os::Outcome::timed_out},       // behind the ring is nothing
      {nowhere - 1, nowhere, 5, std::make_error_code(std::errc::not_enough_memory),
       os::Outcome::timed_out},
  };
  for (const Said& said : all) {
    SCOPED_TRACE(said.size);
    const os::UniqueHandle stranger = memory(whole, F_SEAL_SHRINK);
    void* const mapped =
        ::mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_SHARED, stranger.get(), 0);
    ASSERT_NE(mapped, MAP_FAILED);
    std::memset(mapped, 0, os::posix::Passage::front);
    auto& page = *static_cast<PassagePage*>(mapped);
    page.busy = 1;
    page.written = said.written;
    page.spilled = said.spilled;
    Header header{};
    header.in_memory = 2;
    header.size = said.size;
    send_raw(ends_.first.get(), &header, sizeof header, stranger.get());
    os::IncomingMessage message;
    const auto outcome = os::receive_message(ends_.second.get(), message, {}, now, ec_);
    EXPECT_EQ(ec_.default_error_condition(), said.error.default_error_condition());
    EXPECT_EQ(outcome, said.outcome);
    if (outcome == os::Outcome::done) {
      EXPECT_EQ(message.bytes().size(), said.size);
      EXPECT_TRUE(std::ranges::all_of(message.bytes(), [](auto b) { return b == std::byte{'x'}; }));
    }
    EXPECT_EQ(page.busy, 0U);
    ::munmap(mapped, whole);
  }
}

TEST_F(Channel, IsNotLedAstrayByAPassageThatChangesMeanwhile) {
  using os::posix::PassagePage;
  constexpr std::size_t whole = os::posix::Passage::front + os::posix::Passage::ring;
  constexpr std::size_t size = 200'000;
  const os::UniqueHandle stranger = memory(whole, F_SEAL_SHRINK);
  void* const mapped =
      ::mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_SHARED, stranger.get(), 0);
  ASSERT_NE(mapped, MAP_FAILED);
  std::memset(mapped, 0, os::posix::Passage::front);
  auto& page = *static_cast<PassagePage*>(mapped);
  page.spilled = PassagePage::nowhere;
  std::atomic<bool> ends{false};
  std::thread changing{[&] {
    while (!ends) {
      for (const std::uint64_t written : {PassagePage::nowhere, std::uint64_t{0}})
        page.written = written;
    }
  }};
  Header header{};
  header.in_memory = 2;
  header.size = size;
  std::vector<std::byte> room(size + os::posix::Passage::piece, std::byte{'.'});
  int received = 0;
  for (int i = 0; i < 300 || received == 0; ++i) {  // the other thread may come late
    send_raw(ends_.first.get(), &header, sizeof header, stranger.get());
    os::IncomingMessage message;
    message.offer(std::span{room}.first(size), 0);
    const auto outcome = os::receive_message(ends_.second.get(), message, {}, now, ec_);
    EXPECT_FALSE(ec_);
    if (outcome == os::Outcome::done) ++received;
    ASSERT_TRUE(std::all_of(room.begin() + size, room.end(),
                            [](auto one) { return one == std::byte{'.'}; }));
  }
  ends = true;
  changing.join();
  ::munmap(mapped, whole);
}

TEST(OneWayChannel, RefusesWhatItDidNotSend) {
  std::error_code ec;
  const auto [receiving, sending] = os::OneWayEnd::create(ec);
  ASSERT_FALSE(ec);
  RawRing ring{sending};
  const auto answer_to = [&end = receiving, &ring](os::posix::PartHeader header,
                                                   std::uint64_t size) {
    ring.write(header, size);
    std::error_code waiting;
    std::error_code error;
    os::IncomingMessage message;
    static_cast<void>(end.wait({}, now, waiting));
    static_cast<void>(end.receive(message, {}, now, error));
    EXPECT_EQ(waiting, error);
    ring.forget();
    return error;
  };
  constexpr auto first = os::posix::PartHeader::first;
  constexpr auto further = os::posix::PartHeader::further;
  constexpr std::uint64_t largest = os::posix::part_size;
  EXPECT_EQ(answer_to({0x2121, 1, 0, 0, 0}, 16), std::errc::bad_message) << "no header";
  EXPECT_EQ(answer_to({first, 1, 0, 16, 16}, 16), std::errc::bad_message) << "not all there";
  EXPECT_EQ(answer_to({first, 1, 0, ~0U, ~0U}, 16), std::errc::bad_message);
  EXPECT_EQ(answer_to({first, 1, 0, 17, 16}, 48), std::errc::bad_message) << "more than the whole";
  EXPECT_EQ(answer_to({first, 1, 0, largest + 16, 1U << 20U}, largest + 32),
            std::errc::bad_message);
  EXPECT_EQ(answer_to({further, 1, 0, 16, 16}, 16), std::errc::bad_message);
  EXPECT_EQ(answer_to({first, 1, 0, 0, 0}, os::posix::ring_size + 16), std::errc::bad_message);
  EXPECT_EQ(answer_to({first, 1, 0, 0, 0}, 8), std::errc::bad_message) << "no header long";
  EXPECT_EQ(answer_to({first, 1, 0, 0, 0}, 24), std::errc::bad_message) << "at no header's place";
  ring.shared().written = ring.shared().read = 1U << 20U;
  EXPECT_EQ(answer_to({first, 1, 0, 0, 0}, 16), std::error_code{});
}

TEST(OneWayChannel, RefusesMoreThanTheWholeInParts) {
  std::error_code ec;
  const auto [receiving, sending] = os::OneWayEnd::create(ec);
  ASSERT_FALSE(ec);
  RawRing ring{sending};
  ring.write({os::posix::PartHeader::first, 1, 0, 16, 24}, 32);
  ring.write({os::posix::PartHeader::further, 1, 0, 16, 16}, 32);
  os::IncomingMessage message;
  static_cast<void>(receiving.receive(message, {}, now, ec));
  EXPECT_EQ(ec, std::errc::bad_message);
}

TEST(OneWayChannel, IsNotImpressedByALengthThatDoesNotCome) {
  std::error_code ec;
  const auto [receiving, sending] = os::OneWayEnd::create(ec);
  ASSERT_FALSE(ec);
  RawRing{sending}.write({os::posix::PartHeader::first, 1, 0, 0, std::uint64_t{1} << 60U}, 16);
  os::IncomingMessage message;
  EXPECT_EQ(receiving.receive(message, {}, now, ec), os::Outcome::timed_out);
  EXPECT_FALSE(ec);
}

TEST(EveryChannel, StaysAwayFromTheStandardStreams) {
  // In a process that closed them, the next descriptors would be theirs.
  std::array<os::UniqueHandle, 3> kept;
  std::error_code ec;
  for (int stream = 0; stream < 3; ++stream) {
    kept[static_cast<std::size_t>(stream)] = os::UniqueHandle{os::duplicate_handle(stream, ec)};
    ::close(stream);
  }
  {
    const auto ends = os::make_channel(ec);
    const auto [receiving, sending] = os::OneWayEnd::create(ec);
    const auto event = os::make_event(ec);
    const std::array<native_handle_type, 1> handle{event.get()};
    static_cast<void>(os::send_message(ends.first.get(), {1, {}, handle}, {}, never, ec));
    os::IncomingMessage message;
    static_cast<void>(os::receive_message(ends.second.get(), message, {}, never, ec));
    for (int stream = 0; stream < 3; ++stream) {
      ::dup2(kept[static_cast<std::size_t>(stream)].get(), stream);
    }
    EXPECT_FALSE(ec) << ec.message();
    ASSERT_EQ(message.handles.size(), 1U);
    for (const native_handle_type made :
         {ends.first.get(), ends.second.get(), receiving.handles()[0], receiving.handles()[1],
          sending.handles()[0], event.get(), message.handles[0].get()}) {
      EXPECT_GT(made, 2);
    }
  }
}
