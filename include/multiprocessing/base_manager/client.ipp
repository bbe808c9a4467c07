// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file client.ipp
/// @brief A client's connections.
#include <multiprocessing/base_manager/client.hpp>

namespace multiprocessing::detail {

inline ClientSide::~ClientSide() {
  // A parent's, in a forked child, may not be touched: its connections lead nowhere here.
  if (own_ != nullptr && own_->forks == process_state().forks) delete own_;
}

inline ClientSide::Own& ClientSide::own() {
  const std::uint32_t here = process_state().forks;
  {
    const std::lock_guard lock{process_state().mutex};
    if (own_ != nullptr && own_->forks == here) return *own_;
  }
  auto made = std::make_unique<Own>();
  made->forks = here;
  made->client = random_manager_id();
  const std::lock_guard lock{process_state().mutex};
  if (own_ == nullptr || own_->forks != here) own_ = made.release();
  return *own_;
}

inline ManagerChannel ClientSide::connect(const Own& own, bool is_first, const Deadline& deadline) {
  ManagerChannel made{address_, authkey_, own.client, is_first, deadline};
  const std::lock_guard lock{process_state().mutex};
  if (!server_) server_ = made.server();
  if (*server_ == made.server()) return made;
  throw ProcessError{"the manager's server at " + address_.to_string() +
                     " is another one than before: the objects of the one before are gone"};
}

// Nobody waits longer for another thread's first connection than for its own.
inline ManagerChannel ClientSide::take_channel(Own& own, const Deadline& deadline) {
  constexpr std::chrono::hours long_enough{1};
  std::unique_lock lock{own.mutex};
  while (own.idle.empty() && !own.first) {
    if (own.is_connecting) {
      if (deadline.passed()) throw TimeoutError{"the manager's server was not reached in time"};
      own.connected.wait_for(lock, deadline.left(long_enough));
      continue;
    }
    own.is_connecting = true;
    lock.unlock();
    std::optional<ManagerChannel> first;
    std::exception_ptr error;
    try {
      first.emplace(connect(own, true, deadline));
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    own.is_connecting = false;
    own.connected.notify_all();
    if (error) std::rethrow_exception(error);
    own.first.emplace(*std::move(first));
  }
  if (!own.idle.empty()) {
    ManagerChannel idle = std::move(own.idle.back());
    own.idle.pop_back();
    return idle;
  }
  lock.unlock();
  return connect(own, false, deadline);
}

inline void ClientSide::give_back(Own& own, ManagerChannel channel) {
  const std::lock_guard lock{own.mutex};
  if (own.idle.size() < most_idle) own.idle.push_back(std::move(channel));
}

inline ManagerId ClientSide::server() {
  {
    const std::lock_guard lock{process_state().mutex};
    if (server_) return *server_;
  }
  Own& own = this->own();
  give_back(own, take_channel(own, Deadline{forever}));
  const std::lock_guard lock{process_state().mutex};
  return *server_;
}

inline void ClientSide::acquire(std::uint64_t object,
                                std::uint64_t type,
                                const Deadline& deadline) {
  ask(
      [&](Encoder& encoder, ManagerChannel&) {
        encoder.write_number(static_cast<std::uint8_t>(Request::acquire));
        encoder.write_number(object);
        encoder.write_number(type);
      },
      [](Decoder&) { return 0; }, deadline);
}

inline void ClientSide::release(std::uint64_t object) noexcept {
  try {
    Own& own = this->own();
    if (own.gave_up) return;
    try {
      ask(
          [&](Encoder& encoder, ManagerChannel&) {
            encoder.write_number(static_cast<std::uint8_t>(Request::release));
            encoder.write_number(object);
          },
          [](Decoder&) { return 0; }, Deadline{longest_release});
    } catch (const TimeoutError&) {
      own.gave_up = true;
    }
  } catch (...) {  // the server has ended, and the object with it
    static_cast<void>(0);
  }
}

inline std::shared_ptr<ClientSide> ClientSide::get(const Address& address,
                                                   const std::string& authkey,
                                                   const ManagerId& server) {
  ManagerClients& clients = manager_clients();
  std::vector<std::shared_ptr<ClientSide>> seen;  // the end of one takes the mutex
  auto made = std::make_shared<ClientSide>(address, authkey);
  const std::lock_guard lock{process_state().mutex};
  std::erase_if(clients.all, [](const auto& client) { return client.expired(); });
  for (const auto& client : clients.all) {
    seen.push_back(client.lock());
    if (seen.back() && seen.back()->server_ == server) return seen.back();
  }
  made->server_ = server;
  clients.all.push_back(made);
  return made;
}

}  // namespace multiprocessing::detail
