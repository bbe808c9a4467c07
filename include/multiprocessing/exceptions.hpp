// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file exceptions.hpp
/// @brief What the library throws of its own.
///
/// Wrong use throws the standard's `std::invalid_argument` or `std::logic_error`; a refusal of the
/// operating system is a `std::system_error` with the system's code. A message says what was tried,
/// on what, and what to do.
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace multiprocessing {

/// @brief Base of the library's own errors. @python{multiprocessing.ProcessError}
struct ProcessError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// @brief A call that must deliver something did not within its time.
/// @python{multiprocessing.TimeoutError}
struct TimeoutError : ProcessError {
  using ProcessError::ProcessError;
};

/// @brief The caller's buffer is smaller than the message. @python{multiprocessing.BufferTooShort}
struct BufferTooShort : ProcessError {
  /// @param whole the message.
  explicit BufferTooShort(std::vector<std::byte> whole)
      : ProcessError{"the message has " + std::to_string(whole.size()) +
                     " bytes, the buffer has less room; the message is in this exception"},
        message{std::move(whole)} {}
  std::vector<std::byte> message;  ///< The whole message: nothing is lost.
};

/// @brief The other end does not have the key, or does not speak the protocol.
/// @python{multiprocessing.AuthenticationError}
struct AuthenticationError : ProcessError {
  using ProcessError::ProcessError;
};

/// @brief Nothing is left and the other end is closed. @python{EOFError}
struct EOFError : ProcessError {
  using ProcessError::ProcessError;
};

/// @brief The stream broke inside a message: nothing later can be trusted.
struct ConnectionError : ProcessError {
  using ProcessError::ProcessError;
};

/// @brief Not serializable, not of the expected type, truncated, or hostile bytes.
/// @python{pickle.PickleError}
struct SerializationError : ProcessError {
  using ProcessError::ProcessError;
};

/// @brief A queue had nothing to give. @python{queue.Empty}
struct Empty : ProcessError {
  using ProcessError::ProcessError;
};

/// @brief A barrier does not wait any more: a party timed out, died or failed, or somebody called
/// abort() or reset(). @python{threading.BrokenBarrierError}
struct BrokenBarrierError : ProcessError {
  using ProcessError::ProcessError;
};

/// @brief A queue had no room. @python{queue.Full}
struct Full : ProcessError {
  using ProcessError::ProcessError;
};

/// @brief A queue was shut down: nothing is put any more, and nothing is left.
/// @python{queue.ShutDown}
struct ShutDown : ProcessError {
  using ProcessError::ProcessError;
};

/// @brief Processes died that had taken items from a JoinableQueue and not said task_done().
struct LostTasks : ProcessError {
  /// @param lost how many.
  explicit LostTasks(std::size_t lost)
      : ProcessError{std::to_string(lost) +
                     " items were lost: the processes that had taken them ended before "
                     "task_done()"},
        count{lost} {}
  std::size_t count;  ///< How many, since the last time that this was thrown.
};

/// @brief The owner of a Lock died holding it: what it guards may be half changed. Whoever gets
/// this holds nothing; see Lock::recover().
struct AbandonedLock : ProcessError {
  using ProcessError::ProcessError;
};

namespace detail {

/// @brief An error's text, and lines behind it that are made when somebody asks for them.
class LateText {
 public:
  LateText(std::string text, std::function<std::string()> make_lines)
      : make_lines_{std::move(make_lines)}, text_{std::move(text)} {}
  [[nodiscard]] const std::string& text() const { return made().whole_; }
  [[nodiscard]] const std::string& lines() const { return made().lines_; }

 private:
  const LateText& made() const {
    std::call_once(once_, [this] {
      lines_ = make_lines_();
      whole_ = text_ + "\n" + lines_;
    });
    return *this;
  }
  mutable std::once_flag once_;
  std::function<std::string()> make_lines_;
  std::string text_;
  mutable std::string lines_;
  mutable std::string whole_;
};

}  // namespace detail

/// @brief A worker process ended with a task in its hands, or a pool can do no more work. The text
/// names the process, how it ended and the task; if it crashed, also where.
///
/// @python{concurrent.futures.process.BrokenProcessPool}
struct BrokenProcessPool : ProcessError {
  using ProcessError::ProcessError;
  /// @brief For this library. @param text its first line. @param make_traceback none: no crash.
  BrokenProcessPool(const std::string& text, std::function<std::string()> make_traceback)
      : ProcessError{text} {
    if (!make_traceback) return;
    late_ = std::make_shared<const detail::LateText>(text, std::move(make_traceback));
  }

  /// @brief The text, and traceback() behind it.
  [[nodiscard]] const char* what() const noexcept override {
    try {
      if (late_) return late_->text().c_str();
    } catch (...) {  // no memory
    }
    return ProcessError::what();
  }
  /// @brief Where a worker crashed (SIGSEGV, SIGBUS, SIGFPE, SIGILL, abort): a line for each
  /// function that was being run, the innermost first, with its name, its module and the offset in
  /// it, which `addr2line -Cfe <module> <offset>` takes; file and line too, where
  /// <multiprocessing/stacktrace.hpp> is included. Empty: it ended in another way, or its program
  /// has a handler of its own for that signal; on Windows always.
  ///
  /// Names are looked for the first time that this or what() is called, in files.
  /// @python{faulthandler}
  [[nodiscard]] std::string traceback() const { return late_ ? late_->lines() : std::string{}; }

 private:
  std::shared_ptr<const detail::LateText> late_;
};

/// @brief The task was cancelled or killed, or its pool was terminated.
/// @python{concurrent.futures.CancelledError}
struct CancelledError : ProcessError {
  using ProcessError::ProcessError;
};

/// @brief A future was given a second result. @python{concurrent.futures.InvalidStateError}
struct InvalidStateError : ProcessError {
  using ProcessError::ProcessError;
};

/// @brief What was thrown in another process, in words.
///
/// Thrown as itself for what cannot come home as its own type; else nested, last, in what came home
/// (`std::rethrow_if_nested`). @python{multiprocessing.pool.RemoteError, RemoteTraceback}
struct RemoteError : ProcessError {
  /// @brief For this library, and for tests.
  RemoteError(std::string thrown_type, const std::string& text, std::string trace)
      : ProcessError{text}, type{std::move(thrown_type)}, traceback{std::move(trace)} {}
  std::string type;       ///< Of what was thrown, as the program writes it: "int", "my::Error".
  std::string traceback;  ///< Where it was thrown, in lines of text.
};

/// @brief Thrown out of `run()` or a target: ends this process with a code.
///
/// A text goes to stderr and the code is then 1. @python{SystemExit, as raised by sys.exit()}
class SystemExit : public std::exception {
 public:
  /// @brief Ends the process with this code. @shape Linux keeps the lowest 8 bits.
  explicit SystemExit(int code = 0) noexcept : code_{code} {}
  /// @brief Prints the text on stderr, and ends the process with code 1.
  explicit SystemExit(std::string text) : code_{1}, text_{std::move(text)} {}

  /// @brief What the process ends with.
  [[nodiscard]] int code() const noexcept { return code_; }
  /// @brief What is printed; may be empty.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  /// @brief The text; without one, the name of this class.
  [[nodiscard]] const char* what() const noexcept override {
    return text_.empty() ? "SystemExit" : text_.c_str();
  }

 private:
  int code_;
  std::string text_;
};

}  // namespace multiprocessing
