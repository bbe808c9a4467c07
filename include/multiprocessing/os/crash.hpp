// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file crash.hpp
/// @brief Where a process crashed, told to another one when it is gone.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/module.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace multiprocessing::os {

/// @brief What a process that crashes leaves in memory that it shares. All zeros: nothing.
///
/// Addresses mean nothing to others, so a frame is a module and an offset in it; a module is named
/// by its build id, where it has one, and its path.
/// @processes The one that crashes writes, from beginning to end, each number that counts after
/// what it counts: so whenever it dies, what is there is true. Others read when it has ended.
struct CrashRecord {
  static constexpr std::size_t most_frames = 64;   ///< The innermost ones.
  static constexpr std::size_t most_modules = 11;  ///< Frames of others have their address alone.
  static constexpr std::uint8_t nowhere = 0xFF;    ///< In no module that is here.

  struct Module {
    std::uint64_t begin = 0;  ///< Where it lay: it tells modules of one record apart.
    std::uint8_t id_size = 0;
    std::uint8_t path_size = 0;      ///< 0: the program itself.
    std::array<std::byte, 38> id{};  ///< A ModuleId; none: the module has no build id.
    std::array<char, 240> path{};    ///< Cut off where it is longer.
  };

  enum : std::uint32_t { no_cause, by_address, by_process };

  std::atomic<std::int32_t> code;      ///< The exit code to be; 0: nothing is written yet.
  std::atomic<std::uint32_t> frames;   ///< How many there are.
  std::atomic<std::uint32_t> modules;  ///< How many there are.
  std::atomic<std::uint32_t> cause;    ///< What `subject` is.
  std::uint64_t subject;  ///< Memory that could not be used, or the process that sent the signal.
  std::array<std::uint64_t, most_frames> offsets;
  std::array<std::uint8_t, most_frames> modules_of;
  std::array<Module, most_modules> module;

  /// @brief Nothing is there any more. Before the process is started that is to use it.
  void clear() noexcept {
    frames = 0;
    modules = 0;
    cause = no_cause;
    code = 0;
  }
};

static_assert(sizeof(CrashRecord) <= 4096);

/// @brief For as long as it lives, a crash of this process (POSIX: SIGSEGV, SIGBUS, SIGFPE, SIGILL,
/// SIGABRT) leaves where it happened in a record. The process ends as it would without it: the
/// signal comes a second time, as it was, to the same place, so the exit code and a core dump are
/// the same. A crash that cannot be recorded, because it happens again or takes two seconds, ends
/// the process there, by its signal all the same.
///
/// The maker of this object, and what called it, are not recorded.
///
/// Where the program has a handler for a signal already, or sets one later, that one is called and
/// nothing is recorded. Crashes in any thread are recorded, but a stack that is full only in the
/// thread that made this object: it gets another stack for signals, unless it has one. Forked
/// children record nothing. Windows: nothing is ever recorded.
/// @errors none: where the system refuses, nothing is recorded.
/// @threads One object at a time in a process.
class CrashRecorder {
 public:
  /// @param record stays where it is for as long as this object lives.
  explicit CrashRecorder(CrashRecord& record) noexcept;
  CrashRecorder(const CrashRecorder&) = delete;
  CrashRecorder& operator=(const CrashRecorder&) = delete;
  ~CrashRecorder();

  /// @brief Has done now what the first recorder would have to do, and forked children inherit.
  static void prepare() noexcept;
};

/// @brief One function that was being run.
struct CrashFrame {
  std::string path;          ///< Of its module; empty: in none.
  ModuleId module;           ///< Empty: not known.
  bool is_program = false;   ///< The module is the program, not one of its libraries.
  std::uint64_t offset = 0;  ///< Of the call in the module: addr2line takes it.

  friend bool operator==(const CrashFrame&, const CrashFrame&) = default;
};

/// @brief Where a process crashed.
struct CrashTrace {
  std::vector<CrashFrame> frames;             ///< The innermost first.
  std::optional<std::uint64_t> address = {};  ///< Of the memory that could not be used.
  std::optional<std::uint64_t> sender = {};   ///< The other process that sent the signal.
};

/// @brief What the record of a process says that has ended with `code`. Nothing in it is believed:
/// a process that crashes may have written anywhere.
/// @returns none: it did not crash, or could not say where.
/// @throws std::bad_alloc
[[nodiscard]] std::optional<CrashTrace> read_crash(const CrashRecord& record, int code);

// ---- definitions ----

inline std::optional<CrashTrace> read_crash(const CrashRecord& record, int code) {
  const std::size_t frames = std::min<std::size_t>(record.frames, CrashRecord::most_frames);
  const std::size_t modules = std::min<std::size_t>(record.modules, CrashRecord::most_modules);
  if (code == 0 || record.code != code || frames == 0) return std::nullopt;
  CrashTrace trace;
  const std::string program = executable_path();
  const std::uint32_t cause = record.cause;
  if (cause == CrashRecord::by_address) trace.address = record.subject;
  if (cause == CrashRecord::by_process) trace.sender = record.subject;
  for (std::size_t i = 0; i < frames; ++i) {
    CrashFrame& frame = trace.frames.emplace_back();
    frame.offset = record.offsets[i];
    const std::size_t number = record.modules_of[i];  // once: it may still be written to
    if (number >= modules) continue;
    const CrashRecord::Module& module = record.module[number];
    const auto id_size = std::min<std::size_t>(module.id_size, module.id.size());
    frame.module.assign(module.id.data(), module.id.data() + id_size);
    frame.path.assign(module.path.data(),
                      std::min<std::size_t>(module.path_size, module.path.size()));
    frame.is_program = frame.path.empty();
    if (frame.is_program) frame.path = program;
  }
  return trace;
}

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/crash.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/crash.ipp>
#endif
