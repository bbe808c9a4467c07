// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file elsewhere.hpp
/// @brief Measurements in a process of their own, which nothing else has changed: no fork handlers,
/// no memory of others.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace benchmark {

/// A process that measures when it is asked to. The one that was made last goes first: it holds
/// copies of the others' pipes.
class Elsewhere {
 public:
  /// Runs `measure` in a copy of this process.
  explicit Elsewhere(const std::function<double()>& measure) {
    const Pipes pipes;
    std::fflush(stdout);
    process_ = fork();
    if (process_ != 0) {
      hold(pipes);
      return;
    }
    close(pipes.to[1]);
    for (char asked = 0; read(pipes.to[0], &asked, 1) == 1;) {
      dprintf(pipes.from[1], "%.9g\n", measure());
    }
    std::exit(0);
  }

  /// Runs a program that writes a number for every line that it reads.
  explicit Elsewhere(std::vector<std::string> command) {
    const Pipes pipes;
    std::vector<char*> arguments;
    for (std::string& argument : command) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes.to[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipes.from[1], STDOUT_FILENO);
    if (posix_spawnp(&process_, arguments[0], &actions, nullptr, arguments.data(), environ) != 0) {
      process_ = -1;
    }
    posix_spawn_file_actions_destroy(&actions);
    hold(pipes);
  }

  Elsewhere(const Elsewhere&) = delete;
  Elsewhere& operator=(const Elsewhere&) = delete;
  ~Elsewhere() {
    close(ask_);
    close(answer_);
    if (process_ > 0) waitpid(process_, nullptr, 0);
  }

  /// None: there is no such process.
  std::optional<double> ask() const {
    std::string text;
    char byte = '\n';
    if (process_ < 0 || write(ask_, &byte, 1) != 1) return {};
    while (read(answer_, &byte, 1) == 1 && byte != '\n') text += byte;
    if (text.empty()) return {};
    return std::strtod(text.c_str(), nullptr);
  }
  double operator()() const {
    const auto answer = ask();
    if (!answer) std::abort();
    return *answer;
  }

 private:
  struct Pipes {
    Pipes() {
      if (pipe2(to.data(), O_CLOEXEC) != 0 || pipe2(from.data(), O_CLOEXEC) != 0) std::abort();
    }
    std::array<int, 2> to{};
    std::array<int, 2> from{};
  };

  void hold(const Pipes& pipes) {
    ask_ = pipes.to[1];
    answer_ = pipes.from[0];
    close(pipes.to[0]);
    close(pipes.from[1]);
  }

  pid_t process_ = 0;
  int ask_ = -1;
  int answer_ = -1;
};

}  // namespace benchmark
