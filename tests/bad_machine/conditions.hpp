// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file conditions.hpp
/// @brief Machines that lack something: each condition is made in a process that is about to
/// become another program, and holds for that one and its children alone.
#include <array>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace bad_machine {

/// @brief Makes one condition. @returns why it cannot be made here; empty: it is.
using Make = std::string (*)();

struct Condition {
  const char* name;  ///< As in the table of docs/platforms.md.
  const char* word;  ///< In the test's name.
  Make make;
};

namespace detail {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool is_sanitized = true;
#else
inline constexpr bool is_sanitized = false;
#endif

inline std::string refused(const std::string& what) {
  return what + ": " + std::strerror(errno);
}

inline void write_to(const char* path, const std::string& text) {
  const int file = ::open(path, O_WRONLY | O_CLOEXEC);
  static_cast<void>(::write(file, text.data(), text.size()) < 0);
  ::close(file);
}

/// @brief What is mounted from now on nobody else sees. A user who may not, may in a world of his
/// own, where he is himself.
inline std::string own_mounts() {
  if (::unshare(CLONE_NEWNS) != 0) {
    const std::string user = std::to_string(::geteuid());
    const std::string group = std::to_string(::getegid());
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return refused("no mounts of its own");
    write_to("/proc/self/setgroups", "deny");
    write_to("/proc/self/uid_map", user + " " + user + " 1");
    write_to("/proc/self/gid_map", group + " " + group + " 1");
  }
  return ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0
             ? ""
             : refused("mounts cannot be made private");
}

inline std::string no_shared_memory_folder() {
  constexpr std::array devices{"null", "zero", "full", "random", "urandom"};
  if (auto why = own_mounts(); !why.empty()) return why;
  std::array<int, devices.size()> files{};
  for (std::size_t i = 0; i < devices.size(); ++i) {
    files[i] = ::open((std::string{"/dev/"} + devices[i]).c_str(), O_PATH | O_CLOEXEC);
  }
  if (::mount("none", "/dev", "tmpfs", 0, "mode=755") != 0) return refused("mount on /dev");
  for (std::size_t i = 0; i < devices.size(); ++i) {
    const std::string path = std::string{"/dev/"} + devices[i];
    ::close(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0666));
    const std::string from = "/proc/self/fd/" + std::to_string(files[i]);
    if (::mount(from.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) != 0) return refused(path);
  }
  return "";
}

inline std::string no_devices() {
  if (auto why = own_mounts(); !why.empty()) return why;
  return ::mount("none", "/dev", "tmpfs", 0, "mode=755") == 0 ? "" : refused("mount on /dev");
}

inline std::string full_shared_memory_folder() {
  if (auto why = own_mounts(); !why.empty()) return why;
  if (::mount("none", "/dev/shm", "tmpfs", 0, "size=64k,mode=1777") != 0) {
    return refused("mount on /dev/shm");
  }
  const int file = ::open("/dev/shm/filler", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  const std::array<char, 4096> page{};
  while (::write(file, page.data(), page.size()) > 0) {
  }
  const bool is_full = errno == ENOSPC;
  ::close(file);
  return is_full ? "" : refused("/dev/shm does not get full");
}

inline std::string read_only() {
  if (auto why = own_mounts(); !why.empty()) return why;
  struct {
    std::uint64_t set, clear, propagation, user;
  } const attributes{MS_RDONLY, 0, 0, 0};
  constexpr unsigned recursive = 0x8000;      // AT_RECURSIVE
  constexpr long mount_setattr_number = 442;  // the same on every processor
  return ::syscall(mount_setattr_number, AT_FDCWD, "/", recursive, &attributes,
                   sizeof attributes) == 0
             ? ""
             : refused("mount_setattr");
}

inline std::string no_proc() {
  if (is_sanitized) return "the sanitizers need /proc themselves";
  if (auto why = own_mounts(); !why.empty()) return why;
  return ::mount("none", "/proc", "tmpfs", 0, nullptr) == 0 ? "" : refused("mount on /proc");
}

inline std::string limit(int what, rlim_t most) {
  const rlimit both{most, most};
  return ::prlimit(0, static_cast<__rlimit_resource>(what), &both, nullptr) == 0
             ? ""
             : refused("setrlimit");
}

inline std::string few_descriptors() {
  return limit(RLIMIT_NOFILE, 32);
}

/// @brief A user who has no other process, for the limit counts all of a user's; and whom it binds.
inline std::string few_processes(rlim_t most) {
  constexpr uid_t nobodys = 1'000'000;
  if (is_sanitized) return "the sanitizers start threads of their own, which count";
  if (::geteuid() != 0) return "only root can become a user without other processes";
  const uid_t user = nobodys + static_cast<uid_t>(::getpid());
  if (::setgroups(0, nullptr) != 0 || ::setresgid(user, user, user) != 0 ||
      ::setresuid(user, user, user) != 0) {
    return refused("cannot become another user");
  }
  if (::access("/proc/self/exe", X_OK) != 0)
    return refused("another user may not run this program");
  return limit(RLIMIT_NPROC, most);
}

}  // namespace detail

inline const std::array conditions{
    Condition{"no `/dev/shm`", "NoSharedMemoryFolder", detail::no_shared_memory_folder},
    Condition{"an empty `/dev`", "EmptyDev", detail::no_devices},
    Condition{"a full `/dev/shm`", "FullSharedMemoryFolder", detail::full_shared_memory_folder},
    Condition{"32 descriptors (`RLIMIT_NOFILE`)", "FewDescriptors", detail::few_descriptors},
    Condition{"8 processes (`RLIMIT_NPROC`)", "FewProcesses",
              [] { return detail::few_processes(8); }},
    Condition{"no process more (`RLIMIT_NPROC`)", "NoProcessMore",
              [] { return detail::few_processes(1); }},
    Condition{"a read-only file system", "ReadOnly", detail::read_only},
    Condition{"no `/proc`", "NoProc", detail::no_proc},
};

}  // namespace bad_machine
