// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file negotiation.hpp
/// @brief A handshake that goes on over a socket, without ever waiting.
#include <multiprocessing/network/handshake.hpp>
#include <multiprocessing/network/stream_core.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/random.hpp>
#include <multiprocessing/os/socket.hpp>

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace multiprocessing::detail {

/// @brief A socket whose other end is still a stranger. Children that are forked meanwhile have
/// none of it: who waits here hears at once when this process has died.
/// @threads one at a time.
class Negotiation {
 public:
  enum class Progress {
    waiting,  ///< For bytes.
    done,     ///< The other has the key.
    left,     ///< It closed, or does not read.
  };

  /// @throws std::system_error there are no random bytes.
  Negotiation(OwnSocket own, Handshake::Side side, std::string key, bool allows_md5)
      : own_{std::move(own)},
        handshake_{side, std::move(key), allows_md5, random()},
        keeps_messages_{os::keeps_messages(handle())} {}

  /// @throws AuthenticationError it has not; it was told so.
  Progress go_on() {
    try {
      if (!begun_) {
        begun_ = true;
        const std::string first = handshake_.first();
        if (!first.empty() && !say(first)) return Progress::left;
      }
      while (!handshake_.done()) {
        const auto progress = hear();
        if (progress != Progress::done) return progress;
        if (!frame_.complete()) continue;
        const std::string reply = handshake_.take(frame_.take());
        if (!reply.empty() && !say(reply)) return Progress::left;
      }
      return Progress::done;
    } catch (const AuthenticationError&) {
      if (!handshake_.last_words().empty()) say(handshake_.last_words());
      throw;
    }
  }
  [[nodiscard]] native_handle_type handle() const noexcept { return own_.socket.get(); }
  [[nodiscard]] OwnSocket take_socket() noexcept { return std::move(own_); }

 private:
  static std::string random() {
    std::array<std::byte, Handshake::challenge_size> bytes{};
    std::error_code ec;
    os::random_bytes(bytes, ec);
    if (ec) throw std::system_error{ec, "cannot make a challenge"};
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // done: something came.
  Progress hear() {
    bool ended = false;
    std::error_code ec;
    if (keeps_messages_) {
      const auto size = os::receive_message_now(handle(), frame_.room(), ended, ec);
      if (ec == std::errc::message_size)
        BoundedFrame::refuse("a message of the handshake has more bytes");
      if (ended || ec) return Progress::left;
      if (!size) return Progress::waiting;
      frame_.took_whole(*size);
      return Progress::done;
    }
    const std::size_t got = os::receive_now(handle(), frame_.wanted(), ended, ec);
    if (ended || ec) return Progress::left;
    if (got == 0 && !frame_.complete()) return Progress::waiting;
    frame_.took(got);
    return Progress::done;
  }
  // There is room for what little is said, unless the other means harm.
  bool say(std::string_view message) const {
    const std::string frame =
        keeps_messages_ ? std::string{message} : BoundedFrame::framed(message);
    std::error_code ec;
    return os::send_now(handle(), std::as_bytes(std::span{frame}), ec) == frame.size();
  }

  OwnSocket own_;
  Handshake handshake_;
  BoundedFrame frame_;
  bool keeps_messages_;
  bool begun_ = false;
};

}  // namespace multiprocessing::detail
