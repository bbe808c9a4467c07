// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file proxy.hpp
/// @brief An object in a BaseManager's server, as others have it.
#include <multiprocessing/base_manager/client.hpp>
#include <multiprocessing/base_manager/protocol.hpp>
#include <multiprocessing/base_manager/server.hpp>
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/launch/authkey.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/timeout.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace multiprocessing {

template <class T>
class Proxy;

namespace detail {

/// @brief What copies of a proxy in one process share: one reference to the object.
///
/// In a client it is counted by the server. If the proxy was sent on, or a fork was made while it
/// existed, the reference stays until this process ends: who has it from us may come to it late.
class ObjectReference {
 public:
  ObjectReference(std::shared_ptr<ClientSide> client, std::uint64_t object, std::uint64_t type)
      : client_{std::move(client)}, object_{object}, type_{type} {
    forks_ = process_state().forks.load();
    forked_ = process_state().forked.load();
  }
  ObjectReference(ServerSide& server, std::uint64_t object, std::uint64_t type)
      : server_{server.shared_from_this()}, object_{object}, type_{type} {
    server.acquire(object, type, nullptr);
    forks_ = process_state().forks.load();
    forked_ = process_state().forked.load();
  }
  ObjectReference(const ObjectReference&) = delete;
  ObjectReference& operator=(const ObjectReference&) = delete;
  ~ObjectReference() {
    if (forks_ != process_state().forks) return;  // what a forked child never used
    if (server() != nullptr) {
      server_->release(object_, nullptr);
    } else if (!has_travelled_ && forked_ == process_state().forked) {
      client_->release(object_);
    }
  }

  [[nodiscard]] std::uint64_t object() const noexcept { return object_; }
  /// @brief The server, in its own process; none elsewhere.
  [[nodiscard]] ServerSide* server() const noexcept {
    return server_ != nullptr && server_->is_here() ? server_.get() : nullptr;
  }
  [[nodiscard]] bool is(const ObjectReference& other) const {
    return object_ == other.object_ && id() == other.id();
  }
  [[nodiscard]] ServedObject served() const { return server_->find(object_, type_); }
  /// @brief The server's other end; a forked child takes a reference of its own first.
  [[nodiscard]] ClientSide& asked() {
    const std::uint32_t here = process_state().forks;
    if (forks_ != here) {
      const std::lock_guard lock{taking_};
      if (forks_ == here) return *client_;
      if (server_ != nullptr) {  // a server's child
        client_ = ClientSide::get(server_->address(), server_->authkey(), server_->id());
      }
      client_->acquire(object_, type_);
      forked_ = process_state().forked.load();
      forks_ = here;
    }
    return *client_;
  }

  void save(Encoder& encoder) const;
  static std::shared_ptr<ObjectReference> load(Decoder& decoder, std::uint64_t type);

 private:
  [[nodiscard]] ManagerId id() const {
    return server_ != nullptr ? server_->id() : client_->server();
  }

  std::shared_ptr<ServerSide> server_;  // in the server's own process; else:
  std::shared_ptr<ClientSide> client_;
  std::uint64_t object_;
  std::uint64_t type_;
  std::atomic<std::uint32_t> forks_{0};
  std::atomic<std::uint32_t> forked_{0};
  mutable std::atomic<bool> has_travelled_{false};
  std::mutex taking_;
};

// The key goes along only where handles could, among relatives. In a server, who gets the answer
// has what is in it; what a method sends elsewhere meanwhile is the server's, as it is outside of
// calls.
inline void ObjectReference::save(Encoder& encoder) const {
  const bool is_related = encoder.transit() != nullptr;
  has_travelled_ = true;
  if (ServerSide* const here = server()) {
    const auto& serving = ServerSide::serving();
    const bool is_answer = serving.server == here && serving.answer == &encoder;
    here->acquire(object_, type_, is_answer ? serving.session : nullptr);
  }
  const bool is_server = server_ != nullptr;
  encode<ManagerId>(encoder, id());
  encode<os::Endpoint>(encoder, (is_server ? server_->address() : client_->address()).endpoint());
  encode<std::string>(encoder, !is_related ? std::string{}
                               : is_server ? server_->authkey()
                                           : client_->authkey());
  encoder.write_number(object_);
  encoder.write_number(type_);
}

/// @brief The key of a server that a proxy without one names: one that the sender has anyhow.
/// @throws SerializationError there is none.
[[nodiscard]] inline std::string key_of_sender(const Decoder& decoder) {
  if (decoder.origin() == Origin::relative) return authkey();
  if (const ClientSide* const asked = ClientSide::answering()) return asked->authkey();
  if (const ServerSide* const serving = ServerSide::serving().server) return serving->authkey();
  throw SerializationError{"a proxy came from another machine without its manager's key"};
}

inline std::shared_ptr<ObjectReference> ObjectReference::load(Decoder& decoder,
                                                              std::uint64_t type) {
  if (decoder.origin() == Origin::stranger) {
    throw SerializationError{
        "a proxy does not come through a Listener's or Client's connection: this process would "
        "connect to whatever address the other end names. Send it through a manager, a queue or a "
        "pipe"};
  }
  const auto id = decode<ManagerId>(decoder);
  const Address address{decode<os::Endpoint>(decoder)};
  auto key = decode<std::string>(decoder);
  const auto object = decoder.read_number<std::uint64_t>();
  if (decoder.read_number<std::uint64_t>() != type) {
    throw SerializationError{"what arrived is a proxy of another type"};
  }
  if (const auto server = server_here(id)) {
    return std::make_shared<ObjectReference>(*server, object, type);
  }
  ClientSide* const answering = ClientSide::answering();
  if (answering != nullptr && answering->server() == id) {  // the server counts it already
    return std::make_shared<ObjectReference>(answering->shared_from_this(), object, type);
  }
  constexpr std::chrono::seconds patience{20};
  if (key.empty()) key = key_of_sender(decoder);
  auto client = ClientSide::get(address, key, id);
  const bool is_relative = decoder.origin() == Origin::relative;
  client->acquire(object, type, Deadline{is_relative ? forever : Timeout{patience}});
  return std::make_shared<ObjectReference>(std::move(client), object, type);
}

/// @brief The key of the code that makes a T.
template <class T, class... A>
struct CreateObject {
  using Signature = void(ServedCall&);
  static void entry(ServedCall& call) {
    auto arguments = decode_arguments(call.arguments, std::type_identity<std::tuple<A...>>{});
    auto made = std::apply(
        [](A&... argument) { return std::make_shared<T>(std::move(argument)...); }, arguments);
    call.result.write_number(call.server.add(make_served<T>(std::move(made)), type_hash<T>(),
                                             ServerSide::serving().session));
  }
};

template <class T, class Arguments>
struct CreateOf;
template <class T, class... A>
struct CreateOf<T, std::tuple<A...>> {
  using Key = CreateObject<T, A...>;
};

/// @brief The key of the code that calls a method; what it gives is sent, or stays.
template <class T, auto Method, bool Keeps>
struct CallMethod {
  using Signature = void(ServedCall&);
  using Result = typename Type<Method>::Result;
  static void entry(ServedCall& call) {
    const auto object = call.arguments.read_number<std::uint64_t>();
    const ServedObject served = call.server.find(object, type_hash<T>());
    auto arguments =
        decode_arguments(call.arguments, std::type_identity<typename Type<Method>::Arguments>{});
    if constexpr (Keeps) {
      auto made = std::make_shared<Result>(invoke_served<T, Method>(served, arguments));
      call.result.write_number(call.server.add(make_served<Result>(std::move(made)),
                                               type_hash<Result>(), ServerSide::serving().session));
    } else if constexpr (std::is_void_v<Result>) {
      invoke_served<T, Method>(served, arguments);
    } else {
      encode<Result>(call.result, invoke_served<T, Method>(served, arguments));
    }
  }
};

template <class... P, class... A>
void encode_arguments(Encoder& encoder,
                      std::type_identity<std::tuple<P...>>,
                      const A&... arguments) {
  static_assert(sizeof...(P) == sizeof...(A), "the method takes another number of arguments");
  [[maybe_unused]] const auto one = [&]<class To, class From>(std::type_identity<To>,
                                                              const From& from) {
    if constexpr (std::is_same_v<To, From>) {
      encode<To>(encoder, from);
    } else {
      encode<To>(encoder, static_cast<To>(from));
    }
  };
  (one(std::type_identity<P>{}, arguments), ...);
}

/// @brief Asks a server to run a Key's code. @param write writes its arguments.
template <class Key, class Write, class Read>
auto run_in_server(ClientSide& client, const Write& write, const Read& read) {
  return client.ask(
      [&](Encoder& encoder, ManagerChannel& channel) {
        encoder.write_number(static_cast<std::uint8_t>(Request::run));
        channel.name_code<Key>(encoder);
        write(encoder);
      },
      read);
}

/// @brief For BaseManager.
struct ProxyOf {
  template <class T>
  static Proxy<T> make(std::shared_ptr<ObjectReference> reference) {
    return Proxy<T>{std::move(reference)};
  }
  template <class T>
  static const std::shared_ptr<ObjectReference>& reference(const Proxy<T>& proxy) noexcept {
    return proxy.reference_;
  }
};

}  // namespace detail

/// @brief An object in a BaseManager's server. @python{multiprocessing.managers.BaseProxy}
///
/// Made by BaseManager::create(), and by keep(). A handle: copies are the same object. It travels
/// as an argument, through queues and pipes, as an argument and a result of calls, and may be a
/// member of other served objects, which then call it directly. The object lives as long as any of
/// them, and as its server; what a process has goes with it, however it ends. One that a method
/// sends on, other than by its result, the server keeps.
///
/// From a Listener's or Client()'s connection it is refused: whoever sent it would have this
/// process connect where he likes. One of another manager goes through a manager's calls where both
/// have the same key.
/// @code
/// mp::Proxy<Counter> counter = manager.create<Counter>(10);
/// int value = counter.call<&Counter::add>(5);
/// @endcode
/// A call happens in the server, a copy of what it gives comes back. Calls of one object take
/// turns, unless its class `is_thread_safe`. A process that is killed in a call does not stop it.
///
/// A proxy that was sent on, or that existed while this process forked, keeps its object until this
/// process ends: the other one may come to it late.
/// @tparam T the object's class, in the same build on both sides.
/// @threads any, at once. @processes any that reach the server and have its key, forked ones too.
template <class T>
class Proxy {
 public:
  Proxy(const Proxy&) = default;  // a handle is never empty: it is not moved from
  Proxy& operator=(const Proxy&) = default;
  ~Proxy() = default;

  /// @brief Calls a method in the server, and waits for it.
  /// @tparam Method a member function, `&T::method`; or a function, whose first parameter is the
  /// object. Only code that is in the server's program can be called.
  /// @returns what it returns, by value.
  /// @throws what it throws: exceptions of the standard library, SendableErrors and those derived
  /// from them as themselves, others as RemoteError. SerializationError an argument or the result
  /// cannot travel, or the server runs another build. EOFError, ConnectionError,
  /// std::system_error the server has ended. ProcessError the object is gone.
  template <auto Method, class... A>
  typename detail::Type<Method>::Result call(A&&... arguments) const {
    static_assert(detail::check_method<T, Method>());
    using Key = detail::CallMethod<T, Method, false>;
    using Result = typename Key::Result;
    if (reference_->server() != nullptr) {
      typename detail::Type<Method>::Arguments own{std::forward<A>(arguments)...};
      return detail::invoke_served<T, Method>(reference_->served(), own);
    }
    return detail::run_in_server<Key>(reference_->asked(), writer<Method>(arguments...),
                                      [](Decoder& decoder) -> Result {
                                        if constexpr (!std::is_void_v<Result>) {
                                          return detail::decode<Result>(decoder);
                                        }
                                      });
  }
  /// @brief call(), of which the result stays in the server, as an object of its own.
  /// @python{BaseManager.register(..., method_to_typeid=...)}
  template <auto Method, class... A>
  Proxy<typename detail::Type<Method>::Result> keep(A&&... arguments) const {
    static_assert(detail::check_method<T, Method>());
    using Key = detail::CallMethod<T, Method, true>;
    using Result = typename Key::Result;
    if (detail::ServerSide* const server = reference_->server()) {
      typename detail::Type<Method>::Arguments own{std::forward<A>(arguments)...};
      auto made =
          std::make_shared<Result>(detail::invoke_served<T, Method>(reference_->served(), own));
      const auto object = server->add(detail::make_served<Result>(std::move(made)),
                                      detail::type_hash<Result>(), nullptr);
      return detail::ProxyOf::make<Result>(
          std::make_shared<detail::ObjectReference>(*server, object, detail::type_hash<Result>()));
    }
    auto& client = reference_->asked();
    const auto object = detail::run_in_server<Key>(
        client, writer<Method>(arguments...),
        [](Decoder& decoder) { return decoder.read_number<std::uint64_t>(); });
    return detail::ProxyOf::make<Result>(std::make_shared<detail::ObjectReference>(
        client.shared_from_this(), object, detail::type_hash<Result>()));
  }

  /// @brief Whether both are the same object.
  friend bool operator==(const Proxy& left, const Proxy& right) {
    return left.reference_->is(*right.reference_);
  }

 private:
  friend struct detail::ProxyOf;
  explicit Proxy(std::shared_ptr<detail::ObjectReference> reference) noexcept
      : reference_{std::move(reference)} {}

  template <auto Method, class... A>
  [[nodiscard]] auto writer(const A&... arguments) const {
    return [&](Encoder& encoder) {
      encoder.write_number(reference_->object());
      detail::encode_arguments(
          encoder, std::type_identity<typename detail::Type<Method>::Arguments>{}, arguments...);
    };
  }

  std::shared_ptr<detail::ObjectReference> reference_;
};

/// @brief A proxy travels as where the object is; it needs no handles.
template <class T>
struct codec<Proxy<T>> {
  static void encode(Encoder& encoder, const Proxy<T>& proxy) {
    detail::ProxyOf::reference(proxy)->save(encoder);
  }
  static Proxy<T> decode(Decoder& decoder) {
    return detail::ProxyOf::make<T>(detail::ObjectReference::load(decoder, detail::type_hash<T>()));
  }
};

}  // namespace multiprocessing
