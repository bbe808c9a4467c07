// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file entry.hpp
/// @brief The child's side of every start method: who it is, its work, its end.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/launch/plan.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/os/exception.hpp>
#include <multiprocessing/os/lifeline.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/streams.hpp>

#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace multiprocessing::detail {

/// @brief This process becomes a child: what current_process() and parent_process() say from now
/// on. A daemon is tied to its parent's life.
inline void become_child(ChildIdentity identity, ParentRecord parent) {
  ProcessState& state = process_state();
  {
    const std::lock_guard lock{state.mutex};
    if (state.parent) {  // we were a child ourselves before we were copied
      os::close_handle(os::to_handle(state.parent->lifeline));
    }
    state.name = std::move(identity.name);
    state.identity = std::move(identity.path);
    state.daemon = identity.daemon;
    state.processes_made = 0;
    state.exit_handler_installed = false;
    parent.child = os::process_id();
    state.parent = std::move(parent);
    if (state.daemon) {
      std::error_code ec;
      os::die_with_parent(os::to_handle(state.parent->lifeline), ec);
      if (ec) throw std::system_error{ec, "cannot tie a daemon to its parent"};
    }
  }
  // The thread that started us may have blocked some; we would not hear terminate().
  os::unblock_signals();
}

/// @brief What a child logs before its work.
inline void log_run() noexcept {
  log(LogLevel::info, "child process calling run()");
}

/// @brief Flushes the streams and tells the parent the exit code. The last that a child does.
inline void say_farewell(int code) noexcept {
  const auto& parent = process_state().parent;
  // A copy of a child, made by a bare fork(), inherits its exit handlers but is nobody's child.
  const bool is_child = parent && parent->child == os::process_id();
  if (is_child) {
    log(LogLevel::info, [code] {
      constexpr unsigned seen_by_parents = 0xFF;
      return "process exiting with code " +
             std::to_string(static_cast<unsigned>(code) & seen_by_parents);
    });
  }
  os::flush_streams();
  if (!is_child) return;
  os::report_exit(os::to_handle(parent->lifeline), code);
}

/// @brief What an exception that nothing caught has to say, as its last words on stderr. Call it
/// inside a handler.
inline void print_uncaught(const char* what) {
  std::string text = "Process ";
  {
    const std::lock_guard lock{process_state().mutex};
    text += process_state().name;
  }
  text.append(":\n").append(os::current_exception_type());
  if (what != nullptr) text.append(": ").append(what);
  os::write_error(text + "\n");
}

/// @brief Does a child's work. @returns its exit code, also when the work threw.
template <class Work>
int exit_code_of(Work&& work) noexcept {
  try {
    try {
      std::forward<Work>(work)();
      return 0;
    } catch (const SystemExit& end) {
      if (!end.text().empty()) os::write_error(end.text() + "\n");
      return end.code();
    } catch (const std::exception& error) {
      print_uncaught(error.what());
    } catch (const char* text) {
      print_uncaught(text);
    } catch (int number) {
      print_uncaught(std::to_string(number).c_str());
    } catch (...) {
      print_uncaught(nullptr);
      os::exit_process(1);  // pthread_exit unwinds by something that no handler may swallow
    }
  } catch (...) {  // no memory for last words
    os::exit_process(1);
  }
  return 1;
}

}  // namespace multiprocessing::detail
