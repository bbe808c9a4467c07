// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file job.hpp
/// @brief What goes through a Gearman server: how its functions are called, and what its jobs hold.
///
/// A task is a job of the function that is called by the program's build, so an agent of another
/// build never gets it. Each agent has besides a function of its own, by which a master reaches it;
/// and from the names of some more, which nobody calls, the server's status tells how many workers
/// there are.
#include <multiprocessing/distributed/builds.hpp>
#include <multiprocessing/distributed/message.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/random.hpp>
#include <multiprocessing/workers/message.hpp>

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace multiprocessing::detail::gearman {

/// @brief A number that nobody else has.
[[nodiscard]] inline std::uint64_t random_number() {
  std::uint64_t number = 0;
  std::error_code ec;
  os::random_bytes(std::as_writable_bytes(std::span{&number, 1}), ec);
  if (ec) throw std::system_error{ec, "making a number for a Gearman server"};
  return number;
}

[[nodiscard]] inline std::string hexadecimal(std::span<const std::byte> bytes) {
  static constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const std::byte one : bytes) {
    text += digits[std::to_integer<unsigned>(one) / 16];
    text += digits[std::to_integer<unsigned>(one) % 16];
  }
  return text;
}
[[nodiscard]] inline std::string hexadecimal(std::uint64_t number) {
  return hexadecimal(std::as_bytes(std::span{&number, 1}));
}

/// @brief What tasks of this program's build are called.
[[nodiscard]] inline std::string task_function() {
  const auto builds = own_builds();
  if (builds.empty()) throw ProcessError{"this program has no build id that could be sent"};
  return "mp-" + hexadecimal(builds.front().id);
}
/// @brief What reaches one agent.
[[nodiscard]] inline std::string agent_function(std::string_view tasks, std::uint64_t agent) {
  return std::string{tasks} + "-" + hexadecimal(agent);
}
/// @brief An agent with n workers has those of these functions whose bits are set in n.
inline constexpr unsigned count_bits = 16;
[[nodiscard]] inline std::string count_function(std::string_view tasks, unsigned bit) {
  return std::string{tasks} + "." + std::to_string(1U << bit);
}

/// @brief In front of what a job holds, and of what is said about one.
struct JobHeader {
  static constexpr std::uint32_t expected_magic = 0x314a706d;  // "mpJ1"
  enum What : std::uint32_t {
    task,     ///< master: a MessageTo::task follows.
    control,  ///< master, to one agent: a MessageTo::open, request or leave follows.
    result,   ///< agent: a MessageTo::result, or reply, or nothing follows; the job's end.
    begun,    ///< agent: it has it. The host's name follows. Again and again, for a sign of life.
    asks,     ///< agent: it does not know the session: what does it open with? As the job's end: it
              ///< was not told in time; the task follows, to be submitted again.
  };
  std::uint32_t magic = expected_magic;
  std::uint32_t what = task;
  std::uint64_t session = 0;  ///< A master's pool.
  std::uint64_t agent = 0;    ///< Who says it; 0: a master.
};

/// @throws SerializationError it is none.
[[nodiscard]] inline JobHeader take_job_header(std::span<const std::byte>& bytes) {
  const auto header = take_header<JobHeader>(bytes);
  if (header.magic != JobHeader::expected_magic) {
    throw SerializationError{"what a Gearman server brought comes from no program of this library"};
  }
  return header;
}
[[nodiscard]] inline std::array<std::byte, sizeof(JobHeader)> bytes_of(const JobHeader& header) {
  return std::bit_cast<std::array<std::byte, sizeof(JobHeader)>>(header);
}

/// @brief An agent sends a word about a job that it has for longer than `unsaid`, and then every
/// `beat`.
inline constexpr std::chrono::milliseconds unsaid{2};
inline constexpr std::chrono::milliseconds beat{1000};

}  // namespace multiprocessing::detail::gearman
