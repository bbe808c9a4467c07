// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file server.hpp
/// @brief The fork server as a process that this one has: where requests go, its start, its end.
///
/// One serves the process that started it and all that descend from that: every child gets the
/// handle that requests go through. It ends with that process; whoever finds it gone, or was never
/// given one, starts another.
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/os/channel.hpp>
#include <multiprocessing/os/environment.hpp>
#include <multiprocessing/os/lifeline.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/spawn.hpp>
#include <multiprocessing/os/surroundings.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/version.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief What bytes for a fresh run of this program begin with. Another version of the library
/// would have written them otherwise.
[[nodiscard]] constexpr std::uint64_t magic_of(std::string_view kind) {
  return fnv1a(kind) ^ (std::uint64_t{MULTIPROCESSING_VERSION_MAJOR} << 32U) ^
         (std::uint64_t{MULTIPROCESSING_VERSION_MINOR} << 16U) ^ MULTIPROCESSING_VERSION_PATCH;
}

/// @throws std::logic_error this program cannot be run again as another process.
/// std::system_error EPERM: it may not be.
inline void check_freeze_support() {
  if (os::has_foreign_rights()) {
    throw std::system_error{
        std::make_error_code(std::errc::operation_not_permitted),
        "a process cannot be started by spawn or forkserver: this program was given rights that "
        "who ran it has not (set-user-ID, set-group-ID, file capabilities, a security module), and "
        "a fresh run of it could not trust what it is told. Start processes by fork"};
  }
  const std::lock_guard lock{process_state().mutex};
  if (process_state().freeze_support_called) return;
  throw std::logic_error{
      "a process cannot be started by spawn or forkserver: they run this program again, and main() "
      "does not say so. Write `multiprocessing::freeze_support();` as the first line of main()"};
}

/// @brief Which program a fresh process runs.
struct ProgramFiles {
  std::string executable;  ///< From set_executable(); empty: this one.
  std::string program;     ///< Where this one lies.

  [[nodiscard]] const std::string& name() const {
    return executable.empty() ? program : executable;
  }
};

[[nodiscard]] inline ProgramFiles program_files() {
  const std::lock_guard lock{process_state().mutex};
  return {process_state().executable, process_state().program};
}

/// @brief In a fresh process: what its starter knows of the program.
inline void use_program_files(ProgramFiles files) {
  const std::lock_guard lock{process_state().mutex};
  process_state().executable = std::move(files.executable);
  process_state().program = std::move(files.program);
  os::show_as(process_state().program);
}

/// @brief All that a fork server is told.
struct ServerState {
  std::uint64_t magic = expected_magic();
  ProgramFiles files;
  std::vector<std::byte> preload;

  static constexpr std::uint64_t expected_magic() { return magic_of("multiprocessing forkserver"); }
  template <class Archive>
  void serialize(Archive& archive) {
    archive(magic, files.executable, files.program, preload);
  }
};

/// @brief What a fork server holds of those that it works for.
struct ServerHandles {
  enum : std::size_t { lifeline, requests, count };
};

/// @brief What a starter hears of its child: the message's kind, and these as its bytes.
struct ServerAnswer {
  enum Kind : std::uint8_t {
    runs,     ///< From the child; a handle of it comes along.
    failed,   ///< `code` is the system's error.
    refused,  ///< This server starts nothing; `text` says why.
    ended,    ///< `code` is the exit code.
  };
  int pid = 0;
  int code = 0;
  std::string text = {};

  template <class Archive>
  void serialize(Archive& archive) {
    archive(pid, code, text);
  }
};

/// @brief What became of asking a fork server how a child ended.
struct ServerReport {
  bool is_final = false;
  std::optional<int> code = {};  ///< None in the end: the server is gone.
};

/// @brief Asks how a child ended that has ended. The server says so by itself, and soon. Does not
/// wait.
[[nodiscard]] inline ServerReport receive_report(const os::UniqueHandle& from) {
  os::IncomingMessage message;
  std::error_code ec;
  const auto outcome =
      os::receive_message(from.get(), message, {}, Deadline{std::chrono::seconds{0}}, ec);
  if (!ec && outcome == os::Outcome::timed_out) return {};
  if (ec || outcome != os::Outcome::done) return {true};
  if (message.kind() != ServerAnswer::ended) return {true};  // it could not watch the child
  return {true, loads<ServerAnswer>(message.bytes()).code};
}

/// @brief Kills the fork server that this process started, if it did. The state's mutex is held.
/// @returns how it ended, where that is known.
inline std::optional<int> end_forkserver() noexcept {
  ProcessState& state = process_state();
  if (state.forkserver != -1) os::close_handle(os::to_handle(std::exchange(state.forkserver, -1)));
  if (state.forkserver_process == -1) return std::nullopt;
  const os::UniqueHandle process{os::to_handle(std::exchange(state.forkserver_process, -1))};
  std::error_code ignored;
  os::signal_process(process.get(), os::Signal::kill, ignored);
  os::close_handle(os::to_handle(std::exchange(state.forkserver_lifeline, -1)));
  os::wait_ready(process.get(), Deadline{forever});
  return os::collect_process(process.get()).code;
}

/// @brief Starts a fork server. The state's mutex is held, so no fork comes in between.
/// @throws std::system_error the system refuses.
inline void begin_forkserver() {
  ProcessState& state = process_state();
  const auto check = [](std::error_code ec, const std::string& what) {
    if (ec) throw std::system_error{ec, "cannot start the fork server: " + what};
  };
  std::error_code ec;
  os::Lifeline lifeline = os::make_lifeline(ec);
  check(ec, "its lifeline");
  os::ChannelEnds requests = os::make_channel(ec);
  check(ec, "its channel");
  const ServerState told{
      ServerState::expected_magic(), {state.executable, state.program}, state.preload};
  std::vector<std::byte> bytes;
  Encoder encoder{bytes};
  encode(encoder, told);
  std::array<native_handle_type, ServerHandles::count> handles{};
  handles[ServerHandles::lifeline] = lifeline.childs.get();
  handles[ServerHandles::requests] = requests.second.get();
  std::string rights = os::rights();
  MULTIPROCESSING_STOP_POINT("forkserver.begin");
  os::Started server =
      os::spawn_program(told.files.executable, told.files.program, bytes, handles, ec);
  check(ec, "running " + told.files.name());
  if (!server.process) server.process = os::open_process(server.pid, ec);
  if (ec && ec != std::errc::no_such_process) os::discard_process(server.pid);
  check(ec, "a handle of it");
  state.forkserver = os::to_integer(requests.first.release());
  state.forkserver_process = os::to_integer(server.process.release());
  state.forkserver_lifeline = os::to_integer(lifeline.parents.release());
  state.forkserver_rights = std::move(rights);
  ++state.forkserver_number;
}

/// @brief Starts a fork server where there is none, where it is the dead one, or where it has other
/// rights than this process has by now: its children would have them.
/// @param dead the number of one that was found dead. 0: none was.
/// @throws std::system_error the system refuses.
inline void ensure_forkserver(unsigned dead) {
  const ProcessState& state = process_state();
  const std::lock_guard lock{process_state().mutex};
  if (state.forkserver_number == dead) end_forkserver();
  if (state.forkserver != -1 && state.forkserver_rights != os::rights()) end_forkserver();
  if (state.forkserver == -1) begin_forkserver();
}

}  // namespace multiprocessing::detail
