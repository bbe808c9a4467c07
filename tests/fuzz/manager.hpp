// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file manager.hpp
/// @brief What the clients of a BaseManager say, who have the key and mean harm: for the fuzzer,
/// and for the test that replays its corpus.
#include <multiprocessing/base_manager.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace fuzz {

/// @brief A server in this process, with one object.
class ManagerUnderFire {
 public:
  ManagerUnderFire() {
    server_->add(multiprocessing::detail::make_served(std::make_shared<std::vector<int>>(3, 1)),
                 multiprocessing::detail::type_hash<std::vector<int>>(), nullptr);
    thread_ = std::thread{[this] { server_->serve(); }};
  }
  ManagerUnderFire(const ManagerUnderFire&) = delete;
  ManagerUnderFire& operator=(const ManagerUnderFire&) = delete;
  ~ManagerUnderFire() {
    try {
      auto last = greeted();
      ask(last, std::vector{static_cast<std::byte>(multiprocessing::detail::Request::shutdown)});
    } catch (const std::exception&) {  // then it has ended
    }
    thread_.join();
  }

  /// @brief The first byte: whether it greets; then pieces, each a length of 16 bits and a message.
  void hear(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    const bool greets = bytes.front() != std::byte{0};
    bytes = bytes.subspan(1);
    try {
      auto connection = greets ? greeted() : connected();
      while (bytes.size() > 2) {
        const auto size = std::min<std::size_t>(
            std::to_integer<std::size_t>(bytes[0]) * 256 + std::to_integer<std::size_t>(bytes[1]),
            bytes.size() - 2);
        const auto message = bytes.subspan(2, size);
        bytes = bytes.subspan(2 + size);
        const bool ends =
            !message.empty() &&
            message.front() == static_cast<std::byte>(multiprocessing::detail::Request::shutdown);
        if (!ends) ask(connection, message);
      }
    } catch (const multiprocessing::ProcessError&) {  // it hung up
    } catch (const std::system_error&) {
    }
    if (server_->count() != 1) std::abort();  // what nobody but us has is not a client's to give up
  }

 private:
  multiprocessing::Connection connected() {
    return multiprocessing::Client(server_->address(), {.authkey = "key"});
  }
  multiprocessing::Connection greeted() {
    auto connection = connected();
    std::vector<std::byte> bytes;
    multiprocessing::Encoder encoder{bytes};
    encoder.write_number(multiprocessing::detail::manager_greeting);
    encoder(multiprocessing::detail::ManagerId{++clients_, 2}, std::uint8_t{1});
    connection.send_bytes(bytes);
    static_cast<void>(connection.recv_bytes());
    return connection;
  }
  static void ask(multiprocessing::Connection& connection, std::span<const std::byte> message) {
    connection.send_bytes(message);
    static_cast<void>(connection.recv_bytes());
  }

  std::shared_ptr<multiprocessing::detail::ServerSide> server_ =
      std::make_shared<multiprocessing::detail::ServerSide>(
          multiprocessing::Listener{{.authkey = "key"}}, "key");
  std::uint64_t clients_ = 0;
  std::thread thread_;
};

// Never destroyed: OpenSSL ends before static objects do.
inline void manager(std::span<const std::byte> bytes) {
  static ManagerUnderFire& one = *new ManagerUnderFire;
  one.hear(bytes);
}

}  // namespace fuzz
