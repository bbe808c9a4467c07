// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file trace.hpp
/// @brief A timeline of workers and tasks that Perfetto and chrome://tracing open.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace multiprocessing::detail {

/// @brief Writes the Trace Event Format: one JSON object a line. Off without a path.
/// @source https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
/// @threads one at a time.
class Trace {
 public:
  Trace() = default;
  /// @throws std::invalid_argument the file cannot be written.
  explicit Trace(const std::filesystem::path& path) {
    if (path.empty()) return;
    file_.open(path, std::ios::trunc);
    if (!file_) throw std::invalid_argument{"a pool's trace cannot be written to " + path.string()};
    file_ << "[\n";
    is_on_ = true;
  }
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;
  ~Trace() { finish(); }

  [[nodiscard]] bool is_on() const noexcept { return is_on_; }

  /// @brief One task, from its beginning to its end, on its worker's line.
  void task(std::string_view name,
            std::uint64_t id,
            int pid,
            std::uint32_t place,
            std::int64_t begun,
            std::int64_t ended,
            std::string_view outcome) {
    if (!is_on_) return;
    begin_event();
    file_ << R"("ph":"X","name":")" << quoted(name) << R"(","cat":"task","pid":)" << pid
          << R"(,"tid":)" << place << R"(,"ts":)" << in_microseconds(begun) << R"(,"dur":)"
          << in_microseconds(ended - begun) << R"(,"args":{"task":)" << id << R"(,"outcome":")"
          << quoted(outcome) << "\"}}";
  }
  /// @brief A worker's first line: what it is called.
  void worker(int pid, std::uint32_t place, std::string_view name) {
    if (!is_on_) return;
    begin_event();
    file_ << R"("ph":"M","name":"process_name","pid":)" << pid << R"(,"tid":)" << place
          << R"(,"args":{"name":")" << quoted(name) << "\"}}";
  }
  /// @brief The file is whole.
  void finish() {
    if (!is_on_) return;
    is_on_ = false;
    file_ << "\n]\n";
    file_.close();
  }

 private:
  void begin_event() {
    file_ << (is_first_ ? "{" : ",\n{");
    is_first_ = false;
  }
  static std::string in_microseconds(std::int64_t nanoseconds) {
    char text[40];
    static_cast<void>(
        std::snprintf(text, sizeof text, "%.3f", static_cast<double>(nanoseconds) / 1000.0));
    return text;
  }
  static std::string quoted(std::string_view text) {
    std::string safe;
    for (const char each : text) {
      if (each == '"' || each == '\\') safe += '\\';
      safe += static_cast<unsigned char>(each) < ' ' ? ' ' : each;
    }
    return safe;
  }

  std::ofstream file_;
  bool is_on_ = false;
  bool is_first_ = true;
};

}  // namespace multiprocessing::detail
