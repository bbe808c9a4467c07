// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file handshake.hpp
/// @brief How two programs show each other that they have the same key.
///
/// Byte for byte that of CPython 3.12 and later; HMAC-MD5, all that older ones know, on request.
/// @source Lib/multiprocessing/connection.py, deliver_challenge, answer_challenge.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/hmac.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace multiprocessing::detail {

/// @brief Puts the bytes of a stranger's message together, which may have 256.
class BoundedFrame {
 public:
  static constexpr std::size_t longest = 256;

  /// @brief Where the next bytes go; empty when the message is complete.
  [[nodiscard]] std::span<std::byte> wanted() noexcept {
    return std::span{bytes_}.subspan(filled_, end() - filled_);
  }
  /// @brief So many came. @throws AuthenticationError the message is too long.
  void took(std::size_t count) {
    filled_ += count;
    if (filled_ != header || size_ != 0) return;
    std::uint32_t size = 0;
    for (const std::byte one : std::span{bytes_}.first(header)) {
      size = size << 8U | std::to_integer<std::uint32_t>(one);
    }
    if (size > longest) refuse("a message of the handshake has " + std::to_string(size) + " bytes");
    size_ = size;
    is_sized_ = true;
  }
  /// @brief Where a message goes that comes whole, without its size before it.
  [[nodiscard]] std::span<std::byte> room() noexcept { return std::span{bytes_}.subspan(header); }
  /// @brief It came whole.
  void took_whole(std::size_t size) noexcept {
    size_ = size;
    filled_ = header + size;
    is_sized_ = true;
  }
  /// @throws AuthenticationError a message is too long.
  [[noreturn]] static void refuse(const std::string& what) {
    throw AuthenticationError{what +
                              ", the longest has 256: the other end is no Listener or Client, or "
                              "expects no key"};
  }
  [[nodiscard]] bool complete() const noexcept { return is_sized_ && filled_ == end(); }
  /// @brief The complete message; the next one begins.
  [[nodiscard]] std::string take() {
    const auto* const first = reinterpret_cast<const char*>(bytes_.data()) + header;
    std::string message(first, size_);
    *this = BoundedFrame{};
    return message;
  }
  /// @brief A message with its size before it.
  [[nodiscard]] static std::string framed(std::string_view message) {
    const auto size = static_cast<std::uint32_t>(message.size());
    std::string frame;
    for (const unsigned shift : {24U, 16U, 8U, 0U}) frame += static_cast<char>(size >> shift);
    return frame.append(message);
  }

 private:
  static constexpr std::size_t header = 4;
  [[nodiscard]] std::size_t end() const noexcept { return header + size_; }

  std::array<std::byte, header + longest> bytes_{};
  std::size_t filled_ = 0;
  std::size_t size_ = 0;  // known with the header
  bool is_sized_ = false;
};

/// @brief One side's part in the handshake: messages in, messages out, nothing else.
class Handshake {
 public:
  enum class Side { listener, client };
  static constexpr std::size_t challenge_size = 40;

  /// @param random `challenge_size` bytes that nobody can guess.
  Handshake(Side side, std::string key, bool allows_md5, std::string_view random)
      : side_{side},
        expected_{side == Side::listener ? Expected::response : Expected::challenge},
        allows_md5_{allows_md5},
        key_{std::move(key)},
        challenge_{"{sha256}" + std::string{random}} {}

  /// @brief What to send before anything comes; empty: nothing.
  [[nodiscard]] std::string first() const {
    return side_ == Side::listener ? std::string{challenge_word} + challenge_ : std::string{};
  }
  /// @brief Takes a message. @returns what to send; empty: nothing.
  /// @throws AuthenticationError the other has another key, or speaks otherwise. Send last_words().
  [[nodiscard]] std::string take(std::string_view message) {
    switch (expected_) {
      case Expected::response:
        return verify(message);
      case Expected::challenge:
        return answer(message);
      case Expected::welcome:
        return be_welcomed(message);
      case Expected::nothing:
        break;
    }
    throw AuthenticationError{"the handshake is over"};
  }
  [[nodiscard]] bool done() const noexcept { return expected_ == Expected::nothing; }
  /// @brief What the other is to hear before the connection closes; empty: nothing.
  [[nodiscard]] std::string_view last_words() const noexcept { return last_words_; }

 private:
  enum class Expected { response, challenge, welcome, nothing };
  static constexpr std::string_view challenge_word = "#CHALLENGE#";
  static constexpr std::string_view welcome_word = "#WELCOME#";
  static constexpr std::string_view failure_word = "#FAILURE#";
  static constexpr std::size_t md5_challenge_size = 20;
  static constexpr std::size_t md5_size = 16;

  struct Parts {
    std::string_view digest;  // empty: the old form, MD5
    std::string_view payload;
  };
  static Parts split(std::string_view message) {
    if (message.size() == md5_challenge_size || message.size() == md5_size) return {{}, message};
    for (const std::string_view digest : {"md5", "sha256", "sha384", "sha3_256", "sha3_384"}) {
      const std::string prefix = "{" + std::string{digest} + "}";
      if (message.starts_with(prefix)) return {digest, message.substr(prefix.size())};
    }
    throw AuthenticationError{"the other end does not speak the protocol, or another digest"};
  }
  [[nodiscard]] std::string mac(std::string_view digest, std::string_view message) const {
    if (digest.empty()) digest = "md5";
    if (digest == "md5" && !allows_md5_) {
      throw AuthenticationError{
          "the other end knows HMAC-MD5 only, as CPython 3.11 and older do: allow it by "
          ".legacy_md5 = true"};
    }
    std::error_code ec;
    std::string made = os::hmac(digest, key_, message, ec);
    if (ec) throw AuthenticationError{"there is no HMAC-" + std::string{digest} + " here"};
    return made;
  }
  std::string verify(std::string_view message) {
    last_words_ = failure_word;
    const Parts parts = split(message);
    if (!os::equal_in_constant_time(mac(parts.digest, challenge_), parts.payload)) {
      throw AuthenticationError{"the other end has another key"};
    }
    last_words_ = {};
    expected_ = side_ == Side::listener ? Expected::challenge : Expected::nothing;
    return std::string{welcome_word};
  }
  std::string answer(std::string_view message) {
    if (!message.starts_with(challenge_word)) {
      throw AuthenticationError{"the other end does not speak the protocol, or expects no key"};
    }
    message.remove_prefix(challenge_word.size());
    if (message.size() < md5_challenge_size) {
      throw AuthenticationError{"the other end's challenge is too short"};
    }
    const Parts parts = split(message);
    expected_ = Expected::welcome;
    const std::string name =
        parts.digest.empty() ? std::string{} : "{" + std::string{parts.digest} + "}";
    return name + mac(parts.digest, message);
  }
  std::string be_welcomed(std::string_view message) {
    if (message != welcome_word) {
      throw AuthenticationError{"the other end refused this one: it has another key"};
    }
    expected_ = side_ == Side::listener ? Expected::nothing : Expected::response;
    return side_ == Side::listener ? std::string{} : std::string{challenge_word} + challenge_;
  }

  Side side_;
  Expected expected_;
  bool allows_md5_;
  std::string key_;
  std::string challenge_;
  std::string_view last_words_;
};

}  // namespace multiprocessing::detail
