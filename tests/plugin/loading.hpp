// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file loading.hpp
/// @brief How a program loads a plug-in, on either system. Knows nothing of the library.
#include <filesystem>
#include <string>

#if defined(_WIN32)
#  include <support/windows/system.hpp>
#else
#  include <dlfcn.h>
#endif

namespace test {

#if defined(_WIN32)
/// @brief Null: it cannot be loaded.
inline void* load(const std::filesystem::path& path) {
  auto whole = path;
  return reinterpret_cast<void*>(::LoadLibraryW(whole.make_preferred().c_str()));
}
inline void unload(void* plugin) {
  ::FreeLibrary(static_cast<HMODULE>(plugin));
}
inline void* symbol(void* plugin, const char* name) {
  return reinterpret_cast<void*>(::GetProcAddress(static_cast<HMODULE>(plugin), name));
}
inline std::string loading_error() {
  return "error " + std::to_string(::GetLastError());
}
inline bool is_loaded(const std::filesystem::path& path) {
  auto whole = path;
  return ::GetModuleHandleW(whole.make_preferred().c_str()) != nullptr;
}
#else
/// @brief Null: it cannot be loaded.
inline void* load(const std::filesystem::path& path) {
  return ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
}
inline void unload(void* plugin) {
  ::dlclose(plugin);
}
inline void* symbol(void* plugin, const char* name) {
  return ::dlsym(plugin, name);
}
inline std::string loading_error() {
  return ::dlerror();
}
inline bool is_loaded(const std::filesystem::path& path) {
  void* const handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (handle != nullptr) ::dlclose(handle);
  return handle != nullptr;
}
#endif

}  // namespace test
