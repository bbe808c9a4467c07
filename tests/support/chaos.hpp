// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file chaos.hpp
/// @brief Processes that are killed, and what they leave to be looked at.
#include <multiprocessing/process.hpp>
#include <multiprocessing/timeout.hpp>

#include <support/asleep.hpp>
#include <support/processes.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include <sys/mman.h>
#include <sys/prctl.h>

namespace test {

/// @brief Plain memory that all forked processes share, for what the test itself writes down.
template <class T>
class Shared {
 public:
  Shared()
      : object_{new (::mmap(
            nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) T{}} {}
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { ::munmap(object_, sizeof(T)); }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }

 private:
  T* object_;
};

using Process = std::unique_ptr<multiprocessing::Process<>>;

template <class Work>
Process started(Work work) {
  auto process = std::make_unique<multiprocessing::Process<>>([work = std::move(work)]() mutable {
    ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);  // its siblings may look whether it sleeps
    work();
  });
  process->start();
  return process;
}
inline int code_of(const Process& process) {
  process->join();
  return process->exitcode().value();
}
/// @brief Asked when its first thread comes to sleep last.
inline bool sleeps_or_has_ended(const Process& process) {
  const int pid = process->pid().value();
  if (!process->is_alive()) return true;
  if (!sleeps_in_futex(pid)) return false;
  return std::ranges::all_of(names_in("/proc/" + std::to_string(pid) + "/task"),
                             [](const auto& id) { return sleeps_in_futex(std::stoi(id)); });
}

/// @brief How many random kills a test makes: `few`, or as many as MULTIPROCESSING_TEST_KILLS says.
inline int kills(int few) {
  const char* const many = std::getenv("MULTIPROCESSING_TEST_KILLS");
  return many == nullptr ? few : std::atoi(many);
}

/// @brief When a test has killed at random for long enough: after 20 s, for where there are more
/// processes than processors, each kill takes long; never where MULTIPROCESSING_TEST_KILLS says how
/// often.
inline multiprocessing::detail::Deadline enough_killing() {
  if (std::getenv("MULTIPROCESSING_TEST_KILLS") != nullptr)
    return multiprocessing::detail::Deadline{multiprocessing::forever};
  return multiprocessing::detail::Deadline{std::chrono::seconds{20}};
}

}  // namespace test
