// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file client.hpp
/// @brief What a process has of a BaseManager's server.
#include <multiprocessing/base_manager/line.hpp>
#include <multiprocessing/base_manager/protocol.hpp>
#include <multiprocessing/base_manager/server.hpp>
#include <multiprocessing/connection.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/launch/authkey.hpp>
#include <multiprocessing/network.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/workers/remote_exception.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief A connection to a server, and which code was named on it.
class ManagerChannel {
 public:
  /// @throws as Client(); ProcessError it is no manager's server.
  ManagerChannel(const Address& address,
                 const std::string& authkey,
                 const ManagerId& client,
                 bool is_first,
                 const Deadline& deadline)
      : line_{connection_of(dial(address, authkey, false, deadline))} {
    std::vector<std::byte> bytes;
    Encoder encoder{bytes};
    encoder.write_number(manager_greeting);
    encode<ManagerId>(encoder, client);
    encoder.write_number(static_cast<std::uint8_t>(is_first ? 1 : 0));
    line_.send(bytes);
    if (!line_.receive(bytes, deadline)) {
      throw TimeoutError{"the manager's server does not answer"};
    }
    Decoder decoder{bytes};
    if (decoder.read_number<std::uint64_t>() != manager_greeting) {
      throw ProcessError{"what listens at " + address.to_string() + " is not a manager's server"};
    }
    server_ = decode<ManagerId>(decoder);
  }
  ManagerChannel(ManagerChannel&&) = default;
  ManagerChannel(const ManagerChannel&) = delete;
  ManagerChannel& operator=(const ManagerChannel&) = delete;
  ManagerChannel& operator=(ManagerChannel&&) = delete;
  ~ManagerChannel() = default;

  [[nodiscard]] const ManagerId& server() const noexcept { return server_; }
  [[nodiscard]] ManagerLine& line() noexcept { return line_; }

  /// @brief Names code: in full the first time.
  template <class Key>
  void name_code(Encoder& encoder) {
    const void* const key = &DescriptorOf<Key>::value;
    const auto [place, is_new] = code_.try_emplace(key, static_cast<std::uint32_t>(code_.size()));
    encoder.write_number(place->second);
    if (is_new) codec<CodeReference>::encode(encoder, refer_to<Key>());
  }

 private:
  ManagerLine line_;  // children do not get it
  ManagerId server_{};
  std::map<const void*, std::uint32_t> code_;
};

/// @brief What this process has of one server. A thread that asks takes a connection that is idle,
/// or makes one; the first one stays open and says that this process lives.
/// @threads any. @processes A forked child begins anew: it is a client of its own.
class ClientSide : public std::enable_shared_from_this<ClientSide> {
 public:
  ClientSide(Address address, std::string authkey)
      : address_{std::move(address)}, authkey_{std::move(authkey)} {
    os::install_fork_handlers();
  }
  ClientSide(const ClientSide&) = delete;
  ClientSide& operator=(const ClientSide&) = delete;
  ~ClientSide();

  /// @brief The one of this process for a server, made if there was none.
  static std::shared_ptr<ClientSide> get(const Address& address,
                                         const std::string& authkey,
                                         const ManagerId& server);

  [[nodiscard]] const Address& address() const noexcept { return address_; }
  [[nodiscard]] const std::string& authkey() const noexcept { return authkey_; }
  /// @brief The server's number; connects if it is not known.
  [[nodiscard]] ManagerId server();

  /// @brief Asks: `write(Encoder&, ManagerChannel&)` writes the question, `read(Decoder&)` reads
  /// the answer.
  /// @throws what the server answers; EOFError, ConnectionError, std::system_error it has ended.
  template <class Write, class Read>
  auto ask(const Write& write, const Read& read, const Deadline& deadline = Deadline{forever});

  void acquire(std::uint64_t object,
               std::uint64_t type,
               const Deadline& deadline = Deadline{forever});
  /// @brief Waits for the server, but not for one that did not answer to such a call, until it
  /// answers to another: what is not released goes with this process.
  void release(std::uint64_t object) noexcept;

  /// @brief The server whose answer this thread decodes: proxies in it are counted already.
  [[nodiscard]] static ClientSide*& answering() noexcept {
    thread_local constinit ClientSide* now = nullptr;
    return now;
  }

 private:
  static constexpr std::size_t most_idle = 32;
  static constexpr std::chrono::seconds longest_release{5};  // in a destructor
  // Of this process: a forked child leaves its parent's alone, whose mutex may be held.
  struct Own {
    std::uint32_t forks;
    ManagerId client;
    std::mutex mutex;  // guards the next four
    std::condition_variable connected;
    bool is_connecting = false;  // some thread makes the first one
    std::optional<ManagerChannel> first;
    std::vector<ManagerChannel> idle;
    std::atomic<bool> gave_up{false};  // a release, for the server did not answer
  };

  Own& own();
  ManagerChannel connect(const Own& own, bool is_first, const Deadline& deadline);
  ManagerChannel take_channel(Own& own, const Deadline& deadline);
  static void give_back(Own& own, ManagerChannel channel);

  Address address_;
  std::string authkey_;
  std::optional<ManagerId> server_;  // guarded by the process state's mutex, as is the next
  Own* own_ = nullptr;
};

/// @brief The clients of this process. Guarded by the process state's mutex.
struct ManagerClients {
  std::vector<std::weak_ptr<ClientSide>> all;
};
[[nodiscard]] inline ManagerClients& manager_clients() {
  static auto& one = os::process_wide<ManagerClients>();
  return one;
}

template <class Write, class Read>
auto ClientSide::ask(const Write& write, const Read& read, const Deadline& deadline) {
  Own& own = this->own();
  ManagerChannel channel = take_channel(own, deadline);
  std::vector<std::byte> bytes;
  Encoder encoder{bytes};
  write(encoder, channel);
  channel.line().send(bytes);
  if (!channel.line().receive(bytes, deadline)) {
    throw TimeoutError{"the manager's server does not answer"};
  }
  own.gave_up = false;
  give_back(own, std::move(channel));
  Decoder decoder{bytes, nullptr, Origin::peer};
  struct Decoding {
    explicit Decoding(ClientSide* side) : before{std::exchange(answering(), side)} {}
    ~Decoding() { answering() = before; }
    ClientSide* before;
  };
  const Decoding decoding{this};
  if (static_cast<Answer>(decoder.read_number<std::uint8_t>()) == Answer::error) {
    std::rethrow_exception(decode_exception(decoder));
  }
  return read(decoder);
}

}  // namespace multiprocessing::detail

#include <multiprocessing/base_manager/client.ipp>
