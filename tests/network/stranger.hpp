// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file stranger.hpp
/// @brief What a stranger does to a Listener: a connected socket, and bytes that nobody has framed.
#include <multiprocessing/network.hpp>
#include <multiprocessing/os/socket.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace test {

/// A family whose connections are streams of bytes: the first one that this system has.
inline constexpr auto stream_family =
    MULTIPROCESSING_WINDOWS ? multiprocessing::Family::af_inet : multiprocessing::Family::af_unix;

/// Sends bytes through a stream's own handle.
inline void say(multiprocessing::native_handle_type socket, std::string_view bytes) {
  std::error_code ec;
  const auto sent = multiprocessing::os::send_now(
      socket, std::as_bytes(std::span{bytes.data(), bytes.size()}), ec);
  EXPECT_EQ(sent, bytes.size()) << ec.message();
}

/// Waits for so many bytes, or for the end.
inline std::string hear(multiprocessing::native_handle_type socket, std::size_t size) {
  namespace os = multiprocessing::os;
  std::string text;
  while (text.size() < size) {
    std::array<std::byte, 512> bytes{};
    std::error_code ec;
    bool ended = false;
    const std::size_t wanted = std::min(size - text.size(), bytes.size());
    const std::size_t got = os::receive_now(socket, std::span{bytes}.first(wanted), ended, ec);
    if (ended || ec) break;
    text.append(reinterpret_cast<const char*>(bytes.data()), got);
    if (got != 0) continue;
    const auto waited =
        os::wait_ready(socket, os::Readiness::readable, {},
                       multiprocessing::detail::Deadline{multiprocessing::forever}, ec);
    EXPECT_TRUE(waited == os::Waited::ready && !ec);
  }
  return text;
}

/// Connects to a listener of `stream_family`, and is no Client.
class Stranger {
 public:
  explicit Stranger(const multiprocessing::Address& address) {
    namespace os = multiprocessing::os;
    std::error_code ec;
    os::Outcome outcome{};
    socket_ =
        os::connect_to(address.endpoint(), {},
                       multiprocessing::detail::Deadline{multiprocessing::forever}, outcome, ec);
    EXPECT_FALSE(ec) << ec.message();
  }
  void say(std::string_view bytes) const { test::say(socket_.get(), bytes); }
  [[nodiscard]] std::string hear(std::size_t size) const { return test::hear(socket_.get(), size); }

 private:
  multiprocessing::os::UniqueHandle socket_;
};

}  // namespace test
