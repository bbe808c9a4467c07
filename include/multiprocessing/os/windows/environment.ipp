// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/environment.hpp>

#include <cerrno>
#include <cstdlib>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE bool has_foreign_rights() noexcept {
  return false;
}

MULTIPROCESSING_INLINE std::optional<std::string> environment(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr) return std::nullopt;
  return value;
}

MULTIPROCESSING_INLINE void set_environment(const std::string& name, const std::string& value) {
  if (MULTIPROCESSING_SYSTEM(_putenv_s)(name.c_str(), value.c_str()) == 0) return;
  throw std::system_error{errno, std::generic_category(),
                          "cannot set the environment variable '" + name + "'"};
}

}  // namespace multiprocessing::os
