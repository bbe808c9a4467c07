// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file pickle.hpp
/// @brief Messages for Python programs: a small, safe subset of pickle. @python{pickle}
///
/// None, bool, int, float, str, bytes, list, tuple and dict, in any nesting, in protocols 2 to 5;
/// see docs/pickle.md for the exact subset. Everything else is refused: nothing is imported, built
/// or executed, whatever the bytes say.
#include <multiprocessing/connection.hpp>
#include <multiprocessing/network/pickle_object.hpp>
#include <multiprocessing/network/pickle_reader.hpp>
#include <multiprocessing/network/pickle_writer.hpp>
#include <multiprocessing/timeout.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace multiprocessing::pickle {

/// @brief What Python's `pickle.loads` turns into the value. @python{pickle.dumps}
/// @param value an Object, or what one can be made of.
/// @param protocol 2 to 5; CPython 3.8 and later read all of them.
/// @throws SerializationError text that is not UTF-8; nested deeper than 200; text or bytes of more
///   than 4 GiB before protocol 4. @throws std::invalid_argument another protocol.
template <class T>
[[nodiscard]] std::vector<std::byte> dumps(const T& value, int protocol = 4) {
  return detail::PickleWriter{protocol}.write(Object{value});
}

/// @brief The value in bytes that Python's `pickle.dumps` made. @python{pickle.loads}
/// @throws SerializationError cut off, damaged, not in the subset, or not a T; the text says what
///   it is.
template <class T = Object>
[[nodiscard]] T loads(std::span<const std::byte> bytes) {
  return detail::PickleReader{bytes}.read().template as<T>();
}

/// @brief Sends a value to a Python program, whose `Connection.recv` gives it.
/// @throws as dumps(), Connection::send_bytes().
template <class T>
void send(Connection& connection, const T& value, int protocol = 4) {
  connection.send_bytes(dumps(value, protocol));
}

/// @brief What a Python program's `Connection.send` sent.
/// @param connection of a Listener or a Client().
/// @param max a longer message closes the connection before it is read.
/// @throws SerializationError as loads(); the message is gone, the connection stays usable.
/// @throws as Connection::recv_bytes() otherwise
template <class T = Object>
[[nodiscard]] T recv(Connection& connection, std::size_t max = Connection::npos) {
  return loads<T>(connection.recv_bytes(max));
}

/// @brief recv() that waits at most `timeout` for a message to begin. @returns none: none came.
template <class T = Object>
[[nodiscard]] std::optional<T> try_recv(Connection& connection,
                                        Timeout timeout = std::chrono::seconds{0},
                                        std::size_t max = Connection::npos) {
  const auto bytes = connection.try_recv_bytes(timeout, max);
  if (!bytes) return std::nullopt;
  return loads<T>(*bytes);
}

}  // namespace multiprocessing::pickle
