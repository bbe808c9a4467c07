// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file server_connection.hpp
/// @brief A connection to a Gearman server.
#include <multiprocessing/distributed/gearman/protocol.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/network/address.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/peer.hpp>
#include <multiprocessing/os/socket.hpp>
#include <multiprocessing/os/wait.hpp>
#include <multiprocessing/timeout.hpp>

#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing::detail::gearman {

/// @brief The port that Gearman servers listen at by default.
inline constexpr std::uint16_t default_port = 4730;

/// @brief "host", "host:port", "[::1]:port" as an address. @throws std::invalid_argument
[[nodiscard]] inline Address parse_address(std::string_view text) {
  const std::string_view whole = text;
  std::string_view port;
  if (text.starts_with('[') && text.find(']') != text.npos) {
    const std::size_t end = text.find(']');
    port = text.substr(end + 1);
    text = text.substr(1, end - 1);
    if (!port.empty() && !port.starts_with(':')) text = {};
  } else if (text.find(':') == text.rfind(':') && text.find(':') != text.npos) {
    port = text.substr(text.find(':'));
    text = text.substr(0, text.find(':'));
  }
  std::uint16_t number = default_port;
  if (!port.empty()) {
    port.remove_prefix(1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc{} || end != port.data() + port.size() || number == 0) text = {};
  }
  if (text.empty()) {
    throw std::invalid_argument{"\"" + std::string{whole} +
                                "\" is no address of a Gearman server: host, host:port or "
                                "[address]:port is"};
  }
  return Address{std::string{text}, number};
}

/// @brief How a server is reached, and when it is given up.
struct ServerOptions {
  Timeout timeout = std::chrono::seconds{10};  ///< For connecting, from the first word to the last.
  std::chrono::seconds silence{10};  ///< The machine is gone when it is silent for so long.
  std::size_t longest_packet = gearman::longest_packet;  ///< That is taken from it.
  bool takes_lines = false;  ///< Lines are taken, too: see PacketReader.
};

/// @brief A connection to a Gearman server.
///
/// Nobody waits to send: what finds no room stays here until the thread that receives finds some.
/// @threads send() and wake(): any number; the others: one.
/// @processes the one that made it; children that it forks do not hold the connection open.
class ServerConnection {
 public:
  /// @throws std::system_error it cannot be reached. TimeoutError not in time. ConnectionError what
  /// is there is no Gearman server.
  ServerConnection(const Address& server, const ServerOptions& options)
      : ServerConnection{server, options, Deadline{options.timeout}} {}
  /// @brief For who has connected by himself, in as far as sockets are concerned.
  ServerConnection(os::UniqueHandle socket, const Address& server, const ServerOptions& options)
      : ServerConnection{std::move(socket), server, options, Deadline{options.timeout}} {}
  ServerConnection(const ServerConnection&) = delete;
  ServerConnection& operator=(const ServerConnection&) = delete;

  /// @brief What it calls its version.
  [[nodiscard]] const std::string& version() const noexcept { return version_; }
  [[nodiscard]] const std::string& where() const noexcept { return where_; }

  /// @brief Sends what the writer has. Over a broken connection: nothing, receive() says why.
  /// @throws std::bad_alloc
  void send(PacketWriter& writer) {
    if (writer.empty()) return;
    const std::lock_guard lock{mutex_};
    if (broken_) return;
    const bool was_empty = unsent_.empty();
    unsent_.push_back({writer.take(), 0});
    if (was_empty) flush();
    // Who receives may wait, and not for room.
    if (broken_ || (was_empty && !unsent_.empty())) os::set_event(event_.get());
  }
  /// @brief Ends a wait of receive(), now or the next.
  void wake() noexcept { os::set_event(event_.get()); }
  /// @brief Waits for nothing but wake(). For a connection that has ended.
  void idle(const Deadline& deadline) noexcept {
    std::error_code ec;
    static_cast<void>(os::wait_ready(event_.get(), os::Readiness::readable, {}, deadline, ec));
    os::reset_event(event_.get());
  }
  /// @brief Ends the connection. What may be called then: wake(), idle(), and send(), for nothing.
  /// @threads the one that receives.
  void hang_up() noexcept {
    const std::lock_guard lock{mutex_};
    broken_ = std::make_error_code(std::errc::not_connected);
    unsent_.clear();
    kept_.reset();
    socket_.reset();
  }
  /// @brief How many bytes found no room so far.
  [[nodiscard]] std::size_t unsent() {
    const std::lock_guard lock{mutex_};
    std::size_t bytes = 0;
    for (const Unsent& each : unsent_) bytes += each.bytes.size() - each.sent;
    return bytes;
  }

  /// @brief The next packet. @returns none: the deadline passed, or wake() was called.
  /// @throws ConnectionError the connection has ended, or what came is no packet: nothing more
  /// comes.
  [[nodiscard]] std::optional<Packet> receive(const Deadline& deadline) {
    for (;;) {
      if (auto packet = reader_.next()) return packet;
      if (take_bytes(reader_.room())) continue;
      if (!wait(deadline)) return std::nullopt;
    }
  }

 private:
  struct Unsent {
    std::vector<std::byte> bytes;
    std::size_t sent;
  };

  ServerConnection(const Address& server, const ServerOptions& options, const Deadline& deadline)
      : ServerConnection{connect(server, deadline), server, options, deadline} {}
  ServerConnection(os::UniqueHandle socket,
                   const Address& server,
                   const ServerOptions& options,
                   const Deadline& deadline)
      : where_{server.to_string()},
        silence_{options.silence},
        socket_{std::move(socket)},
        reader_{options.longest_packet, options.takes_lines} {
    os::install_fork_handlers();
    kept_.emplace(socket_.get());
    std::error_code ec;
    os::limit_silence(socket_.get(), server.family(), options.silence, ec);
    if (!ec) event_ = os::make_event(ec);
    if (ec) throw std::system_error{ec, "preparing the connection to " + where_};
    greet(deadline);
  }
  static os::UniqueHandle connect(const Address& server, const Deadline& deadline) {
    std::error_code ec;
    os::Outcome outcome{};
    auto socket = os::connect_to(server.endpoint(), {}, deadline, outcome, ec);
    const std::string name = "the Gearman server at " + server.to_string();
    if (ec) throw std::system_error{ec, "connecting to " + name};
    if (outcome != os::Outcome::done) throw TimeoutError{name + " was not reached in time"};
    return socket;
  }

  [[nodiscard]] TimeoutError too_late() const {
    return TimeoutError{"the Gearman server at " + where_ + " did not answer in time"};
  }
  [[noreturn]] void lost(const std::error_code& ec) const {
    std::string text = "the connection to the Gearman server at " + where_;
    if (!ec) throw ConnectionError{text + " was closed by it: it was ended, or has crashed"};
    if (ec == std::errc::timed_out) {
      throw ConnectionError{text + " was lost: nothing was heard of its machine for " +
                            std::to_string(silence_.count()) + " s"};
    }
    throw ConnectionError{text + " was lost: " + ec.message()};
  }

  // With the mutex.
  void flush() noexcept {
    while (!unsent_.empty()) {
      Unsent& first = unsent_.front();
      std::error_code ec;
      const auto rest = std::span{first.bytes}.subspan(first.sent);
      first.sent += os::send_now(socket_.get(), rest, ec);
      if (ec) {
        broken_ = ec;
        unsent_.clear();
      } else if (first.sent == first.bytes.size()) {
        unsent_.pop_front();
      } else {
        return;
      }
    }
  }
  // Whether any came.
  bool take_bytes(std::span<std::byte> room) {
    std::error_code ec;
    bool ended = false;
    const std::size_t got = os::receive_now(socket_.get(), room, ended, ec);
    if (ec || ended) lost(ec);
    if (got == 0) {
      const std::lock_guard lock{mutex_};
      if (broken_) lost(broken_);
      return false;
    }
    reader_.took(got);
    return true;
  }
  // Whether there may be bytes.
  bool wait(const Deadline& deadline) {
    for (;;) {
      bool for_room = false;
      {
        const std::lock_guard lock{mutex_};
        for_room = !unsent_.empty();
      }
      os::PeerNews news;
      std::error_code ec;
      os::wait_for_peer(socket_.get(), for_room, event_.get(), deadline, news, ec);
      if (ec) lost(ec);
      if (news.writable) {
        const std::lock_guard lock{mutex_};
        flush();
        if (broken_) return true;  // what it said last may be there
      }
      if (news.readable) return true;  // and the event stays, for the next wait
      if (news.woken) os::reset_event(event_.get());
      if (news.woken || !news.writable) return false;
    }
  }
  // What listens there must answer as an administrator's protocol does.
  void greet(const Deadline& deadline) {
    PacketWriter writer;
    writer.put_line("version");
    send(writer);
    std::string line;
    while (!line.ends_with('\n')) {
      std::array<std::byte, 1> one{};
      std::error_code ec;
      bool ended = false;
      if (os::receive_now(socket_.get(), one, ended, ec) != 0) {
        line.push_back(std::to_integer<char>(one.front()));
        if (line.size() > most_greeting) break;
      } else if (ec || ended) {
        lost(ec);
      } else {
        os::PeerNews news;
        os::wait_for_peer(socket_.get(), false, event_.get(), deadline, news, ec);
        if (ec) lost(ec);
        if (news.woken) {  // by send(), for nobody takes what we say
          os::reset_event(event_.get());
        } else if (!news.readable) {
          throw too_late();
        }
      }
    }
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    if (line.starts_with("OK ")) line.erase(0, 3);
    if (line.empty() || line.front() < '0' || line.front() > '9' || line.size() >= most_greeting) {
      throw ConnectionError{"what listens at " + where_ + " is no Gearman server"};
    }
    version_ = std::move(line);
  }

  static constexpr std::size_t most_greeting = 128;

  const std::string where_;
  const std::chrono::seconds silence_;
  os::UniqueHandle socket_;
  std::optional<os::KeptFromChildren> kept_;  // ends before the socket
  os::UniqueHandle event_;
  std::string version_;
  PacketReader reader_;

  std::mutex mutex_;  // guards the rest
  std::deque<Unsent> unsent_;
  std::error_code broken_;
};

}  // namespace multiprocessing::detail::gearman
