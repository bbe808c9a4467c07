// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file plugin.hpp
/// @brief What the plug-ins of the tests offer, and how a test loads them.
#include <multiprocessing/callable.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/os/process_wide.hpp>

#include <atomic>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <utility>

#include <plugin/loading.hpp>

/// @brief Before what a plug-in shows.
#if MULTIPROCESSING_WINDOWS
#  define TEST_PLUGIN_ENTRY extern "C" __declspec(dllexport)
#else
#  define TEST_PLUGIN_ENTRY extern "C" [[gnu::visibility("default")]]
#endif

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
  explicit Plugin(const std::filesystem::path& path) : handle_{load(path)} {
    if (handle_ == nullptr) throw std::runtime_error{loading_error()};
    using Entry = const void* (*)();
    functions_ = static_cast<const PluginFunctions*>(
        reinterpret_cast<Entry>(symbol(handle_, "test_plugin"))());
  }
  Plugin(Plugin&& other) noexcept
      : handle_{std::exchange(other.handle_, nullptr)}, functions_{other.functions_} {}
  Plugin& operator=(Plugin&&) = delete;
  ~Plugin() {
    if (handle_ != nullptr) unload(handle_);
  }
  const PluginFunctions* operator->() const noexcept { return functions_; }

 private:
  void* handle_;
  const PluginFunctions* functions_ = nullptr;
};

/// @brief Where the build puts the plug-ins: beside the test programs.
inline std::string plugin_path(const std::string& name) {
  auto folder = std::filesystem::path{multiprocessing::os::executable_path()}.parent_path();
  if (folder.filename() != "plugin") folder /= "plugin";
  return (folder / (name + ".so")).string();
}

/// @brief Removes the file of a module that may stay loaded. Windows forbids that, so there it goes
/// to the folder above, where all is removed at the end.
inline void remove_file(const std::filesystem::path& path) {
#if MULTIPROCESSING_WINDOWS
  std::error_code ec;
  std::filesystem::remove(path, ec);
  static int number = 0;
  if (ec) {
    std::filesystem::rename(path, path.parent_path().parent_path() /
                                      (path.filename().string() + "." +
                                       std::to_string(multiprocessing::os::process_id()) + "." +
                                       std::to_string(number++)));
  }
#else
  std::filesystem::remove(path);
#endif
}

}  // namespace test
