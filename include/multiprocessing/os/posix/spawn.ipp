// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/environment.hpp>
#include <multiprocessing/os/posix/passing_memory.ipp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/spawn.hpp>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace multiprocessing::os {

namespace posix {

inline constexpr const char* child_variable = "MULTIPROCESSING_CHILD";
inline constexpr int first_handle = STDERR_FILENO + 1;

// The descriptors of a process that is to be, as posix_spawn makes them.
class SpawnActions {
 public:
  SpawnActions() noexcept { note(posix_spawn_file_actions_init(&actions_)); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  ~SpawnActions() { posix_spawn_file_actions_destroy(&actions_); }

  // Number `to` will be what `from` is here. Whoever lies where others go steps aside first.
  void pass(int from, int to, int numbers_end) {
    if (from < 0) return note(EBADF);
    if (from >= first_handle && from < numbers_end && from != to) {
      int error = 0;
      const int aside = moved_.add_one([&] {
        UniqueHandle made{MULTIPROCESSING_SYSTEM(fcntl)(from, F_DUPFD_CLOEXEC, numbers_end)};
        if (!made) error = errno == EINVAL ? EMFILE : errno;
        return made;
      });
      if (error != 0) return note(error);
      from = aside;
    }
    const int error = posix_spawn_file_actions_adddup2(&actions_, from, to);
    note(error == EBADF ? EMFILE : error);  // a number beyond RLIMIT_NOFILE
  }
  // Number `to` will be empty, and keep nothing.
  void lead_nowhere(int to, int how, int numbers_end) {
    std::error_code ec;
    const int nowhere = moved_.add_one([&] { return open_nowhere(how, ec); });
    if (ec) return note(ec.value());
    pass(nowhere, to, numbers_end);
  }
  void close_from(int number) noexcept {
    note(posix_spawn_file_actions_addclosefrom_np(&actions_, number));
  }
  [[nodiscard]] int error() const noexcept { return error_; }
  [[nodiscard]] const posix_spawn_file_actions_t* get() const noexcept { return &actions_; }

 private:
  void note(int error) noexcept {
    if (error_ == 0) error_ = error;
  }

  posix_spawn_file_actions_t actions_{};
  PassingHandles moved_;
  int error_ = 0;
};

// The signal mask of a process that is to be: nothing is blocked, or all. What is ignored stays so.
class SpawnAttributes {
 public:
  explicit SpawnAttributes(bool block_all = false) noexcept
      : error_{posix_spawnattr_init(&attributes_)} {
    if (error_ != 0) return;
    sigset_t mask;
    if (block_all) {
      sigfillset(&mask);
    } else {
      sigemptyset(&mask);
    }
    posix_spawnattr_setsigmask(&attributes_, &mask);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK);
  }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  ~SpawnAttributes() {
    if (error_ == 0) posix_spawnattr_destroy(&attributes_);
  }

  [[nodiscard]] int error() const noexcept { return error_; }
  [[nodiscard]] const posix_spawnattr_t* get() const noexcept { return &attributes_; }

 private:
  posix_spawnattr_t attributes_{};
  int error_;
};

// Our environment with that variable in it, whatever it was here.
MULTIPROCESSING_INLINE std::vector<char*> environment_with(std::string& variable) {
  std::vector<char*> environment;
  const std::string_view name{variable.data(), variable.find('=') + 1};
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    if (!std::string_view{*entry}.starts_with(name)) environment.push_back(*entry);
  }
  environment.push_back(variable.data());
  environment.push_back(nullptr);
  return environment;
}

MULTIPROCESSING_INLINE int number_of_handles(const char* text) noexcept {
  int number = 0;
  const char* const end = text + std::strlen(text);
  const auto parsed = std::from_chars(text, end, number);
  return parsed.ec == std::errc{} && parsed.ptr == end ? number : -1;
}

// In a spawned process before main(), so that what its static objects start neither takes itself
// for a child nor holds what this one was given. Its calls are the system's, for what a test puts
// in their place may not be there yet.
__attribute__((constructor(101), used)) inline void note_birth() {
  const char* const variable = ::secure_getenv(child_variable);
  if (variable == nullptr) return;
  const int count = number_of_handles(variable);
  const int seals = ::fcntl(first_handle, F_GET_SEALS);
  if (count < 0 || seals < 0 || (seals & whole_seal) != whole_seal) return;  // somebody else set it
  for (int number = first_handle; number <= first_handle + count; ++number) {
    if (::fcntl(number, F_SETFD, FD_CLOEXEC) != 0) return;
  }
  multiprocessing::detail::ProcessState& state = multiprocessing::detail::process_state();
  const std::lock_guard lock{state.mutex};
  state.handles_at_birth = count;
  ::unsetenv(child_variable);
}

}  // namespace posix

MULTIPROCESSING_INLINE Started spawn_program(const std::string& program,
                                             const std::string& path,
                                             std::span<const std::byte> state,
                                             std::span<const native_handle_type> handles,
                                             std::error_code& ec) {
  if (has_foreign_rights()) {
    ec = std::make_error_code(std::errc::operation_not_permitted);
    return {};
  }
  PassingHandles passing;
  const int state_handle = posix::add_sealed_copy(passing, state, ec);
  if (ec) return {};
  const int numbers_end = posix::first_handle + 1 + static_cast<int>(handles.size());
  posix::SpawnActions actions;
  int number = posix::first_handle;
  actions.pass(state_handle, number++, numbers_end);
  for (const int handle : handles) actions.pass(handle, number++, numbers_end);
  actions.lead_nowhere(STDIN_FILENO, O_RDONLY, numbers_end);
  actions.close_from(numbers_end);
  const posix::SpawnAttributes attributes;

  std::string variable = posix::child_variable + ("=" + std::to_string(handles.size()));
  const auto environment = posix::environment_with(variable);
  std::string shown = program.empty() ? path : program;
  std::string what = "--multiprocessing-child";
  char* const arguments[] = {shown.data(), what.data(), nullptr};
  const auto spawn = [&](const char* file, pid_t& pid) {
    return MULTIPROCESSING_SYSTEM(posix_spawn)(&pid, file, actions.get(), attributes.get(),
                                               arguments, environment.data());
  };
  pid_t pid = 0;
  int error = actions.error() != 0 ? actions.error() : attributes.error();
  if (error == 0) error = spawn(program.empty() ? "/proc/self/exe" : program.c_str(), pid);
  if (error == ENOENT && program.empty() && !path.empty()) error = spawn(path.c_str(), pid);
  ec.assign(error, std::system_category());
  return {error == 0 ? pid : 0, {}, {}};
}

MULTIPROCESSING_INLINE bool is_spawned() noexcept {
  multiprocessing::detail::ProcessState& state = multiprocessing::detail::process_state();
  const std::lock_guard lock{state.mutex};
  return state.handles_at_birth >= 0 ||
         (!has_foreign_rights() && std::getenv(posix::child_variable) != nullptr);
}

MULTIPROCESSING_INLINE Spawned take_spawned(std::error_code& ec) {
  ec = std::make_error_code(std::errc::invalid_argument);
  posix::note_birth();
  MULTIPROCESSING_SYSTEM(unsetenv)(posix::child_variable);
  int count = -1;
  {
    multiprocessing::detail::ProcessState& known = multiprocessing::detail::process_state();
    const std::lock_guard lock{known.mutex};
    count = std::exchange(known.handles_at_birth, -1);
  }
  if (count < 0 || !posix::is_whole(posix::first_handle)) return {};

  const UniqueHandle state{posix::first_handle};
  Spawned spawned;
  for (int number = state.get() + 1; number <= state.get() + count; ++number) {
    spawned.handles.emplace_back(number);
  }
  spawned.state = posix::read_sealed(state.get(), ec);
  if (!ec) return spawned;
  ec = std::make_error_code(std::errc::invalid_argument);
  return {};
}

MULTIPROCESSING_INLINE void show_as(const std::string& path) noexcept {
  const auto slash = path.rfind('/');
  const char* const name = path.c_str() + (slash == std::string::npos ? 0 : slash + 1);
  MULTIPROCESSING_SYSTEM(prctl)(PR_SET_NAME, name);
}

}  // namespace multiprocessing::os
