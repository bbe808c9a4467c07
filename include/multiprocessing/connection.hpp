// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file connection.hpp
/// @brief Pipes: whole messages from process to process. @python{multiprocessing.connection}
#include <multiprocessing/connection/core.hpp>
#include <multiprocessing/connection/object_message.hpp>
#include <multiprocessing/connection/wait.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/timeout.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace multiprocessing {

class Connection;

namespace detail {
Connection connection_of(std::shared_ptr<ConnectionCore> core);
}  // namespace detail

/// @brief One end of a pipe, or of a stream (see <multiprocessing/network.hpp>).
/// @python{multiprocessing.connection.Connection}
///
/// A handle: copies in this process are the same end, and so are those that other processes got by
/// fork, in a state, or through a duplex pipe. A message exists whole or not at all, of any size,
/// and comes out once, whichever of those that share the end receives it. Whoever dies, at any
/// instruction, the others go on; only a message that a killed process was just receiving goes with
/// it. The same holds where another thread calls close() during the reception of a message of more
/// than 4 KiB on a one-way pipe, or, on a duplex one, of more than 2 MiB whose sender stands still.
///
/// What send() sent, recv() of the same type receives; what send_bytes() sent, recv_bytes() does.
/// recv_bytes() of an object gives its bytes as `dumps` would; from a stream, what says that it is
/// an object, and of which type, comes behind them. With several threads or processes at one end, a
/// message that poll() saw may be another's by the time of recv(); try_recv() tells.
/// @code
/// auto [parent, child] = mp::Pipe();
/// mp::Process process{[](mp::Connection end) { end.send(end.recv<std::string>() + "!"); }, child};
/// process.start();
/// parent.send("hello");
/// std::cout << parent.recv<std::string>() << '\n';
/// process.join();
/// @endcode
/// Differences from Python: an end knows the type of what it carries and never guesses; there is no
/// `size` argument, pass a part of a span; wrong use (closed, wrong direction) is
/// std::invalid_argument where Python raises OSError.
/// @threads any, at once.
/// @processes any, at once.
class Connection {
 public:
  /// @brief No limit.
  static constexpr std::size_t npos = static_cast<std::size_t>(-1);

  Connection(const Connection&) = default;
  Connection& operator=(const Connection&) = default;
  ~Connection() = default;

  /// @brief Sends an object, waiting while the pipe is full. It is encoded before anything is sent.
  ///
  /// Text literals arrive as std::string. Queues, connections and the like inside the object travel
  /// along on a duplex pipe. @python{Connection.send}
  /// @throws SerializationError it cannot be encoded, or more than 252 handles would travel along.
  /// @throws std::system_error EPIPE: nobody has the other end any more; or the system has no
  ///   memory or handles left for a message of more than 64 KiB. Nothing was sent.
  /// @throws std::invalid_argument this end is closed, or only receives; also when it is closed by
  ///   another thread while this one waits.
  template <class T>
  void send(const T& value) {
    send_object(value, detail::Deadline{forever});
  }
  /// @brief send() for as long as `timeout`. @returns false: the pipe was full; nothing was sent.
  template <class T>
  bool try_send(const T& value, Timeout timeout = std::chrono::seconds{0}) {
    return send_object(value, detail::Deadline{timeout});
  }

  /// @brief Receives an object, waiting for it. @python{Connection.recv}
  /// @throws EOFError nothing is left, and nobody has the other end any more.
  /// @throws SerializationError the message is not a T, or not a whole one; it is gone.
  /// @throws ConnectionError something else than this library wrote to the other end.
  /// @throws std::system_error EMFILE: this process has no room for the handles that came along;
  ///   ENOMEM. The message is gone.
  /// @throws std::invalid_argument this end is closed, or only sends; also when it is closed by
  ///   another thread while this one waits.
  template <class T>
  [[nodiscard]] T recv() {
    return detail::decode_object<T>(*core_->receive(detail::Deadline{forever}));
  }
  /// @brief recv() that waits at most `timeout` for a message to begin. @returns none: none came.
  ///
  /// What has begun is received to its end, however long its sender takes, or until that dies.
  template <class T>
  [[nodiscard]] std::optional<T> try_recv(Timeout timeout = std::chrono::seconds{0}) {
    auto message = core_->receive(detail::Deadline{timeout});
    if (!message) return std::nullopt;
    return detail::decode_object<T>(*std::move(message));
  }

  /// @brief Sends bytes as they are. None is a message too. @python{Connection.send_bytes}
  /// @throws as send()
  void send_bytes(std::span<const std::byte> bytes) {
    core_->send(as_message(bytes), detail::Deadline{forever});
  }
  /// @overload
  void send_bytes(std::string_view text) { send_bytes(std::as_bytes(std::span{text})); }
  /// @brief send_bytes() for as long as `timeout`. @returns false: the pipe was full; nothing was
  /// sent.
  bool try_send_bytes(std::span<const std::byte> bytes, Timeout timeout = std::chrono::seconds{0}) {
    return core_->send(as_message(bytes), detail::Deadline{timeout});
  }
  /// @overload
  bool try_send_bytes(std::string_view text, Timeout timeout = std::chrono::seconds{0}) {
    return try_send_bytes(std::as_bytes(std::span{text}), timeout);
  }

  /// @brief Receives bytes, waiting for them. @python{Connection.recv_bytes}
  /// @param max a longer message is an error and closes this end.
  /// @throws std::system_error EMSGSIZE: longer than `max`.
  /// @throws as recv() otherwise
  [[nodiscard]] std::vector<std::byte> recv_bytes(std::size_t max = npos) {
    return *receive_bytes(detail::Deadline{forever}, max);
  }
  /// @brief recv_bytes() that waits at most `timeout` for a message to begin. @returns none: none
  /// came.
  [[nodiscard]] std::optional<std::vector<std::byte>> try_recv_bytes(
      Timeout timeout = std::chrono::seconds{0}, std::size_t max = npos) {
    return receive_bytes(detail::Deadline{timeout}, max);
  }
  /// @brief Receives bytes to a place in `into`. @python{Connection.recv_bytes_into}
  /// @param into the room there is. A large message is read into it directly; behind its end, and
  ///   without a message, `into` is as it was, but where a message broke off.
  /// @param offset where in `into` the message is to begin.
  /// @returns the message's size.
  /// @throws BufferTooShort the message has more room than there is from `offset` on; it is in the
  ///   exception.
  /// @throws std::invalid_argument `offset` lies outside of `into`; nothing was received.
  /// @throws as recv() otherwise
  std::size_t recv_bytes_into(std::span<std::byte> into, std::size_t offset = 0) {
    return *receive_into(detail::Deadline{forever}, into, offset);
  }
  /// @brief recv_bytes_into() that waits at most `timeout` for a message to begin. @returns none:
  /// none came.
  [[nodiscard]] std::optional<std::size_t> try_recv_bytes_into(
      std::span<std::byte> into,
      Timeout timeout = std::chrono::seconds{0},
      std::size_t offset = 0) {
    return receive_into(detail::Deadline{timeout}, into, offset);
  }

  /// @brief Whether recv() would not have to wait: a message is there, or the end of the stream.
  /// Takes nothing. @python{Connection.poll}
  ///
  /// With a timeout of zero it may say false while another thread or process is receiving. A large
  /// message on a one-way pipe, and one of more than 2 MiB on a duplex one, counts as soon as it
  /// begins; if its sender is killed then, recv() goes on to wait for the next.
  /// @throws std::invalid_argument this end is closed, or only sends.
  /// @throws std::system_error
  [[nodiscard]] bool poll(Timeout timeout = std::chrono::seconds{0}) {
    return core_->wait(detail::Deadline{timeout});
  }

  /// @brief Closes this end for this process: every copy here is closed, those in other processes
  /// are not. Threads blocked in it get std::invalid_argument. Twice is fine.
  /// @python{Connection.close}
  void close() noexcept { core_->close(); }
  /// @python{Connection.closed}
  [[nodiscard]] bool closed() const noexcept { return core_->closed(); }
  /// @python{Connection.readable}
  [[nodiscard]] bool readable() const noexcept { return core_->readable(); }
  /// @python{Connection.writable}
  [[nodiscard]] bool writable() const noexcept { return core_->writable(); }
  /// @brief The system's handle, for poll, epoll and the like: it becomes readable when there may
  /// be a message. It stays this object's own. Do not read from it or write to it.
  /// @python{Connection.fileno}
  /// @throws std::invalid_argument this end is closed.
  [[nodiscard]] native_handle_type fileno() const { return core_->fileno(); }

 private:
  friend struct codec<Connection>;
  friend struct Pipe;
  friend Connection detail::connection_of(std::shared_ptr<detail::ConnectionCore> core);

  explicit Connection(std::shared_ptr<detail::ConnectionCore> core) noexcept
      : core_{std::move(core)} {}

  static os::OutgoingMessage as_message(std::span<const std::byte> bytes) noexcept {
    return {static_cast<std::uint8_t>(detail::MessageKind::bytes), bytes, {}};
  }
  template <class T>
  bool send_object(const T& value, const detail::Deadline& deadline);
  std::optional<std::vector<std::byte>> receive_bytes(const detail::Deadline& deadline,
                                                      std::size_t max);
  std::optional<std::size_t> receive_into(const detail::Deadline& deadline,
                                          std::span<std::byte> into,
                                          std::size_t offset);
  static std::span<const std::byte> content(const os::IncomingMessage& message);

  std::shared_ptr<detail::ConnectionCore> core_;
};

/// @brief The Connection that is the end.
inline Connection detail::connection_of(std::shared_ptr<ConnectionCore> core) {
  return Connection{std::move(core)};
}

/// @brief Both ends of a new pipe. @python{multiprocessing.Pipe}
/// @code
/// auto [parent, child] = mp::Pipe();
/// auto [receiving, sending] = mp::Pipe(false);
/// @endcode
struct Pipe {
  /// The end that receives, if the pipe is not duplex.
  Connection first;
  /// The end that sends, if the pipe is not duplex.
  Connection second;

  /// @param duplex false: `first` only receives and `second` only sends.
  /// @throws std::system_error the system has no handles or memory left.
  explicit Pipe(bool duplex = true) : Pipe{duplex ? make_duplex() : make_one_way()} {}

 private:
  using Cores =
      std::pair<std::shared_ptr<detail::ConnectionCore>, std::shared_ptr<detail::ConnectionCore>>;

  explicit Pipe(Cores cores) noexcept
      : first{std::move(cores.first)}, second{std::move(cores.second)} {}
  static Cores make_duplex();
  static Cores make_one_way();
};

/// @brief How a Connection travels: as which kind of end, and its handles beside the bytes.
template <>
struct codec<Connection> {
  static constexpr bool carries_handles = true;

  /// @throws SerializationError where handles cannot travel.
  /// @throws std::invalid_argument it is closed.
  static void encode(Encoder& encoder, const Connection& connection);
  static Connection decode(Decoder& decoder);

 private:
  enum class Kind : std::uint8_t { duplex = 0, receiving = 1, sending = 2, stream = 3 };
};

// ---- definitions ----

template <class T>
bool Connection::send_object(const T& value, const detail::Deadline& deadline) {
  if constexpr (std::is_convertible_v<const T&, const char*> && std::is_array_v<T>) {
    const std::string_view room{value, std::extent_v<T>};  // a text may fill it, without a NUL
    return send_object(std::string{room.substr(0, room.find('\0'))}, deadline);
  } else {
    detail::EncodingBuffer buffer;
    Transit transit;
    detail::encode_object(buffer.bytes(), value, core_->carries_handles() ? &transit : nullptr);
    if (transit.departing().size() > os::most_handles) {
      throw SerializationError{"send: " + std::to_string(transit.departing().size()) +
                               " handles would travel with one message, " +
                               std::to_string(os::most_handles) + " can: send fewer at a time"};
    }
    return core_->send({static_cast<std::uint8_t>(detail::MessageKind::object), buffer.bytes(),
                        transit.departing()},
                       deadline);
  }
}

inline std::span<const std::byte> Connection::content(const os::IncomingMessage& message) {
  if (message.kind() != static_cast<std::uint8_t>(detail::MessageKind::object)) {
    return message.bytes();
  }
  return detail::ObjectParts{message.bytes()}.value();
}

inline std::optional<std::vector<std::byte>> Connection::receive_bytes(
    const detail::Deadline& deadline, std::size_t max) {
  auto message = core_->receive(deadline, max);
  if (!message) return std::nullopt;
  const std::size_t size = content(*message).size();
  if (size > max) {
    close();
    throw std::system_error{std::make_error_code(std::errc::message_size),
                            "recv_bytes: the message has " + std::to_string(size) +
                                " bytes, at most " + std::to_string(max) +
                                " were allowed; this Connection is closed now"};
  }
  return std::move(*message).take_bytes(size);
}

inline std::optional<std::size_t> Connection::receive_into(const detail::Deadline& deadline,
                                                           std::span<std::byte> into,
                                                           std::size_t offset) {
  if (offset > into.size()) {
    throw std::invalid_argument{"recv_bytes_into: offset " + std::to_string(offset) +
                                " lies outside of the buffer of " + std::to_string(into.size()) +
                                " bytes"};
  }
  auto message = core_->receive(deadline, npos, into.subspan(offset));
  if (!message) return std::nullopt;
  const auto bytes = content(*message);
  if (bytes.size() > into.size() - offset) {
    throw BufferTooShort{std::move(*message).take_bytes(bytes.size())};
  }
  if (!bytes.empty() && bytes.data() != into.data() + offset) {
    std::memcpy(into.data() + offset, bytes.data(), bytes.size());
  }
  return bytes.size();
}

inline Pipe::Cores Pipe::make_duplex() {
  std::error_code ec;
  auto ends = os::TwoWayEnd::create(ec);
  if (ec) throw std::system_error{ec, "making a Pipe"};
  return {std::make_shared<detail::DuplexCore>(std::move(ends.first)),
          std::make_shared<detail::DuplexCore>(std::move(ends.second))};
}

inline Pipe::Cores Pipe::make_one_way() {
  std::error_code ec;
  auto ends = os::OneWayEnd::create(ec);
  if (ec) throw std::system_error{ec, "making a one-way Pipe"};
  return {std::make_shared<detail::ReceivingCore>(std::move(ends.first)),
          std::make_shared<detail::SendingCore>(std::move(ends.second))};
}

inline void codec<Connection>::encode(Encoder& encoder, const Connection& connection) {
  const auto& core = connection.core_;
  if (core->save(encoder)) return;
  const auto save = [&]<class Core>(Kind kind, std::shared_ptr<Core> typed) {
    encoder.write_number(static_cast<std::uint8_t>(kind));
    reduction::save_shared(encoder, typed, "a Connection");
  };
  if (auto duplex = std::dynamic_pointer_cast<detail::DuplexCore>(core)) {
    save(Kind::duplex, std::move(duplex));
  } else if (auto receiving = std::dynamic_pointer_cast<detail::ReceivingCore>(core)) {
    save(Kind::receiving, std::move(receiving));
  } else {
    save(Kind::sending, std::dynamic_pointer_cast<detail::SendingCore>(core));
  }
}

inline Connection codec<Connection>::decode(Decoder& decoder) {
  switch (static_cast<Kind>(decoder.read_number<std::uint8_t>())) {
    case Kind::duplex:
      return Connection{reduction::load_shared<detail::DuplexCore>(decoder)};
    case Kind::receiving:
      return Connection{reduction::load_shared<detail::ReceivingCore>(decoder)};
    case Kind::sending:
      return Connection{reduction::load_shared<detail::SendingCore>(decoder)};
    case Kind::stream:
      if (const auto load = detail::stream_loader.load()) return Connection{load(decoder)};
      throw SerializationError{
          "a Connection of a Listener or Client arrived in a program that does not include "
          "<multiprocessing/network.hpp>"};
  }
  throw SerializationError{"the bytes name a kind of Connection that does not exist"};
}

}  // namespace multiprocessing
