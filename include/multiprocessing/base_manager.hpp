// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file base_manager.hpp
/// @brief A program's own objects, served to other processes and machines.
///
/// Not part of the umbrella: it needs network.hpp, and so the target multiprocessing::network.
#include <multiprocessing/base_manager/client.hpp>
#include <multiprocessing/base_manager/protocol.hpp>
#include <multiprocessing/base_manager/proxy.hpp>
#include <multiprocessing/base_manager/server.hpp>
#include <multiprocessing/callable.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/launch/authkey.hpp>
#include <multiprocessing/network.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/process.hpp>
#include <multiprocessing/timeout.hpp>
#include <multiprocessing/workers/remote_exception.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace multiprocessing {

/// @brief What a BaseManager is to be.
struct BaseManagerOptions {
  /// Where its server listens. None: a new place of this machine alone.
  std::optional<Address> address = {};
  /// Who has it may call the server. None: the key that all processes of this tree share.
  std::optional<std::string> authkey = {};
  /// How long shutdown() waits for the server to end by itself, and then once it was asked by
  /// SIGTERM.
  Timeout shutdown_timeout = std::chrono::seconds{1};
  std::optional<StartMethod> start_method = {};  ///< Of the server. Default: get_start_method().
};

/// @brief Objects of a program's own classes in a server process.
/// @python{multiprocessing.managers.BaseManager}
/// @code
/// class Counter {
///  public:
///   explicit Counter(int begin) : value_{begin} {}
///   int add(int n) { return value_ += n; }
///  private:
///   int value_;
/// };
///
/// mp::BaseManager manager;
/// manager.start();
/// auto counter = manager.create<Counter>(10);
/// counter.call<&Counter::add>(5);   // 15
/// @endcode
/// Nothing is registered: what a program calls is in it, so its server, which is the same program,
/// has it. On another machine: the same build calls `connect()`. What the server's program does not
/// have is refused, whatever a client says. Everybody who has the key may call everything that the
/// program calls somewhere.
///
/// The server ends by shutdown(), which the destructor calls, and with the process that started it,
/// however that ends. It does not hear Ctrl-C. It has a thread for each connection: each client
/// process has one, and one for each of its threads that call at the same time.
/// @threads any, after start() or connect().
/// @processes the one that made it: in others every call throws std::logic_error. Its proxies go
/// anywhere.
class BaseManager {
 public:
  /// @brief A manager whose server is not there yet: start(), connect() or serve_forever().
  explicit BaseManager(BaseManagerOptions options = {})
      : options_{std::move(options)}, made_by_{detail::process_state().forks.load()} {}
  BaseManager(const BaseManager&) = delete;
  BaseManager& operator=(const BaseManager&) = delete;
  /// @brief shutdown(), where this process started the server.
  ~BaseManager();

  /// @brief Starts the server, and waits until it listens.
  /// @param initializer is called in the server first.
  /// @throws ProcessError started or connected before, or shut down. What the server met: that the
  /// address is taken (std::system_error), what the initializer threw. EOFError it died.
  void start(const Task& initializer = {});
  /// @brief Connects to a server that another process has started, at the address that was given.
  /// @throws as Client(). std::invalid_argument no address was given. ProcessError as start().
  void connect();
  /// @brief Makes this process the server, at the address that was given or a new one, until a
  /// client shuts it down. @python{BaseManager.get_server().serve_forever()}
  void serve_forever();
  /// @brief Ends the server: by asking it; by SIGTERM, when it has not ended within the timeout; by
  /// SIGKILL after as much again. Calls that run go on until then. Once it is done it is done;
  /// meanwhile other threads wait here for the one that does it.
  /// @throws std::logic_error it was not started by this manager.
  void shutdown();
  /// @brief Waits until the server has ended. @returns whether it has.
  bool join(Timeout timeout = forever) { return process().join(timeout); }

  /// @brief An object of T in the server, made of these arguments. Text literals become
  /// std::string.
  /// @throws what the constructor throws; as Proxy::call().
  template <class T, class... A>
  [[nodiscard]] Proxy<T> create(A&&... arguments);

  /// @brief Where the server listens. @throws std::logic_error nobody knows yet.
  [[nodiscard]] Address address() const {
    if (client_) return client_->address();
    if (options_.address) return *options_.address;
    throw std::logic_error{"a manager has no address before start()"};
  }
  /// @brief How many objects the server has.
  [[nodiscard]] std::size_t number_of_objects();
  /// @brief How the server that was started here ended. @throws std::logic_error none was.
  [[nodiscard]] std::optional<int> exitcode() const { return process().exitcode(); }
  /// @brief The server's process id. @throws std::logic_error none was started here.
  [[nodiscard]] std::optional<int> pid() const { return process().pid(); }

 private:
  void check_new() const;
  [[nodiscard]] std::string authkey() const {
    return options_.authkey ? *options_.authkey : detail::authkey();
  }
  [[nodiscard]] detail::ClientSide& client() const;
  [[nodiscard]] BaseProcess& process() const;

  BaseManagerOptions options_;
  std::uint32_t made_by_;  // how many forks lie between the first process and that one
  std::unique_ptr<BaseProcess> process_;
  std::shared_ptr<detail::ClientSide> client_;
  std::mutex ending_;  // held by the one who shuts it down, until that is done
  std::atomic<bool> is_shut_down_{false};
};

template <class T, class... A>
Proxy<T> BaseManager::create(A&&... arguments) {
  using Arguments =
      std::tuple<std::conditional_t<std::is_convertible_v<const std::decay_t<A>&, const char*>,
                                    std::string, std::decay_t<A>>...>;
  using Key = typename detail::CreateOf<T, Arguments>::Key;
  auto& side = client();
  const auto object = detail::run_in_server<Key>(
      side,
      [&](Encoder& encoder) {
        detail::encode_arguments(encoder, std::type_identity<Arguments>{}, arguments...);
      },
      [](Decoder& decoder) { return decoder.read_number<std::uint64_t>(); });
  return detail::ProxyOf::make<T>(std::make_shared<detail::ObjectReference>(
      side.shared_from_this(), object, detail::type_hash<T>()));
}

}  // namespace multiprocessing

#include <multiprocessing/base_manager/base_manager.ipp>
