// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file gearmand.hpp
/// @brief A Gearman server of the test's own, on a free port of the loopback.
#include <multiprocessing/network/address.hpp>
#include <multiprocessing/os/socket.hpp>

#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace test {

/// @brief Where gearmand is, or nothing.
inline std::string gearmand_path() {
  for (const char* const path :
       {"/usr/sbin/gearmand", "/usr/bin/gearmand", "/usr/local/sbin/gearmand"}) {
    if (::access(path, X_OK) == 0) return path;
  }
  return {};
}

/// @brief Runs gearmand until the end of the test.
class Gearmand {
 public:
  /// @param more of its options.
  /// @param listens_at the address of one of this machine's networks, or all of them.
  explicit Gearmand(std::vector<std::string> more = {}, std::string listens_at = "127.0.0.1")
      : more_{std::move(more)}, listens_at_{std::move(listens_at)} {
    port_ = free_port();
    start();
  }
  Gearmand(const Gearmand&) = delete;
  Gearmand& operator=(const Gearmand&) = delete;
  ~Gearmand() {
    kill();
    std::error_code ec;
    std::filesystem::remove(pid_file(), ec);
  }

  /// @brief What an executor and an agent are told.
  [[nodiscard]] std::string server() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] multiprocessing::Address address() const { return {"127.0.0.1", port_}; }
  [[nodiscard]] std::string port() const { return std::to_string(port_); }
  [[nodiscard]] pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }

  /// @brief At once, and reaps it.
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
  }
  /// @brief Again, on the same port; returns when it listens.
  void start() {
    std::vector<std::string> words{
        gearmand_path(), "--listen", listens_at_,  "--port", std::to_string(port_),
        "--threads",     "1",        "--log-file", "none",   "--pid-file",
        pid_file()};
    if (::geteuid() == 0) words.insert(words.end(), {"--user", "root"});
    words.insert(words.end(), more_.begin(), more_.end());
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ < 0) throw std::system_error{errno, std::system_category(), "gearmand"};
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that is killed leaves no server
      const int nowhere = ::open("/dev/null", O_RDWR);
      for (const int stream : {0, 1, 2}) ::dup2(nowhere, stream);
      ::execv(arguments.front(), arguments.data());
      ::_exit(127);
    }
    eventually([this] { return listens() || has_ended(); });
    if (pid_ == 0) throw std::runtime_error{"gearmand ended at once"};
  }

 private:
  static std::string pid_file() { return "gearmand.pid"; }
  static std::uint16_t free_port() {
    std::error_code ec;
    multiprocessing::os::Endpoint bound;
    const auto listener = multiprocessing::os::listen_at(
        {multiprocessing::Family::af_inet, "127.0.0.1", 0}, 1, bound, ec);
    return bound.port;
  }
  [[nodiscard]] bool listens() const {
    std::error_code ec;
    multiprocessing::os::Outcome outcome{};
    const multiprocessing::detail::Deadline deadline{multiprocessing::forever};
    return static_cast<bool>(
        multiprocessing::os::connect_to(address().endpoint(), {}, deadline, outcome, ec));
  }
  bool has_ended() {
    if (::waitpid(pid_, nullptr, WNOHANG) != pid_) return false;
    pid_ = 0;
    return true;
  }

  std::vector<std::string> more_;
  std::string listens_at_;
  std::uint16_t port_ = 0;
  pid_t pid_ = 0;
};

/// @brief For tests that need a server: skips where there is none, and says so.
#define MULTIPROCESSING_NEEDS_GEARMAND()                                              \
  if (test::gearmand_path().empty()) {                                                \
    GTEST_SKIP() << "gearmand is not installed (Debian, Ubuntu: gearman-job-server)"; \
  }                                                                                   \
  static_assert(true)

}  // namespace test
