// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file plugin.hpp
/// @brief What the plug-ins of the tests offer, and how a test loads them.
#include <multiprocessing/callable.hpp>
#include <multiprocessing/os/process_wide.hpp>

#include <atomic>
#include <stdexcept>
#include <string>
#include <utility>

#include <dlfcn.h>

namespace test {

/// @brief Exists once per process, or the tests fail.
struct Shared {
  std::atomic<int> visits{0};
};

/// @brief Many such types, so that threads can meet at many first uses.
template <int number>
struct Numbered {
  int value = number;
};
inline constexpr int numbered_types = 32;

/// @brief The address of the process-wide Numbered<n>, as the module that calls it sees it.
template <int number = 0>
void* numbered(int n) {
  if constexpr (number == numbered_types) {
    return nullptr;
  } else {
    if (n == number) return &multiprocessing::os::process_wide<Numbered<number>>();
    return numbered<number + 1>(n);
  }
}

struct PluginFunctions {
  Shared& (*shared)();
  void* (*numbered)(int n);
  multiprocessing::detail::ProcessState& (*state)();
  multiprocessing::CodeReference (*refer)();  ///< To a descriptor of `void(int&)`: see `answer`.
  int (*answer)();                            ///< A hidden function.
};

/// @brief A plug-in, loaded so that nobody else sees its symbols; unloaded at the end.
class Plugin {
 public:
  explicit Plugin(const std::string& path)
      : handle_{::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)} {
    if (handle_ == nullptr) throw std::runtime_error{::dlerror()};
    using Entry = const void* (*)();
    functions_ = static_cast<const PluginFunctions*>(
        reinterpret_cast<Entry>(::dlsym(handle_, "test_plugin"))());
  }
  Plugin(Plugin&& other) noexcept
      : handle_{std::exchange(other.handle_, nullptr)}, functions_{other.functions_} {}
  Plugin& operator=(Plugin&&) = delete;
  ~Plugin() {
    if (handle_ != nullptr) ::dlclose(handle_);
  }
  const PluginFunctions* operator->() const noexcept { return functions_; }

 private:
  void* handle_;
  const PluginFunctions* functions_ = nullptr;
};

inline bool is_loaded(const std::string& path) {
  void* const handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (handle != nullptr) ::dlclose(handle);
  return handle != nullptr;
}

/// @brief Where the build puts the plug-ins: beside the test programs.
inline std::string plugin_path(const std::string& name) {
  const std::string program = multiprocessing::os::executable_path();
  std::string folder = program.substr(0, program.rfind('/'));
  if (!folder.ends_with("/plugin")) folder += "/plugin";
  return folder + "/" + name + ".so";
}

}  // namespace test
