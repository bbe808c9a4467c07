// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file network.hpp
/// @brief What strangers' bytes go through, for the fuzzers and for the tests that replay their
/// corpus: nothing may come of any bytes but a value or an error of ours.
#include <multiprocessing/network.hpp>
#include <multiprocessing/network/handshake.hpp>
#include <multiprocessing/network/pickle.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#if MULTIPROCESSING_POSIX
#  include <sys/socket.h>
#endif

namespace fuzz {

/// @brief Reads a pickle; what comes of it is written and read again, and must be the same. Not a
/// number is not the same as itself, so bytes are compared.
inline void pickle(std::span<const std::byte> bytes) {
  namespace pickle = multiprocessing::pickle;
  try {
    const pickle::Object object = pickle::loads(bytes);
    for (int protocol = 2; protocol <= 5; ++protocol) {
      const auto written = pickle::dumps(object, protocol);
      if (pickle::dumps(pickle::loads(written), protocol) != written) std::abort();
    }
  } catch (const multiprocessing::SerializationError&) {
  }
}

/// @brief A stranger's side of a handshake: the first byte says which side is ours.
inline void handshake(std::span<const std::byte> bytes) {
  using multiprocessing::detail::BoundedFrame;
  using multiprocessing::detail::Handshake;
  if (bytes.empty()) return;
  const auto flags = std::to_integer<unsigned>(bytes.front());
  const auto side = (flags & 1U) == 0 ? Handshake::Side::listener : Handshake::Side::client;
  Handshake ours{side, "key", (flags & 2U) != 0, std::string(Handshake::challenge_size, 'c')};
  BoundedFrame frame;
  bytes = bytes.subspan(1);
  try {
    while (!bytes.empty() && !ours.done()) {
      const auto wanted = frame.wanted();
      const std::size_t size = std::min(wanted.size(), bytes.size());
      if (size == 0) std::abort();
      std::copy_n(bytes.begin(), size, wanted.begin());
      bytes = bytes.subspan(size);
      frame.took(size);
      if (frame.complete()) static_cast<void>(ours.take(frame.take()));
    }
    // Without the key nobody gets that far; the client's first half needs none.
    if (ours.done()) std::abort();
  } catch (const multiprocessing::AuthenticationError&) {
  }
}

#if MULTIPROCESSING_POSIX
/// @brief Bytes from a stranger's end of a stream, and its close; the first byte is how long a
/// message may be.
inline void stream(std::span<const std::byte> bytes) {
  namespace mp = multiprocessing;
  if (bytes.empty()) return;
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return;
  mp::os::UniqueHandle ours{ends[0]};
  {
    const mp::os::UniqueHandle theirs{ends[1]};
    ::send(theirs.get(), bytes.data() + 1, bytes.size() - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  const std::size_t most = std::size_t{1} << (std::to_integer<unsigned>(bytes.front()) % 64);
  try {
    auto connection =
        mp::detail::connection_of(mp::detail::StreamCore::create({std::move(ours), {}}));
    for (bool as_object = false;; as_object = !as_object) {
      if (as_object) {
        try {
          static_cast<void>(connection.recv<std::string>());
        } catch (const mp::SerializationError&) {
        }
      } else {
        static_cast<void>(connection.recv_bytes(most));
      }
    }
  } catch (const mp::EOFError&) {
  } catch (const mp::ConnectionError&) {
  } catch (const std::system_error&) {
  } catch (const std::bad_alloc&) {
  }
}
#endif

}  // namespace fuzz
