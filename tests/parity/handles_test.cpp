// SPDX-License-Identifier: BSL-1.0
// What CPython's tests pin of files and sockets that are sent, under every start method:
// _TestConnection.test_fd_transfer and its like, _TestPicklingConnections.test_pickling.
// Not on Windows: descriptors
#include <multiprocessing/connection.hpp>
#include <multiprocessing/process.hpp>
#include <multiprocessing/reduction/dup_fd.hpp>

#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace mp = multiprocessing;
using mp::reduction::DupFd;

namespace {

class HandleParity : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(HandleParity);

void write_and_close(int file, const std::string& text) {
  if (::write(file, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    throw std::runtime_error{"write"};
  }
  ::close(file);
}
std::string content(const std::string& file) {
  std::ifstream stream{file};
  return {std::istreambuf_iterator<char>{stream}, {}};
}

// test_fd_transfer, test_large_fd_transfer
void write_to_what_arrives(mp::Connection connection) {
  write_and_close(connection.recv<DupFd>().detach(), "written by a child");
  connection.send(1);
}

TEST_P(HandleParity, AFileIsSentWhateverItsNumber) {
  for (const int least : {3, 300}) {
    auto [ours, theirs] = mp::Pipe();
    mp::Process process{write_to_what_arrives, theirs};
    process.start();
    const int small = ::open("file", O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    const int file = ::fcntl(small, F_DUPFD_CLOEXEC, least);
    ASSERT_GE(file, least);
    ours.send(DupFd{file});
    ::close(small);
    ::close(file);
    EXPECT_EQ(ours.recv<int>(), 1);
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
    EXPECT_EQ(content("file"), "written by a child");
    std::filesystem::remove("file");
  }
}

// test_missing_fd_transfer
void receive_a_handle(mp::Connection connection) {
  try {
    static_cast<void>(connection.recv<DupFd>());
  } catch (const mp::SerializationError&) {
    throw mp::SystemExit(40);
  } catch (const mp::ConnectionError&) {
    throw mp::SystemExit(50);
  }
}

TEST_P(HandleParity, AMessageWithoutItsHandleIsRefused) {
  // What a DupFd looks like on its way, without what comes beside the bytes.
  auto [from, to] = mp::Pipe();
  std::array<char, 256> bytes{};
  from.send(DupFd{STDERR_FILENO});
  const auto size = ::recv(to.fileno(), bytes.data(), bytes.size(), 0);
  ASSERT_GT(size, 0);
  auto [ours, theirs] = mp::Pipe();
  mp::Process process{receive_a_handle, theirs};
  process.start();
  EXPECT_EQ(::send(ours.fileno(), bytes.data(), static_cast<std::size_t>(size), MSG_NOSIGNAL),
            size);
  process.join();
  EXPECT_EQ(process.exitcode(), 50);  // not what any Connection sends
}

TEST_P(HandleParity, AMessageThatIsNoHandleIsRefused) {
  auto [ours, theirs] = mp::Pipe();
  mp::Process process{receive_a_handle, theirs};
  process.start();
  ours.send(7);
  process.join();
  EXPECT_EQ(process.exitcode(), 40);
}

// test_pickling
void answer(const DupFd& socket, DupFd same) {
  std::array<char, 16> text{};
  const auto got = ::recv(socket.get(), text.data(), text.size(), 0);
  if (socket.get() != same.get() || got != 4) throw std::runtime_error{"another handle"};
  write_and_close(same.detach(), std::string{text.data(), 4} + "!");
}

TEST_P(HandleParity, ASocketIsAnArgument) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  {
    const DupFd socket{ends[1]};
    mp::Process process{answer, socket, socket};
    process.start();
    EXPECT_EQ(::send(ends[0], "ping", 4, MSG_NOSIGNAL), 4);
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
  }
  std::array<char, 16> text{};
  EXPECT_EQ(::recv(ends[0], text.data(), text.size(), 0), 5);
  EXPECT_STREQ(text.data(), "ping!");
  for (const int end : ends) ::close(end);
}

}  // namespace
