// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file message.hpp
/// @brief What a master and its agents say to each other.
#include <multiprocessing/detail/memory_hint.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/workers/message.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief What a message begins with.
enum class MessageTo : std::uint32_t {
  // ---- to an agent ----
  open = 1,  ///< The first: OpenMessage.
  task,      ///< TaskFrame, then code, name, arguments.
  request,   ///< RequestFrame.
  leave,     ///< LeaveFrame: the last.
  // ---- to the master ----
  ready = 101,  ///< The answer to `open`: ReadyMessage;
  refused,      ///< or this: TextMessage.
  result,       ///< ResultFrame, then value, exception or text.
  reply,        ///< RequestFrame again, answered.
  broken,       ///< The agent's pool does no more work: TextMessage.
  left,         ///< The answer to `leave`.
};

/// @brief A module of a program: which file, which build.
struct Build {
  std::string path;
  std::vector<std::byte> id;
};

/// @brief What the workers of an agent are to be.
struct SessionOptions {
  std::uint32_t workers = 0;           ///< 0: process_cpu_count() there.
  std::uint32_t tasks_per_worker = 0;  ///< 0: no limit.
  bool on_demand = false;
  std::string directory;  ///< Empty: where the agent is.
  std::vector<std::pair<std::string, std::string>> environment;
  std::vector<std::byte> initializer;  ///< An encoded Task.
};

struct OpenMessage {
  static constexpr std::uint32_t expected_version = 1;
  std::uint32_t version = expected_version;
  std::vector<Build> builds;  ///< The program first.
  SessionOptions options;
};

struct ReadyMessage {
  std::string host;
  std::int32_t pid = 0;
  std::uint32_t workers = 0;
  /// No agent, but a server that has some: `host` is the server's, and what comes of it in words
  /// names the agent's host itself.
  bool is_server = false;
};

struct TextMessage {
  std::string text;
};

/// @brief In front of a task.
struct TaskFrame {
  std::uint64_t id = 0;
  std::int64_t timeout = -1;  ///< Nanoseconds; negative: none.
  std::uint64_t max_memory = 0;
  std::uint32_t code_size = 0;  ///< What a worker needs to know of the code: define_code().
  std::uint32_t name_size = 0;  ///< What errors call it.
};

/// @brief In front of a result.
struct ResultFrame {
  enum Outcome : std::uint32_t {
    value,
    error,      ///< encode_exception()'s bytes.
    died,       ///< Its worker, and with it the task; what follows are words, here and below.
    timed_out,  ///< It ran longer than it may.
    cancelled,  ///< Before it was begun, or killed.
    refused,    ///< What it takes or gives cannot travel.
  };
  std::uint64_t id = 0;
  std::uint32_t outcome = value;
  std::uint32_t pace = 0;  ///< Microseconds that this agent's tasks take; 0: not known yet.
};

struct RequestFrame {
  enum What : std::uint32_t { cancel, kill, is_running };
  std::uint64_t number = 0;
  std::uint64_t task = 0;
  std::uint32_t what = cancel;
  std::uint32_t answer = 0;  ///< 1: yes.
};

struct LeaveFrame {
  enum How : std::uint64_t { finish, terminate, kill };
  std::uint64_t how = finish;
};

/// @brief Room for so many bytes, all of which will be written soon.
inline void reserve_for_all(std::vector<std::byte>& bytes, std::size_t size) {
  bytes.reserve(size);
  will_be_filled(bytes.data(), size);
}

/// @brief A message of one struct that travels as a value.
template <class Body>
[[nodiscard]] std::vector<std::byte> make_message(MessageTo what, const Body& body) {
  std::vector<std::byte> bytes;
  put_header(bytes, what);
  Encoder encoder{bytes};
  encode<Body>(encoder, body);
  return bytes;
}
/// @brief A message of a frame, and bytes behind it.
template <class Frame>
[[nodiscard]] std::vector<std::byte> make_frame(MessageTo what,
                                                const Frame& frame,
                                                std::span<const std::byte> rest = {}) {
  std::vector<std::byte> bytes;
  reserve_for_all(bytes, sizeof what + sizeof frame + rest.size());
  put_header(bytes, what);
  put_header(bytes, frame);
  bytes.insert(bytes.end(), rest.begin(), rest.end());
  return bytes;
}
/// @brief The body that make_message() encoded. @throws SerializationError
template <class Body>
[[nodiscard]] Body read_message(std::span<const std::byte> rest) {
  Decoder decoder{rest};
  return decode<Body>(decoder);
}
[[nodiscard]] inline std::span<const std::byte> as_bytes(const std::string& text) noexcept {
  return std::as_bytes(std::span{text});
}
[[nodiscard]] inline std::string as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace multiprocessing::detail
