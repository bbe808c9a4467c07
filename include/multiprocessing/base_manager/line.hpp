// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file line.hpp
/// @brief A connection between a BaseManager's server and a client.
#include <multiprocessing/connection.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/stream_reader.hpp>
#include <multiprocessing/timeout.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief A connection that one process has for itself, and reads ahead from.
/// @threads one, but for shut_down().
class ManagerLine {
 public:
  explicit ManagerLine(Connection connection)
      : connection_{std::move(connection)},
        reader_{std::make_unique<os::StreamReader>(connection_.fileno())} {}

  /// @throws as Connection::send_bytes.
  void send(std::span<const std::byte> bytes) { connection_.send_bytes(bytes); }
  /// @brief The next message, instead of what is in there.
  /// @returns false: it did not begin before the deadline.
  /// @throws EOFError, ConnectionError, std::system_error as Connection::recv_bytes.
  bool receive(std::vector<std::byte>& into, const Deadline& deadline = Deadline{forever}) {
    if (!os::StreamReader::exists) {
      const auto left = deadline.left(forever.value());
      auto received = connection_.try_recv_bytes(left);
      if (received) into = std::move(*received);
      return received.has_value();
    }
    std::error_code ec;
    const os::Outcome outcome = reader_->receive(into, deadline, ec);
    if (ec == std::errc::connection_aborted || ec == std::errc::bad_message) {
      throw ConnectionError{"a manager's connection broke inside a message"};
    }
    if (ec) throw std::system_error{ec, "on a manager's connection"};
    if (outcome == os::Outcome::ended) throw EOFError{"a manager's other end is closed"};
    return outcome == os::Outcome::done;
  }
  /// @brief Ends what another thread does with it, and all that follows. The handle stays, for that
  /// thread is in the middle of using it; not for a line that is closed.
  void shut_down() {
    if (os::StreamReader::exists) {
      reader_->shut_down();
    } else {
      connection_.close();  // waits for that thread
    }
  }
  void close() noexcept { connection_.close(); }

 private:
  Connection connection_;
  std::unique_ptr<os::StreamReader> reader_;
};

}  // namespace multiprocessing::detail
