// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file logging.hpp
/// @brief What the library tells of its work, to the error output or to a function of the program.
/// @python{multiprocessing.log_to_stderr(), multiprocessing.get_logger()}
///
/// It is off until log_to_stderr() or set_log_sink() is called, and costs one load of an atomic
/// then. Children inherit the level under every start method, and whether lines go to the error
/// output. At level debug the library logs each start of a process, and what becomes of the
/// children at exit; at info, a child's beginning and end; at warning, once in a process, that it
/// has more than one thread and is forked.
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/streams.hpp>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace multiprocessing {

/// @brief "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"; "Level 25" for other numbers, those of
/// subdebug and subwarning among them, as in Python.
[[nodiscard]] inline std::string to_string(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return "DEBUG";
    case LogLevel::info:
      return "INFO";
    case LogLevel::warning:
      return "WARNING";
    case LogLevel::error:
      return "ERROR";
    case LogLevel::critical:
      return "CRITICAL";
    case LogLevel::subdebug:
    case LogLevel::subwarning:
    case LogLevel::off:
      break;
  }
  return "Level " + std::to_string(static_cast<int>(level));
}

namespace detail {

[[nodiscard]] inline bool is_logged(LogLevel level) noexcept {
  return level >= process_state().log_gate.load(std::memory_order_relaxed) && level < LogLevel::off;
}

/// @brief Lets through what somebody takes. The state's mutex is held.
inline void set_log_gate(ProcessState& state) noexcept {
  const bool is_heard = state.log.to_stderr || state.log_sink != nullptr;
  state.log_gate.store(is_heard ? state.log.level : LogLevel::off, std::memory_order_relaxed);
}

/// @brief In a child that shares no memory with its parent: what the parent logs.
inline void use_log_settings(const LogSettings& settings) {
  ProcessState& state = process_state();
  const std::lock_guard lock{state.mutex};
  state.log = settings;
  set_log_gate(state);
}

/// @brief Appends text in which nothing ends the line or is meant for a terminal.
inline void append_printable(std::string& line, std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  constexpr unsigned char first_printable = 0x20;
  constexpr unsigned char delete_character = 0x7F;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      line += "\\n";
    } else if ((byte < first_printable && c != '\t') || byte == delete_character) {
      line.append("\\x").append({digits[byte >> 4U], digits[byte & 0xFU]});
    } else {
      line += c;
    }
  }
}

/// @brief Calls a sink, but not from inside one, nor in a child that one forks: each call would
/// lead to the next.
inline void call_sink(const LogSink& sink, LogLevel level, std::string_view text) {
  thread_local bool is_inside = false;
  if (std::exchange(is_inside, true)) return;
  try {
    sink(level, text);
  } catch (...) {  // a log line changes nothing that the program does
  }
  is_inside = false;
}

inline void deliver(LogLevel level, std::string_view text);

/// @brief What the thread logs while this exists comes when it ends: for whoever holds a lock that
/// a sink may come to need.
class LogLater {
 public:
  LogLater() noexcept { innermost() = this; }
  ~LogLater() {
    innermost() = outer_;
    try {
      for (const auto& [level, text] : lines_) deliver(level, text);
    } catch (...) {  // no memory
    }
  }
  LogLater(const LogLater&) = delete;
  LogLater& operator=(const LogLater&) = delete;
  void add(LogLevel level, std::string_view text) { lines_.emplace_back(level, text); }
  static LogLater*& innermost() noexcept {
    thread_local LogLater* one = nullptr;
    return one;
  }

 private:
  LogLater* outer_ = innermost();
  std::vector<std::pair<LogLevel, std::string>> lines_;
};

/// @brief Hands a text to whoever takes it. The state's mutex is not held: a sink may use all of
/// the library.
inline void deliver(LogLevel level, std::string_view text) {
  if (LogLater* const later = LogLater::innermost()) return later->add(level, text);
  ProcessState& state = process_state();
  std::string line;
  std::shared_ptr<const LogSink> sink;
  {
    const std::lock_guard lock{state.mutex};
    sink = state.log_sink;
    if (state.log.to_stderr) {
      line = "[" + to_string(level) + "/";
      append_printable(line, state.name);
    }
  }
  if (!line.empty()) {
    line += "] ";
    append_printable(line, text);
    line += '\n';
    os::write_error_line(line);
  }
  if (sink) call_sink(*sink, level, text);
}

}  // namespace detail

/// @brief The level of this process: texts below it are not logged.
/// @python{multiprocessing.get_logger().getEffectiveLevel()}
[[nodiscard]] inline LogLevel get_log_level() {
  const std::lock_guard lock{detail::process_state().mutex};
  return detail::process_state().log.level;
}

/// @brief Sets the level for the error output and the sink alike.
/// @python{multiprocessing.get_logger().setLevel()}
inline void set_log_level(LogLevel level) {
  detail::ProcessState& state = detail::process_state();
  const std::lock_guard lock{state.mutex};
  state.log.level = level;
  detail::set_log_gate(state);
}

/// @brief From now on texts of this level and above go to the error output, as
/// `[INFO/Process-1] text`.
///
/// Each line is one write() to descriptor 2, past the buffers of std::cerr and stderr: lines of
/// several threads and processes do not mix in a file, nor in a pipe up to PIPE_BUF (4096 bytes on
/// Linux). A control character in a text or in a process's name is shown as `\n`, `\x1b`, so that a
/// text is one line.
/// @param level sets that of the sink too. off: lines go to the error output no more.
/// @python{multiprocessing.log_to_stderr(), which adds another handler each time}
inline void log_to_stderr(LogLevel level = LogLevel::info) {
  detail::ProcessState& state = detail::process_state();
  const std::lock_guard lock{state.mutex};
  state.log = {level, level != LogLevel::off};
  detail::set_log_gate(state);
}

/// @brief From now on texts of the process's level and above go to `sink`, as they are; if the
/// level is off, it becomes info. An empty function: to no sink.
///
/// The sink may use the library. What it logs itself, and what a process logs that it starts by
/// fork, goes to the error output only. What it throws is dropped. It is inherited by fork, and by
/// no other start method. It is called until the last exit handler of the process: what it uses
/// must live as long, or be taken away before. A plug-in takes its sink away before it is unloaded.
/// @threads the sink is called by several at once, and may still be running elsewhere when another
///   one was set.
/// @processes a lock that the sink takes may be held by another thread when a process is forked;
///   the child's sink would wait for it for ever.
/// @python{multiprocessing.get_logger().addHandler()}
inline void set_log_sink(std::function<void(LogLevel, std::string_view)> sink) {
  std::shared_ptr<const detail::LogSink> shared;
  if (sink) shared = std::make_shared<const detail::LogSink>(std::move(sink));
  detail::ProcessState& state = detail::process_state();
  {
    const std::lock_guard lock{state.mutex};
    if (shared && state.log.level == LogLevel::off) state.log.level = LogLevel::info;
    state.log_sink.swap(shared);
    detail::set_log_gate(state);
  }
}  // the one before ends here, with the lock given back: its end is the program's code

/// @brief Logs a text. Nothing is thrown: a line for which there is no memory is lost.
/// @threads Any number at once; not in a signal handler.
/// @python{multiprocessing.get_logger().info(), debug(), warning(), error(), log()}
inline void log(LogLevel level, std::string_view text) noexcept {
  if (!detail::is_logged(level)) return;
  try {
    detail::deliver(level, text);
  } catch (...) {  // no memory
  }
}

/// @brief The same for a text that costs something to make: `make_text()` is called only if the
/// level lets it through. What it throws is dropped, with the line.
/// @code
/// mp::log(mp::LogLevel::debug, [&] { return "state: " + describe(state); });
/// @endcode
template <class MakeText>
requires std::is_convertible_v<std::invoke_result_t<MakeText>, std::string_view>
void log(LogLevel level, MakeText&& make_text) noexcept {
  if (!detail::is_logged(level)) return;
  try {
    const auto& text = std::invoke(std::forward<MakeText>(make_text));
    detail::deliver(level, text);
  } catch (...) {  // as above
  }
}

}  // namespace multiprocessing
