// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/exception.hpp>

#include <exception>

#if defined(__GNUC__)
#  include <cstdlib>
#  include <memory>

#  include <cxxabi.h>
#endif

namespace multiprocessing::os {

MULTIPROCESSING_INLINE std::string readable_name(const char* name) {
#if defined(__GNUC__)
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text{
      abi::__cxa_demangle(name, nullptr, nullptr, &status), &std::free};
  if (text) return text.get();
#endif
  std::string name_of_type = name;
  for (const char* const word : {"class ", "struct ", "enum "}) {
    if (name_of_type.starts_with(word)) return name_of_type.substr(std::string{word}.size());
  }
  return name_of_type;
}

MULTIPROCESSING_INLINE std::string readable_name(const std::type_info& type) {
  return readable_name(type.name());
}

MULTIPROCESSING_INLINE std::string current_exception_type() {
#if defined(__GNUC__)
  const std::type_info* const type = abi::__cxa_current_exception_type();
  return type == nullptr ? "unknown" : readable_name(*type);
#else
  try {
    std::rethrow_exception(std::current_exception());
  } catch (const std::exception& error) {
    return readable_name(typeid(error));
  } catch (...) {
    return "unknown";
  }
#endif
}

}  // namespace multiprocessing::os
