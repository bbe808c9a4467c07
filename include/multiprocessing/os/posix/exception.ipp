// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/exception.hpp>

#include <cstdlib>
#include <memory>

#include <cxxabi.h>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE std::string readable_name(const char* name) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text{
      abi::__cxa_demangle(name, nullptr, nullptr, &status), &std::free};
  return text ? text.get() : name;
}

MULTIPROCESSING_INLINE std::string readable_name(const std::type_info& type) {
  return readable_name(type.name());
}

MULTIPROCESSING_INLINE std::string current_exception_type() {
  const std::type_info* const type = abi::__cxa_current_exception_type();
  return type == nullptr ? "unknown" : readable_name(*type);
}

}  // namespace multiprocessing::os
