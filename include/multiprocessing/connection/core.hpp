// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file core.hpp
/// @brief What the copies of a Connection in one process share.
#include <multiprocessing/connection/in_flight.hpp>
#include <multiprocessing/connection/object_message.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/one_way_channel.hpp>
#include <multiprocessing/os/two_way_channel.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/timeout.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief An end of a pipe in this process. Every kind of pipe has a class derived from it.
///
/// Calls count themselves in and out, so that close() can wake those that are blocked and wait
/// until nobody uses the handle before it gives it back to the system.
/// @threads any, at once. @processes as each kind says.
class ConnectionCore {
 public:
  static constexpr std::size_t no_limit = static_cast<std::size_t>(-1);

  ConnectionCore(const ConnectionCore&) = delete;
  ConnectionCore& operator=(const ConnectionCore&) = delete;
  virtual ~ConnectionCore() = default;

  [[nodiscard]] virtual bool readable() const noexcept { return true; }
  [[nodiscard]] virtual bool writable() const noexcept { return true; }
  [[nodiscard]] virtual bool carries_handles() const noexcept { return false; }
  /// @brief Encodes an end that Connection's codec does not know by its class.
  /// @returns false: it does know it.
  virtual bool save(Encoder&) { return false; }
  /// @brief What another process needs to have this end too.
  /// @throws std::invalid_argument it is closed. std::system_error no handle is left.
  [[nodiscard]] std::vector<os::UniqueHandle> duplicate_handles() {
    const CallsInFlight::Call call{calls_};
    if (!call.entered()) throw std::invalid_argument{"this Connection is closed"};
    return reduction::duplicates(handles());
  }

  /// @returns false: not within the time; nothing was sent.
  /// @throws std::invalid_argument closed, or not writable.
  /// @throws std::system_error as the channel's contract says.
  bool send(const os::OutgoingMessage& message, const Deadline& deadline) {
    if (!writable()) throw std::invalid_argument{"send: this Connection only receives"};
    return run("send", [&](std::error_code& ec) { return do_send(message, deadline, ec); }) ==
           os::Outcome::done;
  }

  /// @param max a stream does not read a longer message, and is closed.
  /// @param room a large message that is no object may come to lie there.
  /// @returns none: not within the time.
  /// @throws EOFError nothing is left, and nobody can send any more.
  /// @throws ConnectionError what came is not this library's, or the stream broke inside a message,
  ///   or was reset.
  /// @throws std::invalid_argument, std::system_error as send(); EMSGSIZE: a stream has a longer
  ///   message.
  std::optional<os::IncomingMessage> receive(const Deadline& deadline,
                                             std::size_t max = no_limit,
                                             std::span<std::byte> room = {}) {
    require_readable("recv");
    std::optional<os::IncomingMessage> message{std::in_place};
    message->offer(room, static_cast<std::uint8_t>(MessageKind::object));
    bool is_too_long = false;
    const auto outcome = run("recv", [&](std::error_code& ec) {
      const auto received = do_receive_at_most(max, *message, deadline, ec);
      is_too_long = ec && ec == std::errc::message_size;
      if (is_too_long) ec.clear();
      return received;
    });
    if (is_too_long) {
      close();
      throw std::system_error{std::make_error_code(std::errc::message_size),
                              "recv_bytes: the message has more bytes than the " +
                                  std::to_string(max) +
                                  " that were allowed; this Connection is closed now"};
    }
    if (outcome == os::Outcome::ended) {
      throw EOFError{"recv: nothing is left and the other end is closed"};
    }
    if (outcome == os::Outcome::timed_out) message.reset();
    return message;
  }

  /// @returns whether receive() would not have to wait.
  bool wait(const Deadline& deadline) {
    require_readable("poll");
    return run("poll", [&](std::error_code& ec) { return do_wait(deadline, ec); }) ==
           os::Outcome::done;
  }

  [[nodiscard]] bool closed() const noexcept { return calls_.closed(); }
  void close() noexcept {
    calls_.close([this] { do_close(); });
  }
  [[nodiscard]] native_handle_type fileno() const {
    const CallsInFlight::Call call{calls_};
    if (!call.entered()) throw std::invalid_argument{"fileno: this Connection is closed"};
    return handle();
  }

 protected:
  ConnectionCore() = default;

  [[nodiscard]] virtual native_handle_type handle() const noexcept = 0;
  [[nodiscard]] virtual std::vector<native_handle_type> handles() const { return {handle()}; }
  virtual os::Outcome do_send(const os::OutgoingMessage&, const Deadline&, std::error_code&) {
    return os::Outcome::timed_out;
  }
  virtual os::Outcome do_receive(os::IncomingMessage&, const Deadline&, std::error_code&) {
    return os::Outcome::timed_out;
  }
  virtual os::Outcome do_receive_at_most(std::size_t /*max*/,
                                         os::IncomingMessage& into,
                                         const Deadline& deadline,
                                         std::error_code& ec) {
    return do_receive(into, deadline, ec);
  }
  virtual os::Outcome do_wait(const Deadline&, std::error_code&) { return os::Outcome::timed_out; }
  virtual void do_close() noexcept = 0;

  [[nodiscard]] os::Interrupt interrupt() const noexcept { return calls_.interrupt(); }

 private:
  void require_readable(const char* what) const {
    if (!readable())
      throw std::invalid_argument{std::string{what} + ": this Connection only sends"};
  }

  template <class Operation>
  os::Outcome run(const char* what, const Operation& operation) {
    std::error_code ec;
    auto outcome = os::Outcome::interrupted;
    {
      const CallsInFlight::Call call{calls_};
      if (call.entered()) outcome = operation(ec);
    }
    if (ec) {
      if (ec != std::errc::connection_aborted || !closed()) throw_for(ec, what);
      outcome = os::Outcome::interrupted;  // by close(), inside a message
    }
    if (outcome == os::Outcome::interrupted) {
      throw std::invalid_argument{std::string{what} + ": this Connection is closed"};
    }
    return outcome;
  }

  [[noreturn]] static void throw_for(std::error_code ec, const char* what) {
    if (ec == std::errc::bad_message) {
      throw ConnectionError{std::string{what} + ": what came was not sent by a Connection"};
    }
    if (ec == std::errc::connection_aborted) {
      throw ConnectionError{std::string{what} +
                            ": the stream broke inside a message, so nothing more can be read from "
                            "it or written to it"};
    }
    if (ec == std::errc::connection_reset) {
      throw ConnectionError{std::string{what} +
                            ": the connection was reset, so what the other end sent last may be "
                            "lost"};
    }
    throw std::system_error{ec, std::string{what} + " on a Connection"};
  }

  mutable CallsInFlight calls_;
};

/// @brief How a stream arrives; set where <multiprocessing/network.hpp> is included. None: this
/// program cannot have one.
using StreamLoader = std::shared_ptr<ConnectionCore> (*)(Decoder&);
inline std::atomic<StreamLoader> stream_loader{nullptr};

/// @brief An end of a duplex pipe.
class DuplexCore final : public ConnectionCore {
 public:
  explicit DuplexCore(os::TwoWayEnd end) noexcept : end_{std::move(end)} {}

  static std::shared_ptr<DuplexCore> adopt(std::vector<os::UniqueHandle> handles) {
    std::error_code ec;
    auto end = os::TwoWayEnd::adopt(std::move(handles), ec);
    if (ec == std::errc::invalid_argument) {
      throw SerializationError{"a Connection arrived without its handles"};
    }
    if (ec) throw std::system_error{ec, "receiving a Connection"};
    return std::make_shared<DuplexCore>(std::move(end));
  }
  [[nodiscard]] bool carries_handles() const noexcept override { return true; }

 protected:
  [[nodiscard]] native_handle_type handle() const noexcept override { return end_.handle(); }
  [[nodiscard]] std::vector<native_handle_type> handles() const override { return end_.handles(); }
  os::Outcome do_send(const os::OutgoingMessage& message,
                      const Deadline& deadline,
                      std::error_code& ec) override {
    return end_.send(message, interrupt(), deadline, ec);
  }
  os::Outcome do_receive(os::IncomingMessage& into,
                         const Deadline& deadline,
                         std::error_code& ec) override {
    return end_.receive(into, interrupt(), deadline, ec);
  }
  os::Outcome do_wait(const Deadline& deadline, std::error_code& ec) override {
    return end_.wait(interrupt(), deadline, ec);
  }
  void do_close() noexcept override { end_ = {}; }

 private:
  os::TwoWayEnd end_;
};

/// @brief An end of a one-way pipe: one that receives, or one that sends.
template <bool Receives>
class OneWayCore final : public ConnectionCore {
 public:
  explicit OneWayCore(os::OneWayEnd end) noexcept : end_{std::move(end)} {}

  static std::shared_ptr<OneWayCore> adopt(std::vector<os::UniqueHandle> handles) {
    std::error_code ec;
    auto end = os::OneWayEnd::adopt(std::move(handles), ec);
    if (ec == std::errc::invalid_argument) {
      throw SerializationError{"a Connection arrived without its handles"};
    }
    if (ec) throw std::system_error{ec, "receiving a Connection"};
    return std::make_shared<OneWayCore>(std::move(end));
  }
  [[nodiscard]] bool readable() const noexcept override { return Receives; }
  [[nodiscard]] bool writable() const noexcept override { return !Receives; }

 protected:
  [[nodiscard]] native_handle_type handle() const noexcept override { return end_.handle(); }
  [[nodiscard]] std::vector<native_handle_type> handles() const override { return end_.handles(); }
  os::Outcome do_send(const os::OutgoingMessage& message,
                      const Deadline& deadline,
                      std::error_code& ec) override {
    return end_.send(message, interrupt(), deadline, ec);
  }
  os::Outcome do_receive(os::IncomingMessage& into,
                         const Deadline& deadline,
                         std::error_code& ec) override {
    return end_.receive(into, interrupt(), deadline, ec);
  }
  os::Outcome do_wait(const Deadline& deadline, std::error_code& ec) override {
    return end_.wait(interrupt(), deadline, ec);
  }
  void do_close() noexcept override { end_ = {}; }

 private:
  os::OneWayEnd end_;
};

using ReceivingCore = OneWayCore<true>;
using SendingCore = OneWayCore<false>;

}  // namespace multiprocessing::detail
