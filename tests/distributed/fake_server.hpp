// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file fake_server.hpp
/// @brief A Gearman server that says what a test tells it.
#include <multiprocessing/network/address.hpp>
#include <multiprocessing/os/socket.hpp>
#include <multiprocessing/os/wait.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

namespace test {

namespace os = multiprocessing::os;

/// @brief Listens on the loopback; accept(), and then say() and hear() as its clients need.
class FakeServer {
 public:
  FakeServer() {
    std::error_code ec;
    listener_ = os::listen_at({multiprocessing::Family::af_inet, "127.0.0.1", 0}, 4, bound_, ec);
    EXPECT_FALSE(ec) << ec.message();
  }
  [[nodiscard]] multiprocessing::Address address() const {
    return multiprocessing::Address{bound_};
  }
  /// @brief Waits for a client.
  void accept() {
    std::error_code ec;
    os::Endpoint peer;
    do {
      wait(listener_.handle.get());  // Windows: it may be ready although nobody is there
      client_ = os::accept_from(listener_, peer, ec);
    } while (!client_ && !ec);
    ASSERT_TRUE(client_) << ec.message();
  }
  /// @brief accept(), and the first words.
  void welcome() {
    accept();
    EXPECT_EQ(hear(8), "version\n");
    say("OK 1.1.20\r\n");
  }
  void say(std::string_view text) {
    std::error_code ec;
    while (!text.empty() && !ec) {
      text.remove_prefix(
          os::send_now(client_.get(), std::as_bytes(std::span{text.data(), text.size()}), ec));
      if (!text.empty()) wait(client_.get(), os::Readiness::writable);
    }
  }
  /// @brief Waits for so many bytes, or the end.
  [[nodiscard]] std::string hear(std::size_t size) {
    std::string text;
    while (text.size() < size) {
      std::array<std::byte, 65536> bytes{};
      const std::size_t wanted = std::min(size - text.size(), bytes.size());
      std::error_code ec;
      bool ended = false;
      const auto got = os::receive_now(client_.get(), std::span{bytes}.first(wanted), ended, ec);
      if (ended || ec) break;
      text.append(reinterpret_cast<const char*>(bytes.data()), got);
      if (got == 0) wait(client_.get());
    }
    return text;
  }
  void hang_up() { client_.reset(); }

 private:
  static void wait(multiprocessing::native_handle_type handle,
                   os::Readiness what = os::Readiness::readable) {
    std::error_code ec;
    const multiprocessing::detail::Deadline deadline{multiprocessing::forever};
    EXPECT_EQ(os::wait_ready(handle, what, {}, deadline, ec), os::Waited::ready) << ec.message();
  }

  os::ListeningSocket listener_;
  os::Endpoint bound_;
  os::UniqueHandle client_;
};

}  // namespace test
