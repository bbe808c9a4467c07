// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file process_state.hpp
/// @brief Everything that this process has once and may change: one struct.
///
/// `os::process_wide` finds the one of this process, also when several shared libraries contain
/// these headers; so only standard types stand here, none of them with a virtual function, and
/// handles stand as integers.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace multiprocessing {

struct CodeReference;  // callable/code_reference.hpp

/// @brief How a child process comes to be. @python{"fork", "spawn", "forkserver"}
enum class StartMethod { fork, spawn, forkserver };

/// @brief How much a log line matters, with Python's numbers, `multiprocessing.util`'s among them.
enum class LogLevel {
  subdebug = 5,
  debug = 10,
  info = 20,
  subwarning = 25,
  warning = 30,
  error = 40,
  critical = 50,
  off = 100
};

namespace detail {

using LogSink = std::function<void(LogLevel, std::string_view)>;

/// @brief What is logged; all of it is inherited under every start method.
struct LogSettings {
  LogLevel level = LogLevel::off;
  bool to_stderr = false;
};

struct ChildRecord;  // os/child.hpp

/// @brief What a child knows of the process that started it.
struct ParentRecord {
  int pid = 0;
  std::string name;
  std::intptr_t lifeline = -1;  ///< Readable once the parent has ended. Open as long as we live.
  int child = 0;                ///< Our own pid: another one in copies made by a bare fork().
};

/// @brief The process-wide state.
/// @threads Every member but the atomics is guarded by `mutex`, and so are the members of all
/// records; `records` and `not_for_children` by `records_mutex`.
/// @processes `os::install_fork_handlers` holds all mutexes across every fork() of this process,
/// so a child starts with sound members; there, children and records are empty, and interrupt and
/// the handles of a fork server that is not the child's are closed and -1.
struct alignas(1024) ProcessState {  // in one page, for each fork copies those that it changes
  std::mutex mutex;

  // ---- who we are ----
  std::string name = "MainProcess";
  std::vector<unsigned> identity;  ///< Numbers from the main process down to us; empty there.
  unsigned processes_made = 0;     ///< The last number given to a Process made here.
  bool daemon = false;
  bool remaking = false;               ///< The next Process made is the one that we are.
  std::string authkey;                 ///< 32 random bytes; empty until first needed.
  std::optional<ParentRecord> parent;  ///< None in the main process.

  // ---- how we start others ----
  std::optional<StartMethod> start_method;
  bool freeze_support_called = false;
  int handles_at_birth = -1;           ///< Of a spawned process, until freeze_support(); else -1.
  std::string executable;              ///< From set_executable; empty: our own.
  std::string program;                 ///< Our own path, absolute; empty until first needed.
  std::vector<ChildRecord*> children;  ///< Started here, not reaped yet; each a reference.
  std::mutex records_mutex;            ///< Guards two lists; taken last.
  std::vector<ChildRecord*> records;   ///< All that exist here, reaped or not: they hold handles.

  // ---- the fork server ----
  std::vector<std::byte> preload;          ///< A call that the next one begins with; none if empty.
  std::intptr_t forkserver = -1;           ///< Where the requests of this tree of processes go.
  unsigned forkserver_number = 0;          ///< Counts those that this process and its parents knew.
  std::string forkserver_rights;           ///< With which it was started: see os::rights().
  std::intptr_t forkserver_process = -1;   ///< In the process that started it, and no other: the
  std::intptr_t forkserver_lifeline = -1;  ///< process, and what ends it with us.
  std::intptr_t served_lifeline = -1;      ///< In a fork server, and no other: what ends it with
  std::intptr_t served_requests = -1;      ///< its starter, and where requests come from.

  // ---- what is installed ----
  bool fork_handlers_installed = false;
  std::mutex loader_mutex;  ///< Held by who walks the loaded images, and across forks; taken first.
  bool exit_handler_installed = false;

  // ---- code that was named for other processes ----
  std::vector<const CodeReference*> code;  ///< Each once, for good: needed until the very end.

  // ---- logging ----
  LogSettings log;
  std::shared_ptr<const LogSink> log_sink;  ///< Whose module takes it away before it is unloaded.
  std::atomic<LogLevel> log_gate{LogLevel::off};  ///< The level; off where nobody takes the lines.
  std::atomic<int> warned_of_threads{0};  ///< The process that said that it forks and has threads.

  // ---- waking threads that are blocked in a connection that is being closed ----
  std::atomic<std::intptr_t> interrupt{-1};  ///< An event that all of them also wait for.
  std::atomic<unsigned> interrupters{0};     ///< Calls of close() in progress.
  std::atomic<std::uint32_t> forks{0};       ///< Forks that lie between the first process and us.
  std::atomic<std::uint32_t> forked{0};      ///< Forks that this process has made, or begun.
  std::atomic<std::uint32_t> passages{0};    ///< Memories that are kept for large messages.

  // ---- sockets by whose end others hear of our death, and handles on their way to others ----
  std::vector<std::intptr_t> not_for_children;  ///< In a forked child they lead nowhere.

  // ---- what freeze_support() does in processes that serve other machines ----
  std::vector<void (*)()> diversions;  ///< Of optional parts; each returns where it is not meant.

  // ---- shared memory with a name ----
  std::intptr_t tracker = -1;  ///< Where its tracker hears of it; closed in each fork.
};
static_assert(sizeof(ProcessState) == 1024);

}  // namespace detail
}  // namespace multiprocessing
