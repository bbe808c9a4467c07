// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file trace.hpp
/// @brief A timeline of workers and tasks that Perfetto and chrome://tracing open.
#include <multiprocessing/os/streams.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

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
    file_ = os::open_to_write(path);
    if (file_ == nullptr) {
      throw std::invalid_argument{"a pool's trace cannot be written to " + path.string()};
    }
    // What the C library kept, a forked worker would write again at its exit.
    static_cast<void>(std::setvbuf(file_, nullptr, _IONBF, 0));
    text_ = "[\n";
  }
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;
  ~Trace() { finish(); }

  [[nodiscard]] bool is_on() const noexcept { return file_ != nullptr; }

  /// @brief One task, from its beginning to its end, on its worker's line.
  void task(std::string_view name,
            std::uint64_t id,
            int pid,
            std::uint32_t place,
            std::int64_t begun,
            std::int64_t ended,
            std::string_view outcome) {
    if (!is_on()) return;
    add(R"("ph":"X","name":")" + quoted(name) + R"(","cat":"task","pid":)" + std::to_string(pid) +
        R"(,"tid":)" + std::to_string(place) + R"(,"ts":)" + in_microseconds(begun) + R"(,"dur":)" +
        in_microseconds(ended - begun) + R"(,"args":{"task":)" + std::to_string(id) +
        R"(,"outcome":")" + quoted(outcome) + "\"}}");
  }
  /// @brief A worker's first line: what it is called.
  void worker(int pid, std::uint32_t place, std::string_view name) {
    if (!is_on()) return;
    add(R"("ph":"M","name":"process_name","pid":)" + std::to_string(pid) + R"(,"tid":)" +
        std::to_string(place) + R"(,"args":{"name":")" + quoted(name) + "\"}}");
  }
  /// @brief The file is whole.
  void finish() noexcept {
    if (!is_on()) return;
    write();
    static_cast<void>(std::fputs("\n]\n", file_));
    static_cast<void>(std::fclose(std::exchange(file_, nullptr)));
  }

 private:
  /// All of it, or nothing and it throws.
  void add(const std::string& event) {
    constexpr std::size_t enough = 8192;
    text_ += (is_first_ ? "{" : ",\n{") + event;
    is_first_ = false;
    if (text_.size() >= enough) write();
  }
  void write() noexcept {
    static_cast<void>(std::fwrite(text_.data(), 1, text_.size(), file_));
    text_.clear();
  }
  static std::string in_microseconds(std::int64_t nanoseconds) {
    constexpr std::int64_t thousand = 1000;  // not by printf(), which asks the program's locale
    const std::string rest = std::to_string(thousand + nanoseconds % thousand);
    return std::to_string(nanoseconds / thousand) + "." + rest.substr(1);
  }
  static std::string quoted(std::string_view text) {
    std::string safe;
    for (const char each : text) {
      if (each == '"' || each == '\\') safe += '\\';
      safe += static_cast<unsigned char>(each) < ' ' ? ' ' : each;
    }
    return safe;
  }

  std::FILE* file_ = nullptr;
  std::string text_;  // not written yet
  bool is_first_ = true;
};

}  // namespace multiprocessing::detail
