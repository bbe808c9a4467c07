// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file connected.hpp
/// @brief Both ends of a connection through a listener.
#include <multiprocessing/network.hpp>

#include <utility>

namespace test {

inline constexpr const char* local_family = MULTIPROCESSING_WINDOWS ? "af_pipe" : "af_unix";

inline std::pair<multiprocessing::Connection, multiprocessing::Connection> connected(
    multiprocessing::ListenerOptions options) {
  multiprocessing::Listener listener{std::move(options)};
  auto client = multiprocessing::Client(listener.address());
  return {listener.accept(), std::move(client)};
}

}  // namespace test
