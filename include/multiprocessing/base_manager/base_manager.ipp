// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file base_manager.ipp
/// @brief A server's beginning and end.
#include <multiprocessing/base_manager.hpp>

namespace multiprocessing {

namespace detail {

/// @brief The process of a server. It ends with its starter, and may start processes itself.
class ManagerProcess : public Process<ManagerProcess> {
 public:
  static constexpr bool daemons_may_start_it = true;
  using Place = std::optional<os::Endpoint>;

  ManagerProcess(Place place, std::string authkey, Task initializer, Connection report)
      : ManagerProcess{
            {}, std::move(place), std::move(authkey), std::move(initializer), std::move(report)} {}
  ManagerProcess(
      ProcessOptions options, Place place, std::string authkey, Task initializer, Connection report)
      : Process{std::move(options)},
        place_{std::move(place)},
        authkey_{std::move(authkey)},
        initializer_{std::move(initializer)},
        report_{std::move(report)} {}

  void run() override {
    {
      const std::lock_guard lock{process_state().mutex};
      process_state().daemon = false;
    }
    os::leave_signals_to_others();
    std::vector<std::byte> bytes{static_cast<std::byte>(Answer::value)};
    Encoder encoder{bytes};
    std::shared_ptr<ServerSide> server;
    try {
      server = std::make_shared<ServerSide>(listener(), authkey_);
      initializer_();
      encode<os::Endpoint>(encoder, server->address().endpoint());
    } catch (...) {
      server.reset();
      bytes.assign(1, static_cast<std::byte>(Answer::error));
      encode_exception(encoder, "in the manager's server:\n");
    }
    report_.send_bytes(bytes);
    report_.close();
    if (server) server->serve();
  }
  [[nodiscard]] auto reduce() const { return arguments(place_, authkey_, initializer_, report_); }

 private:
  [[nodiscard]] Listener listener() const {
    constexpr int backlog = 64;
    ListenerOptions options{.backlog = backlog, .authkey = authkey_};
    if (place_) options.address = Address{*place_};
    return Listener{std::move(options)};
  }

  Place place_;
  std::string authkey_;
  Task initializer_;
  Connection report_;
};

}  // namespace detail

inline BaseManager::~BaseManager() {
  if (made_by_ != detail::process_state().forks || !process_) return;
  try {
    shutdown();
  } catch (...) {  // it ends with this process at the latest
    static_cast<void>(0);
  }
}

inline void BaseManager::check_new() const {
  if (made_by_ != detail::process_state().forks) {
    throw std::logic_error{"this manager was made by another process: use its proxies, or connect"};
  }
  if (is_shut_down_) throw ProcessError{"this manager was shut down"};
  if (client_ || process_) throw ProcessError{"this manager was started or connected before"};
}

inline detail::ClientSide& BaseManager::client() const {
  if (made_by_ != detail::process_state().forks) {
    throw std::logic_error{"this manager was made by another process: use its proxies, or connect"};
  }
  if (is_shut_down_) throw ProcessError{"this manager was shut down"};
  if (!client_) throw std::logic_error{"this manager was not started, and not connected"};
  return *client_;
}

inline BaseProcess& BaseManager::process() const {
  if (made_by_ == detail::process_state().forks && process_) return *process_;
  throw std::logic_error{"the manager's server was not started by this manager in this process"};
}

inline void BaseManager::start(const Task& initializer) {
  check_new();
  Pipe pipe{false};
  detail::ManagerProcess::Place place;
  if (options_.address) place = options_.address->endpoint();
  auto process = std::make_unique<detail::ManagerProcess>(
      ProcessOptions{.daemon = true, .start_method = options_.start_method}, std::move(place),
      authkey(), initializer, pipe.second);
  process->start();
  pipe.second.close();
  wait({pipe.first, *process});
  const auto report = [&] {
    try {
      if (pipe.first.poll()) return pipe.first.recv_bytes();
    } catch (const EOFError&) {
    }
    process->join();
    throw EOFError{"the manager's server died before it listened; its exit code is " +
                   std::to_string(process->exitcode().value_or(255))};
  }();
  Decoder decoder{report};
  if (static_cast<detail::Answer>(decoder.read_number<std::uint8_t>()) == detail::Answer::error) {
    process->join();
    std::rethrow_exception(detail::decode_exception(decoder));
  }
  client_ = std::make_shared<detail::ClientSide>(Address{detail::decode<os::Endpoint>(decoder)},
                                                 authkey());
  process_ = std::move(process);
}

inline void BaseManager::connect() {
  check_new();
  if (!options_.address) throw std::invalid_argument{"connect(): the manager has no address"};
  auto client = std::make_shared<detail::ClientSide>(*options_.address, authkey());
  static_cast<void>(client->server());
  client_ = std::move(client);
}

inline void BaseManager::serve_forever() {
  check_new();
  constexpr int backlog = 64;
  const auto server = std::make_shared<detail::ServerSide>(
      Listener{{.address = options_.address, .backlog = backlog, .authkey = authkey()}}, authkey());
  options_.address = server->address();
  server->serve();
  is_shut_down_ = true;
}

inline std::size_t BaseManager::number_of_objects() {
  return client().ask(
      [](Encoder& encoder, detail::ManagerChannel&) {
        encoder.write_number(static_cast<std::uint8_t>(detail::Request::count));
      },
      [](Decoder& decoder) {
        return static_cast<std::size_t>(decoder.read_number<std::uint64_t>());
      });
}

inline void BaseManager::shutdown() {
  BaseProcess& server = process();
  const std::lock_guard lock{ending_};
  if (is_shut_down_) return;
  const detail::Deadline deadline{options_.shutdown_timeout};
  try {
    client().ask(
        [](Encoder& encoder, detail::ManagerChannel&) {
          encoder.write_number(static_cast<std::uint8_t>(detail::Request::shutdown));
        },
        [](Decoder&) { return 0; }, deadline);
  } catch (const ProcessError&) {  // it has ended already, or does not answer
  } catch (const std::system_error&) {
  }
  is_shut_down_ = true;
  if (server.join(deadline.left(forever.value()))) return;
  server.terminate();
  if (server.join(options_.shutdown_timeout)) return;
  server.kill();
  server.join();
}

}  // namespace multiprocessing
