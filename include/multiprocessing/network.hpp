// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file network.hpp
/// @brief Connections between processes that are no relatives: to other programs, machines, and to
/// Python's multiprocessing. @python{multiprocessing.connection.Listener, Client}
///
/// Not in <multiprocessing.hpp>. Needs OpenSSL's libcrypto, on Windows ws2_32 and bcrypt: CMake
/// target multiprocessing::network.
#include <multiprocessing/connection.hpp>
#include <multiprocessing/network/address.hpp>
#include <multiprocessing/network/dialing.hpp>
#include <multiprocessing/network/listener_core.hpp>
#include <multiprocessing/network/pickle.hpp>
#include <multiprocessing/timeout.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace multiprocessing {

/// @brief What a Listener is to be.
struct ListenerOptions {
  /// None: a new one of the family: a file in the folder for temporary files, or a named pipe, for
  /// this user alone whatever the umask; or a free port of this machine alone.
  std::optional<Address> address = {};
  /// None: the address's; without one af_unix (Windows: af_pipe). For a host by name, whether IPv4
  /// (none) or IPv6.
  std::optional<Family> family = {};
  int backlog = 1;  ///< So many may wait to be accepted before others are kept waiting.
  /// None: everybody may connect who reaches the address. "" is a key.
  std::optional<std::string> authkey = {};
  /// Lets CPython 3.11 and older in, which know HMAC-MD5 only.
  bool legacy_md5 = false;
  /// A client that has not said the right things by then is sent away.
  Timeout handshake_timeout = std::chrono::seconds{20};
};

/// @brief Where other processes connect to, with Client() or Python's `Client`.
/// @python{multiprocessing.connection.Listener}
///
/// A handle: copies in this process are the same listener. The file of an af_unix address goes with
/// close(), with the last copy in the process that made it, and with that process, however it ends.
/// A child made by fork has a listener of its own at the same place, and may accept too; a Listener
/// travels no other way.
///
/// With a key, client and listener show each other that they have it (HMAC-SHA256 of a challenge,
/// both ways); nothing is encrypted. Any number of clients may be in that handshake at once, so
/// none holds up another: at most 256, or as there are descriptors; then the oldest is sent away
/// for the next. Before it is through, no more than 256 bytes of a message are read.
/// @code
/// mp::Listener listener{{.address = mp::Address{"localhost", 6000}, .authkey = "secret"}};
/// mp::Connection client = listener.accept();
/// @endcode
/// @threads any, at once.
/// @processes the one that made it, and its forked children.
class Listener {
 public:
  /// @throws std::system_error the address is taken, is not this machine's, or the system refuses.
  /// @throws std::invalid_argument the family does not fit the address, or is not this system's:
  ///   af_pipe on POSIX, af_unix on Windows; backlog < 0.
  explicit Listener(ListenerOptions options = {});

  /// @brief Waits for a client, and for its handshake where there is a key.
  ///
  /// Clients that leave in their handshake, or are silent for too long, are forgotten without a
  /// word. @python{Listener.accept}, which has no timeout, and does wait for each.
  /// @throws TimeoutError none came in time. Handshakes go on at the next call.
  /// @throws AuthenticationError a client has another key, or does not speak the protocol; it was
  ///   sent away. Call again.
  /// @throws std::system_error EMFILE and the like: the client goes on waiting.
  /// @throws std::invalid_argument closed; also while this thread waits.
  [[nodiscard]] Connection accept(Timeout timeout = forever) {
    auto accepted = core_->accept(detail::Deadline{timeout});
    accepted->give_to_children();
    return detail::connection_of(std::move(accepted));
  }
  /// @brief accept() without an exception for time. @returns none: nobody came.
  [[nodiscard]] std::optional<Connection> try_accept(Timeout timeout = std::chrono::seconds{0}) {
    auto accepted = core_->try_accept(detail::Deadline{timeout});
    if (!accepted) return std::nullopt;
    accepted->give_to_children();
    return detail::connection_of(std::move(accepted));
  }

  /// @brief Where it listens: a number of a port in place of 0, a number of a host in place of its
  /// name. Also after close(). @python{Listener.address}
  [[nodiscard]] Address address() const { return core_->address(); }
  /// @brief Who the client was that accept() returned last; none when there was none, or it has no
  /// address (af_unix). @python{Listener.last_accepted}
  [[nodiscard]] std::optional<Address> last_accepted() const { return core_->last_accepted(); }

  /// @brief Nobody connects any more; threads in accept() get std::invalid_argument. Connections
  /// stay. Twice is fine. @python{Listener.close}
  void close() noexcept { core_->close(); }
  /// @brief Whether this process has closed it.
  [[nodiscard]] bool closed() const noexcept { return core_->closed(); }

  /// @brief For poll, epoll and the like: readable when accept() has something to do, which with a
  /// key need not be a connection yet: call try_accept() then. Windows: an event. Of a named pipe
  /// with a key it does not tell what clients in their handshake say: call try_accept() anyway, now
  /// and then.
  /// @throws std::invalid_argument closed.
  [[nodiscard]] native_handle_type fileno() const { return core_->fileno(); }
  /// @brief For wait(): goes on with handshakes. @returns whether accept() would not have to wait.
  [[nodiscard]] bool prepare_wait() const { return core_->prepare_wait(); }

  /// @brief For this library.
  [[nodiscard]] const std::shared_ptr<detail::ListenerCore>& core() const noexcept { return core_; }

 private:
  std::shared_ptr<detail::ListenerCore> core_;
};

/// @brief How Client() connects.
struct ClientOptions {
  std::optional<std::string> authkey = {};  ///< The listener's; "" is one.
  Timeout timeout = forever;                ///< For all of it.
  bool legacy_md5 = false;  ///< Answers listeners that know HMAC-MD5 only: CPython up to 3.11.
};

/// @brief Connects to a Listener, ours or Python's. @python{multiprocessing.connection.Client}
///
/// The Connection is a stream in CPython's framing. Its peer is another program, so it may send
/// anything: recv() of a type throws SerializationError for what is not of that type,
/// pickle::recv() for what is not in the subset of pickle; nothing is ever executed. send() and
/// recv() are for a C++ program at the other end, pickle::send() and pickle::recv() for a Python
/// program. recv_bytes(max) of a longer message closes the connection before it is read.
///
/// A message is whole among the threads of a process, and among processes that share the Connection
/// (by fork, in a state, through a duplex pipe): a lock travels along. When one of them dies inside
/// a message, every later call of the others throws ConnectionError, and so does recv() at the
/// other end. A timeout is for a message's beginning: one that has begun is waited for as long as
/// the peer lives. No handles travel. A named pipe has messages of its own, whole whoever dies, no
/// larger than the system takes at once.
/// @param address a host's name is tried at each of its addresses, those of IPv4 first.
/// @param options the listener's key, and how long to wait.
/// @throws TimeoutError not within the time.
/// @throws AuthenticationError the listener has another key, or none, or knows HMAC-MD5 only.
/// @throws std::system_error nobody listens there (ECONNREFUSED, ENOENT), or the system refuses.
/// @throws std::invalid_argument this system has no such addresses.
/// @threads any.
[[nodiscard]] inline Connection Client(const Address& address, ClientOptions options = {}) {
  auto core =
      detail::dial(address, options.authkey, options.legacy_md5, detail::Deadline{options.timeout});
  core->give_to_children();
  return detail::connection_of(std::move(core));
}

// ---- definitions ----

inline Listener::Listener(ListenerOptions options)
    : core_{detail::ListenerCore::create({.address = std::move(options.address),
                                          .family = options.family,
                                          .backlog = options.backlog,
                                          .authkey = std::move(options.authkey),
                                          .legacy_md5 = options.legacy_md5,
                                          .handshake_timeout = options.handshake_timeout})} {}

}  // namespace multiprocessing
