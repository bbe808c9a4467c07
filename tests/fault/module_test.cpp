// SPDX-License-Identifier: BSL-1.0
// What os/module does where /proc is missing and the loader refuses.
// Not on Windows: system calls of POSIX that fail
#include <gtest/gtest.h>

#include <cerrno>
#include <cstddef>
#include <string>

#include <dlfcn.h>
#include <unistd.h>

namespace fault {

bool no_proc = false;
std::size_t folder_needs = 0;

ssize_t readlink(const char* path, char* into, std::size_t size) {
  if (no_proc) {
    errno = ENOENT;
    return -1;
  }
  return ::readlink(path, into, size);
}
char* getcwd(char* into, std::size_t size) {
  if (size < folder_needs) {
    errno = ERANGE;
    return nullptr;
  }
  return ::getcwd(into, size);
}
void* dlopen(const char*, int) {
  return nullptr;
}

}  // namespace fault

#define MULTIPROCESSING_SYSTEM(call) fault::call
#include <multiprocessing/os/module.hpp>

namespace os = multiprocessing::os;

namespace {

void function() {}

}  // namespace

TEST(ExecutablePath, IsFoundWithoutProc) {
  const std::string path = os::executable_path();
  ASSERT_TRUE(path.starts_with('/'));
  fault::no_proc = true;
  const std::string without = os::executable_path();
  fault::no_proc = false;
  ASSERT_TRUE(without.starts_with('/')) << without;
  EXPECT_EQ(without.substr(without.rfind('/')), path.substr(path.rfind('/')));
}

TEST(ModuleOf, WorksWithoutProc) {
  fault::no_proc = true;
  const auto module = os::module_of(reinterpret_cast<std::uintptr_t>(&function));
  fault::no_proc = false;
  ASSERT_TRUE(module);
  EXPECT_TRUE(module->path.starts_with('/'));
  EXPECT_TRUE(os::find_module(module->id, module->path));
}

TEST(ElfAbsolute, TakesFoldersOfAnyLength) {
  fault::folder_needs = 5000;
  const std::string path = os::elf::absolute("name");
  fault::folder_needs = 0;
  EXPECT_EQ(path, os::elf::absolute("name"));
  EXPECT_TRUE(path.starts_with('/') && path.ends_with("/name")) << path;
  EXPECT_EQ(os::elf::absolute("/name"), "/name");
}

TEST(OpenModule, SaysThatTheLoaderRefused) {
  std::string why;
  EXPECT_FALSE(os::open_module("/some/module.so", {std::byte{'B'}}, why));
  EXPECT_FALSE(why.empty());
}

TEST(KeepLoaded, SaysThatTheLoaderRefused) {
  EXPECT_FALSE(os::keep_loaded(reinterpret_cast<std::uintptr_t>(&::getppid)));
  EXPECT_TRUE(os::keep_loaded(reinterpret_cast<std::uintptr_t>(&function)));
}
