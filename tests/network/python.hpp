// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file python.hpp
/// @brief Python processes at the other end.
#include <multiprocessing/network.hpp>

#include <support/eventually.hpp>
#include <support/forked.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <unistd.h>

namespace test {

/// @brief A Python, with its version as 311 for 3.11.
struct Python {
  std::string program;
  int version = 0;
};

/// @brief Those from 3.8 on that are here: those of pyenv, and the one of the build. None is run to
/// find that out: every test of the program asks.
inline const std::vector<Python>& pythons() {
  static const std::vector<Python> all = [] {
    std::vector<Python> found;
    const auto add = [&](const std::string& program, int version) {
      const bool is_known =
          std::ranges::any_of(found, [&](const Python& other) { return other.version == version; });
      if (version >= 308 && !is_known && ::access(program.c_str(), X_OK) == 0) {
        found.push_back({program, version});
      }
    };
    const char* const home = std::getenv("HOME");
    std::error_code ignored;
    const std::filesystem::path folder =
        std::filesystem::path{home == nullptr ? "/" : home} / ".pyenv/versions";
    for (const auto& entry : std::filesystem::directory_iterator{folder, ignored}) {
      int major = 0;
      int minor = 0;
      if (std::sscanf(entry.path().filename().c_str(), "%d.%d", &major, &minor) != 2) continue;
      add((entry.path() / "bin/python3").string(), major * 100 + minor);
    }
    add(MULTIPROCESSING_TEST_PYTHON, MULTIPROCESSING_TEST_PYTHON_VERSION);
    return found;
  }();
  return all;
}

/// @brief A process that runs tests/network/peer.py.
class Peer {
 public:
  Peer(const Python& python,
       const std::string& what,
       const multiprocessing::Address& address,
       const std::string& key)
      : process_{[&] {
          const std::string where = address.is_internet()
                                        ? address.host() + ":" + std::to_string(address.port())
                                        : address.path();
          ::execl(python.program.c_str(), "python3", "-B", MULTIPROCESSING_TEST_PEER, what.c_str(),
                  where.c_str(), key.c_str(), nullptr);
          throw std::system_error{errno, std::system_category(), python.program};
        }} {}
  int join() { return process_.join(); }
  void kill() { process_.kill(); }

 private:
  Forked process_;
};

/// @brief Client(), as soon as the Python listens.
inline multiprocessing::Connection connect(const multiprocessing::Address& address,
                                           const multiprocessing::ClientOptions& options) {
  for (;;) {
    try {
      return multiprocessing::Client(address, options);
    } catch (const std::system_error& error) {
      if (error.code() != std::errc::no_such_file_or_directory &&
          error.code() != std::errc::connection_refused) {
        throw;
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{5});
  }
}

}  // namespace test
