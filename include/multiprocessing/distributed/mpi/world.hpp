// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file world.hpp
/// @brief This process's MPI: begun once, used by one thread at a time, ended at the exit.
#include <multiprocessing/distributed/fleet.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/os/environment.hpp>
#include <multiprocessing/os/process_wide.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <mpi.h>

namespace multiprocessing::detail::mpi {

/// @brief Set in agents and all that they start: their descendants are none.
inline constexpr const char* agent_variable = "MULTIPROCESSING_AGENT";
/// @brief The number of the process that is rank 0.
inline constexpr const char* master_variable = "MULTIPROCESSING_MASTER";

/// @brief What the launcher's environment says, before MPI is begun.
struct Job {
  int rank = -1;  ///< -1: no launcher started this process.
  int size = 1;

  static Job ours() {
    Job job;
    // What a task, or rank 0, has started inherits the launcher's words, which are not meant for
    // it.
    if (os::environment(agent_variable)) return job;
    const auto master = os::environment(master_variable);
    if (master && *master != std::to_string(os::process_id())) return job;
    const auto number = [](const char* name, int& into) {
      const auto text = os::environment(name);
      if (text && !text->empty()) into = std::atoi(text->c_str());
      return text.has_value();
    };
    for (const char* const name : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"}) {
      if (number(name, job.rank)) break;
    }
    for (const char* const name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}) {
      if (number(name, job.size)) break;
    }
    return job;
  }
};

/// @throws std::runtime_error `code` is an error; in MPI's words.
inline void check(int code, const char* what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw std::runtime_error{std::string{what} + ": " + text};
}

/// @brief The one of this process.
///
/// MPI is asked for MPI_THREAD_SERIALIZED: whoever calls it holds `mutex`. A thread of its own says
/// every 300 ms to each peer that we live, whatever the others do: a callback of the program's, a
/// pool that takes its time to end.
class World {
 public:
  /// @brief Begun at the first call. @throws std::runtime_error it cannot be.
  static World& get() {
    static World& one = *new World;  // the exit handler uses it
    if (one.process_ != os::process_id()) {
      throw std::logic_error{
          "MPI belongs to the process that has begun it, and this one was forked from it: make "
          "distributed pools there"};
    }
    return one;
  }

  std::mutex mutex;
  [[nodiscard]] int rank() const noexcept { return rank_; }
  [[nodiscard]] int size() const noexcept { return size_; }
  /// @brief For one pool's messages; the mutex is held.
  [[nodiscard]] int next_tag() noexcept {
    constexpr int most = 32767;  // what MPI has at least
    tag_ = tag_ % most + 1;
    return tag_;
  }

  /// @brief Calls `beat` every 300 ms, with the mutex held, until remove_pulse(). @returns its
  /// number.
  std::uint64_t add_pulse(std::function<void()> beat) {
    const std::lock_guard lock{mutex};
    pulses_.push_back({++last_pulse_, std::move(beat)});
    return last_pulse_;
  }
  void remove_pulse(std::uint64_t number) noexcept {
    const std::lock_guard lock{mutex};
    std::erase_if(pulses_, [number](const Pulse& each) { return each.number == number; });
  }
  /// @brief The mutex is held.
  void beat_now() {
    for (const Pulse& each : pulses_) each.beat();
  }
  /// @brief What the exit does before MPI is ended: of the master's.
  void at_end(std::function<void()> action) { at_end_ = std::move(action); }
  /// @brief Peers died with whom MPI would wait for each other at its end: then it is left alone.
  void is_damaged() noexcept { is_damaged_.store(true); }

  /// @brief Ends MPI, if we began it. No other thread uses it any more.
  void finalize() noexcept {
    {
      const std::lock_guard lock{mutex};
      ends_ = true;
      bell_.notify_all();
    }
    if (heart_.joinable()) heart_.join();
    if (std::exchange(owns_, false) && !is_damaged_.load()) MPI_Finalize();
  }

 private:
  struct Pulse {
    std::uint64_t number = 0;
    std::function<void()> beat;
  };

  World() {
    int is_begun = 0;
    MPI_Initialized(&is_begun);
    int provided = MPI_THREAD_SINGLE;
    if (is_begun != 0) {
      MPI_Query_thread(&provided);
    } else {
      // Before MPI's own exit handlers, if it has any, so that ours runs while it is there.
      check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided),
            "MPI cannot be begun");
      owns_ = true;
    }
    if (provided < MPI_THREAD_SERIALIZED) {
      throw std::runtime_error{
          "a distributed pool uses MPI in a thread of its own: call MPI_Init_thread() with "
          "MPI_THREAD_SERIALIZED or more, or leave beginning it to this library"};
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    if (std::atexit([] { end(); }) != 0) throw std::bad_alloc{};
    begun_in().store(process_);
    heart_ = std::thread{[this] { beat(); }};
  }

  static std::atomic<int>& begun_in() noexcept {
    static std::atomic<int> process{0};
    return process;
  }
  static void end() noexcept {
    if (os::process_id() != begun_in().load()) return;
    World& world = get();
    Fleet::finish_living();
    if (world.at_end_) world.at_end_();
    world.finalize();
  }

  void beat() {
    constexpr std::chrono::milliseconds often{300};
    std::unique_lock lock{mutex};
    while (!ends_) {
      beat_now();
      bell_.wait_for(lock, often);
    }
  }

  const int process_ = os::process_id();
  int rank_ = 0;
  int size_ = 1;
  int tag_ = 0;
  bool owns_ = false;
  std::atomic<bool> is_damaged_{false};
  bool ends_ = false;
  std::uint64_t last_pulse_ = 0;
  std::vector<Pulse> pulses_;
  std::function<void()> at_end_;
  std::condition_variable bell_;
  std::thread heart_;
};

}  // namespace multiprocessing::detail::mpi
