// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file listener_core.hpp
/// @brief What the copies of a Listener in one process share.
#include <multiprocessing/connection.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/network/address.hpp>
#include <multiprocessing/network/negotiation.hpp>
#include <multiprocessing/network/socket_file.hpp>
#include <multiprocessing/network/stream_core.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/socket.hpp>
#include <multiprocessing/timeout.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <variant>

namespace multiprocessing::detail {

/// @brief ListenerOptions, as they are needed below.
struct ListenerPlan {
  std::optional<Address> address;
  std::optional<Family> family;
  int backlog;
  std::optional<std::string> authkey;
  bool legacy_md5;
  Timeout handshake_timeout;
};

/// @brief A listening socket, and the clients that are in their handshake.
///
/// Nobody in particular drives the handshakes: each accept() takes all that are there, goes on with
/// each as far as it gets without waiting, and puts them back. With a key it waits for a set of
/// handles, which has the socket and them.
/// @threads any. The lists are guarded by the process state's mutex, which is held across forks.
/// @processes A forked child forgets the clients of its parent, and makes a set of its own.
class ListenerCore {
 public:
  static constexpr std::size_t most_in_handshake = 256;

  static std::shared_ptr<ListenerCore> create(ListenerPlan plan);
  ListenerCore(os::ListeningSocket socket, SocketFile file, os::Endpoint bound, ListenerPlan plan);
  ListenerCore(const ListenerCore&) = delete;
  ListenerCore& operator=(const ListenerCore&) = delete;
  ~ListenerCore() { close(); }

  /// @throws TimeoutError; as try_accept().
  std::shared_ptr<StreamCore> accept(const Deadline& deadline) {
    auto accepted = try_accept(deadline);
    if (!accepted) throw TimeoutError{"accept: nobody connected to " + address().to_string()};
    return accepted;
  }
  /// @brief An end that children do not get: see StreamCore::give_to_children().
  /// @returns none: nobody in time. @throws as Listener::accept().
  std::shared_ptr<StreamCore> try_accept(const Deadline& deadline);
  /// @returns whether try_accept() would have something at once.
  bool prepare_wait();

  [[nodiscard]] Address address() const { return Address{bound_}; }
  [[nodiscard]] std::optional<Address> last_accepted() const {
    const std::lock_guard lock{process_state().mutex};
    return last_accepted_;
  }
  [[nodiscard]] native_handle_type fileno() {
    const CallsInFlight::Call call{calls_};
    require(call);
    return handle();
  }
  [[nodiscard]] bool closed() const noexcept { return calls_.closed(); }
  void close() noexcept;
  /// @brief Children that are forked from now on have no part of it: its place is free when this
  /// process ends. Once, by the thread that made it.
  void keep_from_children() { kept_.emplace(socket_.handle.get()); }

 private:
  struct Client {
    Client(OwnSocket own, os::Endpoint from, const ListenerPlan& plan)
        : peer{std::move(from)},
          negotiation{std::move(own), Handshake::Side::listener, *plan.authkey, plan.legacy_md5},
          limit{plan.handshake_timeout} {}
    os::Endpoint peer;
    Negotiation negotiation;
    Deadline limit;
  };
  struct Accepted {
    OwnSocket own;
    os::Endpoint peer;
  };
  // Closing them may take a while, so what is sent away goes without the process state's mutex.
  using Clients = std::list<Client>;
  using Found = std::variant<Accepted, std::exception_ptr>;

  // The clients in handshake, in this thread's hands.
  class Borrowed {
   public:
    explicit Borrowed(ListenerCore& core) : core_{core} {
      const std::lock_guard lock{process_state().mutex};
      // What those in another thread's hands say meanwhile must still be told of.
      if (core_.in_hands_ == 0) os::begin_look(core_.set_.get());
      clients.swap(core_.clients_);
      taken_ = clients.size();
      core_.in_hands_ += taken_;
    }
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;
    ~Borrowed() {
      const std::lock_guard lock{process_state().mutex};
      core_.clients_.splice(core_.clients_.begin(), clients);
      core_.in_hands_ -= taken_;
    }
    Clients clients;

   private:
    ListenerCore& core_;
    std::size_t taken_ = 0;
  };

  static void require(const CallsInFlight::Call& call) {
    if (!call.entered()) throw std::invalid_argument{"this Listener is closed"};
  }
  native_handle_type handle();
  [[nodiscard]] std::chrono::nanoseconds longest_sleep() const;
  std::optional<Accepted> step();
  std::optional<Accepted> step_with_key();
  std::optional<Accepted> step_without_key();
  bool take_client(Accepted& into);
  std::optional<Accepted> take_found();
  std::optional<Accepted> go_on();
  std::optional<Accepted> admit(Accepted accepted);
  [[nodiscard]] bool somebody_waits() const;
  bool forget_oldest();
  Clients::iterator forget(Clients& clients, Clients::iterator client) {
    os::remove_from_ready_set(set_.get(), client->negotiation.handle());
    return clients.erase(client);
  }
  void forget_first(Clients& into) {
    os::remove_from_ready_set(set_.get(), clients_.front().negotiation.handle());
    into.splice(into.end(), clients_, clients_.begin());
  }

  CallsInFlight calls_;
  os::ListeningSocket socket_;
  std::optional<os::KeptFromChildren> kept_;  // ends before the socket
  os::UniqueHandle set_;                      // with a key: of the socket and the clients
  SocketFile file_;
  os::Endpoint bound_;
  ListenerPlan plan_;
  Clients clients_;
  std::size_t in_hands_ = 0;  // how many clients are in a thread's
  std::list<Found> found_;    // by prepare_wait()
  std::optional<Address> last_accepted_;
  std::uint32_t set_made_ = 0;  // how many forks lie before the process whose set it is
};

inline ListenerCore::ListenerCore(os::ListeningSocket socket,
                                  SocketFile file,
                                  os::Endpoint bound,
                                  ListenerPlan plan)
    : socket_{std::move(socket)},
      file_{std::move(file)},
      bound_{std::move(bound)},
      plan_{std::move(plan)} {
  handle();
}

inline std::shared_ptr<ListenerCore> ListenerCore::create(ListenerPlan plan) {
  if (plan.backlog < 0) throw std::invalid_argument{"Listener: the backlog is negative"};
  os::install_fork_handlers();
  const os::Endpoint where = place_to_listen(plan.address, plan.family);
  const std::string what = "Listener: cannot listen at " + Address{where}.to_string();
  std::error_code ec;
  SocketFile file{where};
  os::Endpoint bound;
  os::ListeningSocket socket = os::listen_at(where, plan.backlog, bound, ec);
  if (ec) throw std::system_error{ec, what};
  file.is_there();
  return std::make_shared<ListenerCore>(std::move(socket), std::move(file), std::move(bound),
                                        std::move(plan));
}

// The handle to wait for. Also where a fork is noticed.
inline native_handle_type ListenerCore::handle() {
  if (!plan_.authkey) return socket_.handle.get();
  Clients clients;  // of a parent
  std::list<Found> found;
  const std::lock_guard lock{process_state().mutex};
  const std::uint32_t here = process_state().forks.load();
  if (set_ && set_made_ == here) return set_.get();
  std::error_code ec;
  os::UniqueHandle set = os::make_ready_set(socket_, ec);
  if (ec) throw std::system_error{ec, "Listener: cannot wait for clients"};
  clients.swap(clients_);
  in_hands_ = 0;
  found.swap(found_);
  set_ = std::move(set);
  set_made_ = here;
  return set_.get();
}

inline std::shared_ptr<StreamCore> ListenerCore::try_accept(const Deadline& deadline) {
  for (;;) {
    const CallsInFlight::Call call{calls_};
    require(call);
    if (auto accepted = step()) {
      auto core = StreamCore::create(std::move(accepted->own));
      const bool has_name = !accepted->peer.name.empty();
      const std::lock_guard lock{process_state().mutex};
      last_accepted_.reset();
      if (has_name) last_accepted_.emplace(std::move(accepted->peer));
      return core;
    }
    if (deadline.passed()) return nullptr;
    std::error_code ec;
    const Deadline until = plan_.authkey ? Deadline{deadline.left(longest_sleep())} : deadline;
    const auto waited =
        os::wait_ready(handle(), os::Readiness::readable, calls_.interrupt(), until, ec);
    if (ec) throw std::system_error{ec, "accept: waiting at " + address().to_string()};
    if (waited == os::Waited::interrupted) throw std::invalid_argument{"this Listener is closed"};
  }
}

// With a key: then those that are late are sent away. Of what a pipe's clients say nobody tells.
inline std::chrono::nanoseconds ListenerCore::longest_sleep() const {
  constexpr std::chrono::seconds look_for_the_late{1};
  constexpr std::chrono::milliseconds look_at_pipes{5};
  if (bound_.family != Family::af_pipe) return look_for_the_late;
  const std::lock_guard lock{process_state().mutex};
  if (clients_.empty() && in_hands_ == 0) return look_for_the_late;
  return look_at_pipes;
}

inline bool ListenerCore::prepare_wait() {
  const CallsInFlight::Call call{calls_};
  require(call);
  if (!plan_.authkey && !socket_.place) return somebody_waits();
  std::list<Found> found;
  try {
    auto accepted = step();
    if (!accepted) return false;
    found.emplace_back(std::move(*accepted));
  } catch (const std::exception&) {
    found.emplace_back(std::current_exception());
  }
  const std::lock_guard lock{process_state().mutex};
  found_.splice(found_.end(), found);
  os::look_again(socket_.handle.get());
  return true;
}

// A client that is through, without waiting.
inline std::optional<ListenerCore::Accepted> ListenerCore::step() {
  const native_handle_type told_by = handle();
  try {
    auto through = plan_.authkey ? step_with_key() : step_without_key();
    if (through && plan_.authkey) os::look_again(told_by);
    return through;
  } catch (...) {
    os::look_again(told_by);
    throw;
  }
}

inline std::optional<ListenerCore::Accepted> ListenerCore::step_without_key() {
  if (auto found = take_found()) return found;
  os::begin_look(socket_.handle.get());
  Accepted accepted;
  const bool is_one = take_client(accepted) && accepted.own.socket;
  const std::lock_guard lock{process_state().mutex};
  if (!found_.empty()) os::look_again(socket_.handle.get());  // by a thread that waits
  if (!is_one) return std::nullopt;
  return accepted;
}

inline std::optional<ListenerCore::Accepted> ListenerCore::step_with_key() {
  if (auto found = take_found()) return found;
  if (auto accepted = go_on()) return accepted;
  constexpr int at_once = 64;
  for (int i = 0; i < at_once; ++i) {
    Accepted accepted;
    if (!take_client(accepted)) return std::nullopt;
    if (!accepted.own.socket) continue;
    if (auto through = admit(std::move(accepted))) return through;
  }
  os::look_again(set_.get());
  return std::nullopt;
}

// False: nobody waits. Without a socket: one was sent away for it, so try again.
inline bool ListenerCore::take_client(Accepted& into) {
  std::error_code ec;
  {
    const std::lock_guard lock{process_state().mutex};  // no fork comes between the two
    into.own.socket = os::accept_from(socket_, into.peer, ec);
    if (into.own.socket) into.own.kept.emplace(into.own.socket.get(), lock);
  }
  if (ec == std::errc::too_many_files_open || ec == std::errc::too_many_files_open_in_system) {
    if (!socket_.place && !somebody_waits()) return false;
    if (forget_oldest()) return true;
  }
  if (ec) throw std::system_error{ec, "accept: at " + address().to_string()};
  return static_cast<bool>(into.own.socket);
}

inline std::optional<ListenerCore::Accepted> ListenerCore::take_found() {
  std::list<Found> first;
  {
    const std::lock_guard lock{process_state().mutex};
    if (found_.empty()) return std::nullopt;
    first.splice(first.end(), found_, found_.begin());
  }
  if (auto* const error = std::get_if<std::exception_ptr>(&first.front())) {
    std::rethrow_exception(*error);
  }
  return std::get<Accepted>(std::move(first.front()));
}

inline std::optional<ListenerCore::Accepted> ListenerCore::go_on() {
  Borrowed borrowed{*this};
  auto& clients = borrowed.clients;
  for (auto client = clients.begin(); client != clients.end();) {
    auto progress = Negotiation::Progress::left;
    try {
      if (!client->limit.passed()) progress = client->negotiation.go_on();
    } catch (...) {
      forget(clients, client);
      throw;
    }
    if (progress == Negotiation::Progress::waiting) {
      ++client;
    } else if (progress == Negotiation::Progress::left) {
      client = forget(clients, client);
    } else {
      os::remove_from_ready_set(set_.get(), client->negotiation.handle());
      Accepted accepted{client->negotiation.take_socket(), std::move(client->peer)};
      clients.erase(client);
      return accepted;
    }
  }
  return std::nullopt;
}

// A client that is quick may be through at once.
inline std::optional<ListenerCore::Accepted> ListenerCore::admit(Accepted accepted) {
  Clients one;
  Client& client = one.emplace_back(std::move(accepted.own), std::move(accepted.peer), plan_);
  const auto progress = client.negotiation.go_on();
  if (progress == Negotiation::Progress::done) {
    return Accepted{client.negotiation.take_socket(), std::move(client.peer)};
  }
  if (progress == Negotiation::Progress::left) return std::nullopt;
  std::error_code ec;
  Clients gone;
  const std::lock_guard lock{process_state().mutex};  // no look may come between the two
  os::add_to_ready_set(set_.get(), client.negotiation.handle(), ec);
  if (ec) throw std::system_error{ec, "accept: waiting for a client's handshake"};
  clients_.splice(clients_.end(), one);
  if (clients_.size() > most_in_handshake) forget_first(gone);
  return std::nullopt;
}

// POSIX. accept() wants a descriptor before it looks whether somebody waits. One who cannot be
// asked for may. Where there is a place, its handle tells too much, and accept_from() looks first.
inline bool ListenerCore::somebody_waits() const {
  std::error_code ec;
  const Deadline now{std::chrono::seconds{0}};
  const auto waited = os::wait_ready(socket_.handle.get(), os::Readiness::readable, {}, now, ec);
  return ec || waited == os::Waited::ready;
}

// Strangers that say nothing keep no descriptors from those who know the key. False: there are
// none; where another thread has them in hand, they are asked for again.
inline bool ListenerCore::forget_oldest() {
  Clients gone;
  const std::lock_guard lock{process_state().mutex};
  if (clients_.empty()) return in_hands_ != 0;
  forget_first(gone);
  return true;
}

inline void ListenerCore::close() noexcept {
  calls_.close([this] {
    {
      Clients clients;
      std::list<Found> found;
      const std::lock_guard lock{process_state().mutex};
      clients.swap(clients_);
      found.swap(found_);
      kept_.reset();  // the number may be another file's at once
      socket_ = {};
      set_.reset();
    }
    file_.remove();
  });
}

}  // namespace multiprocessing::detail
