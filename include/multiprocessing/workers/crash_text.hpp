// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file crash_text.hpp
/// @brief Where a worker crashed, in words.
#include <multiprocessing/os/crash.hpp>
#include <multiprocessing/os/symbols.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace multiprocessing::detail {

/// @brief What a place in the code of this process is called, with file and line where that is
/// known; empty: not known. Set where <multiprocessing/stacktrace.hpp> is included.
using PlaceNamer = std::string (*)(std::uintptr_t address);
inline std::atomic<PlaceNamer> place_namer{nullptr};

[[nodiscard]] inline std::string hexadecimal(std::uint64_t number) {
  std::string text;
  for (; number != 0 || text.empty(); number /= 16)
    text.insert(0, 1, "0123456789abcdef"[number % 16]);
  return "0x" + text;
}

/// @brief One line, e.g. "  Parser::next() + 0x1c (/usr/bin/program + 0x12ef)".
[[nodiscard]] inline std::string frame_text(const os::CrashFrame& frame, os::Symbols& symbols) {
  const std::uintptr_t address = os::address_of(frame);
  const PlaceNamer namer = place_namer.load();
  std::string name = namer != nullptr && address != 0 ? namer(address) : std::string{};
  if (name.empty()) {
    const auto symbol = symbols.find(frame);
    name = symbol ? symbol->name + " + " + hexadecimal(symbol->offset) : "?";
  }
  const bool is_another = frame.is_program && address == 0;
  const std::string where = frame.path.empty() ? ""
                            : is_another       ? "its program + "
                                               : frame.path + " + ";
  return "  " + name + " (" + where + hexadecimal(frame.offset) + ")\n";
}

/// @brief All lines, the innermost function first.
[[nodiscard]] inline std::string crash_text(const os::CrashTrace& trace) {
  std::string text = "It crashed";
  if (trace.address) text += " at memory address " + hexadecimal(*trace.address);
  if (trace.sender) {
    text = "Process " + std::to_string(*trace.sender) + " sent the signal; it was at";
  }
  text += ", most recent call first:\n";
  os::Symbols symbols;
  std::size_t again = 0;
  for (std::size_t i = 0; i < trace.frames.size(); ++i) {
    const bool is_last = i + 1 == trace.frames.size();
    if (!is_last && trace.frames[i] == trace.frames[i + 1]) {  // it calls itself
      ++again;
      continue;
    }
    text += frame_text(trace.frames[i], symbols);
    if (again != 0) text += "    and " + std::to_string(std::exchange(again, 0)) + " times more\n";
  }
  if (trace.frames.size() == os::CrashRecord::most_frames) text += "  ...\n";
  return text;
}

/// @brief What makes these words when somebody asks for them: names are looked for in files.
/// @returns none: it did not crash.
[[nodiscard]] inline std::function<std::string()> crash_words(const os::CrashRecord& record,
                                                              int exit_code) {
  auto trace = os::read_crash(record, exit_code);
  if (!trace) return {};
  const auto kept = std::make_shared<const os::CrashTrace>(*std::move(trace));
  return [kept] { return crash_text(*kept); };
}

}  // namespace multiprocessing::detail
