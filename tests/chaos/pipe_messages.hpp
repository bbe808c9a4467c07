// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file pipe_messages.hpp
/// @brief What the pipes' chaos tests send, and by which steps.
#include <support/chaos.hpp>
#include <support/eventually.hpp>
#include <support/forked.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <sys/wait.h>

namespace pipe_messages {

using Bytes = std::vector<std::byte>;

constexpr std::size_t small_size = 100;
constexpr std::size_t large_size = 600'000;  // more than a pipe holds

// The bytes behind the number repeat every 256.
using Pattern = std::array<std::byte, 256>;
inline Pattern pattern_of(std::uint32_t number) {
  Pattern pattern{};
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    pattern[i] = static_cast<std::byte>(number * 31 + i * 7);
  }
  return pattern;
}

inline Bytes numbered(std::uint32_t number, std::size_t size) {
  Bytes message(sizeof number + size);
  std::memcpy(message.data(), &number, sizeof number);
  const Pattern pattern = pattern_of(number);
  for (std::size_t done = 0; done < size; done += pattern.size()) {
    std::memcpy(message.data() + sizeof number + done, pattern.data(),
                std::min(pattern.size(), size - done));
  }
  return message;
}

inline bool is_numbered(std::span<const std::byte> bytes, std::uint32_t number) {
  const Pattern pattern = pattern_of(number);
  for (; !bytes.empty(); bytes = bytes.subspan(std::min(pattern.size(), bytes.size()))) {
    const std::size_t now = std::min(pattern.size(), bytes.size());
    if (std::memcmp(bytes.data(), pattern.data(), now) != 0) return false;
  }
  return true;
}

// The number of a whole message; a torn one fails the test.
inline std::uint32_t number_of(const Bytes& message) {
  std::uint32_t number = 0;
  if (message.size() >= sizeof number) std::memcpy(&number, message.data(), sizeof number);
  EXPECT_TRUE(message.size() >= sizeof number &&
              is_numbered(std::span{message}.subspan(sizeof number), number))
      << "a torn message of " << message.size() << " bytes";
  return number;
}

// Waits until the process has come to its stop, or has ended without coming by.
inline void wait_for_stop(const test::Forked& victim) {
  test::eventually([&] {
    if (test::stops_reached() != 0) return true;
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(victim.pid()), &info, WEXITED | WNOHANG | WNOWAIT);
    return info.si_pid != 0;
  });
}

// Kills it at its stop, to which it must come.
inline void kill_at_its_stop(test::Forked& victim) {
  wait_for_stop(victim);
  EXPECT_EQ(test::stops_reached(), 1U) << "it has not come by";
  victim.kill();
}

// What a process comes by.
using Steps = std::vector<std::string>;

inline Steps steps_of_sending(bool duplex, std::size_t size) {
  if (!duplex) {
    return {"pipe.send.locked", "pipe.send.announced", "pipe.send.copied", "pipe.send.committed",
            "pipe.send.part"};
  }
  if (size == small_size) return {"channel.send.prepared", "channel.send.tried"};
  return {"passage.send.busy", "channel.send.prepared", "channel.send.tried", "passage.send.end"};
}
inline Steps steps_of_receiving(bool duplex) {
  if (!duplex) {
    return {"pipe.poll.locked", "pipe.recv.locked", "pipe.recv.copied", "pipe.recv.part",
            "bell.ring.counted"};
  }
  return {"channel.recv.taken", "passage.recv.piece", "passage.recv.taken", "passage.recv.left"};
}
// Of a message of several parts or pieces.
inline bool comes_often(const std::string& step) {
  return step == "pipe.recv.copied" || step == "pipe.recv.part" || step == "passage.recv.piece";
}
inline const std::array<std::string, 2> steps_of_inheriting{"robust_lock.lock.inherited",
                                                            "robust_lock.lock.made_consistent"};

constexpr std::size_t very_large_size = 3'000'000;  // more than a duplex pipe's memory holds

inline const Steps steps_of_sending_very_large{"passage.send.busy",    "channel.send.prepared",
                                               "channel.send.tried",   "passage.send.piece",
                                               "passage.send.spilled", "passage.send.end"};

// What came out, and how often.
struct Received {
  static constexpr std::uint32_t most = 2000;
  std::atomic<bool> enough{false};
  std::atomic<std::uint32_t> sent{0};
  std::atomic<std::uint32_t> count{0};
  std::array<std::atomic<int>, most + 1> times{};
  void note(std::uint32_t number) {
    ++times.at(number);
    ++count;
  }
};

}  // namespace pipe_messages
