// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/environment.hpp>
#include <multiprocessing/os/module.hpp>
#include <multiprocessing/os/posix/elf.ipp>
#include <multiprocessing/os/posix/named_memory.ipp>
#include <multiprocessing/os/posix/spawn.ipp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/streams.hpp>
#include <multiprocessing/os/tracker.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace multiprocessing::os {

namespace posix {

inline constexpr const char* tracker_variable = "MULTIPROCESSING_TRACKER";

struct TrackerMessage {
  std::uint64_t comes = 0;
  MemoryIdentity identity;
  std::array<char, 4096> name{};

  static constexpr std::size_t before_name = sizeof comes + sizeof identity;
};
static_assert(sizeof(TrackerMessage) == TrackerMessage::before_name + 4096);

// Whether the socket's file at that path is a dead one's.
MULTIPROCESSING_INLINE bool nobody_listens(const std::string& path) noexcept {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  path.copy(address.sun_path, path.size());
  const UniqueHandle socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  return socket &&
         ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
             0 &&
         errno == ECONNREFUSED;
}

MULTIPROCESSING_INLINE void remove_tracked(const std::vector<TrackedName>& left,
                                           const char* whose) {
  std::string names;
  std::string sockets;
  std::size_t count = 0;
  for (const TrackedName& one : left) {
    std::error_code ec;
    if (one.name.starts_with('/')) {
      remove_socket_file(one.name, one.identity, ec);
      if (!ec) sockets += (sockets.empty() ? " " : ", ") + one.name;
      continue;
    }
    remove_named_memory(one.name, one.identity, ec);
    if (ec) continue;  // somebody else has
    names += (count++ == 0 ? " " : ", ") + one.name;
  }
  if (!sockets.empty()) {
    write_error_line("multiprocessing: process " + std::string{whose} +
                     " has ended and left sockets, whose files are removed:" + sockets + "\n");
  }
  if (count == 0) return;
  write_error_line("multiprocessing: process " + std::string{whose} + " has ended and left " +
                   std::to_string(count) + " shared memory segment" + (count == 1 ? "" : "s") +
                   ", which are removed:" + names + "\n");
}

MULTIPROCESSING_INLINE void serve_as_tracker(int from, const char* whose) {
  std::vector<TrackedName> names;
  for (;;) {
    TrackerMessage message;
    const auto size = ::recv(from, &message, sizeof message, 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    if (size <= static_cast<ssize_t>(TrackerMessage::before_name)) continue;
    message.name.back() = '\0';
    TrackedName one{message.name.data(), message.identity};
    if (message.comes != 0) {
      names.push_back(std::move(one));
    } else {
      std::erase(names, one);
    }
  }
  remove_tracked(names, whose);
}

// Before main(): such a process is nothing else. Its calls are the system's, for what a test puts
// in their place may not be there yet.
__attribute__((constructor(101), used)) inline void become_tracker_if_asked() {
  const char* const whose = ::secure_getenv(tracker_variable);
  if (whose == nullptr) return;
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(first_handle, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
      type != SOCK_SEQPACKET) {
    return;  // somebody else set the variable
  }
  if (const pid_t pid = ::fork(); pid != 0) ::_exit(pid < 0 ? 1 : 0);  // nobody's child goes on
  ::setsid();
  static_cast<void>(::chdir("/") != 0);  // it holds no file system, if it may go there
  ::prctl(PR_SET_NAME, "mp-tracker");
  serve_as_tracker(first_handle, whose);
  ::_exit(0);
}

// Whether the program's own file has that function, so that running it anew leads there.
MULTIPROCESSING_INLINE bool is_in_program(std::uintptr_t address) {
  bool found = false;
  elf::each_image([&](const dl_phdr_info& image) {
    for (const ElfW(Phdr) & header : elf::headers_of(image)) {
      found = found || (header.p_type == PT_LOAD &&
                        address - (image.dlpi_addr + header.p_vaddr) < header.p_memsz);
    }
    return true;  // the first is the program
  });
  return found;
}

}  // namespace posix

MULTIPROCESSING_INLINE bool needs_tracker() noexcept {
  return true;
}

MULTIPROCESSING_INLINE UniqueHandle start_tracker(std::error_code& ec) {
  if (!posix::is_in_program(reinterpret_cast<std::uintptr_t>(&posix::become_tracker_if_asked))) {
    ec = std::make_error_code(std::errc::function_not_supported);
    return {};
  }
  if (has_foreign_rights()) {
    ec = std::make_error_code(std::errc::operation_not_permitted);
    return {};
  }
  std::array<int, 2> ends{};
  if (MULTIPROCESSING_SYSTEM(socketpair)(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) !=
      0) {
    posix::assign_errno(ec);
    return {};
  }
  UniqueHandle second{ends[1]};
  UniqueHandle ours = posix::above_streams(ends[0], ec);
  if (ec) return {};
  posix::SpawnActions actions;
  actions.pass(second.get(), posix::first_handle, posix::first_handle + 1);
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO}) {
    actions.lead_nowhere(stream, O_RDWR, posix::first_handle + 1);
  }
  actions.close_from(posix::first_handle + 1);
  const posix::SpawnAttributes attributes{true};
  std::string variable =
      posix::tracker_variable + ("=" + std::to_string(MULTIPROCESSING_SYSTEM(getpid)()));
  const auto environment = posix::environment_with(variable);
  std::string shown = "multiprocessing-tracker";
  char* const arguments[] = {shown.data(), nullptr};
  pid_t pid = 0;
  int error = actions.error() != 0 ? actions.error() : attributes.error();
  const auto spawn = [&](const char* file) {
    return MULTIPROCESSING_SYSTEM(posix_spawn)(&pid, file, actions.get(), attributes.get(),
                                               arguments, environment.data());
  };
  if (error == 0) error = spawn("/proc/self/exe");
  if (error == ENOENT) {  // no /proc
    const std::string& known = multiprocessing::detail::process_state().program;
    error = spawn((known.empty() ? executable_path() : known).c_str());
  }
  ec.assign(error, std::system_category());
  if (ec) return {};
  int status = 0;
  while (MULTIPROCESSING_SYSTEM(waitpid)(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (status == 0) return ours;  // also where the program has let the system forget its children
  ec = std::make_error_code(std::errc::resource_unavailable_try_again);
  return {};
}

MULTIPROCESSING_INLINE void remove_socket_file(const std::string& path,
                                               const MemoryIdentity& identity,
                                               std::error_code& ec) noexcept {
  struct stat status {};
  ec = std::make_error_code(std::errc::no_such_file_or_directory);
  if (MULTIPROCESSING_SYSTEM(lstat)(path.c_str(), &status) != 0) return posix::assign_errno(ec);
  if (!S_ISSOCK(status.st_mode)) return;
  if (identity == unknown_file) {
    ec = std::make_error_code(std::errc::address_in_use);
    if (!posix::nobody_listens(path)) return;
  } else if (posix::identity_of(status) != identity) {
    return;
  }
  ec.clear();
  if (MULTIPROCESSING_SYSTEM(unlink)(path.c_str()) != 0) posix::assign_errno(ec);
}

MULTIPROCESSING_INLINE void tell_tracker(native_handle_type tracker,
                                         bool comes,
                                         const TrackedName& name,
                                         std::error_code& ec) noexcept {
  posix::TrackerMessage message;
  message.comes = comes ? 1 : 0;
  message.identity = name.identity;
  const std::size_t length = name.name.copy(message.name.data(), message.name.size() - 1);
  const std::size_t size = posix::TrackerMessage::before_name + length + 1;
  const auto try_send = [&] {
    ssize_t sent = 0;
    do {
      sent = MULTIPROCESSING_SYSTEM(send)(tracker, &message, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    return sent >= 0;
  };
  ec.clear();
  if (try_send()) return;
  constexpr int milliseconds = 1000;
  pollfd room{tracker, POLLOUT, 0};
  if (errno == EAGAIN && MULTIPROCESSING_SYSTEM(poll)(&room, 1, milliseconds) > 0 && try_send()) {
    return;
  }
  posix::assign_errno(ec);
  if (!ec) ec = std::make_error_code(std::errc::resource_unavailable_try_again);
}

}  // namespace multiprocessing::os
