// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/source_line.hpp>

#include <boost/stacktrace/frame.hpp>

namespace multiprocessing::os {

inline std::string source_line(std::uintptr_t address) {
  const boost::stacktrace::frame frame{reinterpret_cast<const void*>(address)};
  const std::string name = frame.name();
  if (name.empty()) return {};
  const std::string file = frame.source_file();
  return file.empty() ? std::string{}
                      : name + " at " + file + ":" + std::to_string(frame.source_line());
}

}  // namespace multiprocessing::os
