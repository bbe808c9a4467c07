// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file container.hpp
/// @brief What all copies of a container in one process share.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/managers/store.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/serialization.hpp>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace multiprocessing::detail {

/// @brief A container's head in a store: who it is, and then zeros at first.
///
/// The first word is made of the container's kind and number; no two of a store ever have the same.
/// Who finds another one there has a container that is gone, or never came to be: it was made in a
/// transaction that did not happen.
///
/// When the last copy goes, and no other process can have seen the container (it never travelled,
/// was never stored in another one, and no fork was made while it existed), its memory is free
/// again. Otherwise that comes back with the whole manager's.
class Container {
 public:
  using Clear = void (*)(Store&, std::uint64_t head);

  /// @param clear gives back what the head leads to.
  static std::shared_ptr<Container> create(const std::shared_ptr<Store>& store,
                                           std::uint64_t kind,
                                           std::uint64_t words,
                                           Clear clear) {
    Change change{*store};
    const std::uint64_t head = store->allocate(words * 8);
    std::memset(store->bytes(head, words * 8), 0, words * 8);
    MULTIPROCESSING_STOP_POINT("store.head.filled");
    auto made = std::make_shared<Container>(store, head, store->next_number(), kind, clear);
    store->set(head, made->identity_);
    change.commit();
    return made;
  }
  Container(std::shared_ptr<Store> store,
            std::uint64_t head,
            std::uint64_t number,
            std::uint64_t kind,
            Clear clear) noexcept
      : store_{std::move(store)},
        head_{head},
        number_{number},
        identity_{identity(kind, number)},
        clear_{clear},
        forks_{process_state().forks},
        forked_{process_state().forked} {}
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;
  ~Container() {
    if (!was_seen_ && forks_ == process_state().forks && forked_ == process_state().forked) {
      give_back();
    }
  }

  [[nodiscard]] const std::shared_ptr<Store>& store() const noexcept { return store_; }
  /// @brief With the store's lock. @throws ProcessError the container is gone.
  [[nodiscard]] std::uint64_t head() const {
    if (store_->word(head_) != identity_) throw_gone();
    return head_;
  }
  /// @brief Whether both are the same container.
  [[nodiscard]] bool is(const Container& other) const noexcept {
    return number_ == other.number_ && store_->is(*other.store_);
  }

  /// @throws SerializationError nothing travels beside the bytes.
  void save(Encoder& encoder) const {
    was_seen_ = true;
    store_->save(encoder);
    encoder.write_number(head_);
    encoder.write_number(number_);
  }
  /// @throws SerializationError the bytes name no container of that kind.
  static std::shared_ptr<Container> load(Decoder& decoder,
                                         std::uint64_t kind,
                                         std::string_view name) {
    auto store = Store::load(decoder);
    const auto head = decoder.read_number<std::uint64_t>();
    const auto number = decoder.read_number<std::uint64_t>();
    if (!is_head(*store, head, identity(kind, number))) {
      throw SerializationError{"what arrived is not a " + std::string{name}};
    }
    auto made = std::make_shared<Container>(std::move(store), head, number, kind, nullptr);
    made->was_seen_ = true;
    return made;
  }

 private:
  static std::uint64_t identity(std::uint64_t kind, std::uint64_t number) noexcept {
    return kind ^ (number * 0x9e3779b97f4a7c15U);
  }
  [[noreturn]] MULTIPROCESSING_SELDOM static void throw_gone() {
    throw ProcessError{
        "this container of a manager does not exist: it was made in a transaction or an update "
        "that did not happen"};
  }
  static bool is_head(Store& store, std::uint64_t head, std::uint64_t identity) {
    if (head % 8 != 0) return false;
    const Access access{store};
    try {
      return store.word(head) == identity;
    } catch (const ProcessError&) {
      return false;
    }
  }
  void give_back() noexcept {
    try {
      Change change{*store_};
      clear_(*store_, head());
      store_->set(head_, 0);
      store_->release(head_);
      change.commit();
    } catch (...) {  // then it comes back with the manager's memory
      static_cast<void>(0);
    }
  }

  std::shared_ptr<Store> store_;
  std::uint64_t head_;
  std::uint64_t number_;
  std::uint64_t identity_;
  Clear clear_;
  std::uint32_t forks_;
  std::uint32_t forked_;
  mutable std::atomic<bool> was_seen_{false};
};

/// @brief For the codecs of containers, and for Manager, which makes them.
struct ContainerOf {
  template <class Proxy>
  static const std::shared_ptr<Container>& core(const Proxy& proxy) noexcept {
    return proxy.core_;
  }
  template <class Proxy>
  static Proxy proxy(std::shared_ptr<Container> core) {
    return Proxy{std::move(core)};
  }
  template <class Proxy>
  static Proxy create(const std::shared_ptr<Store>& store) {
    return Proxy{Container::create(store, type_hash<Proxy>(), Proxy::head_words,
                                   [](Store& of, std::uint64_t head) { Proxy::clear(of, head); })};
  }
};

/// @brief A container travels as its manager's memory and its place there.
template <class Proxy>
struct ContainerCodec {
  static constexpr bool carries_handles = true;

  static void encode(Encoder& encoder, const Proxy& proxy) {
    ContainerOf::core(proxy)->save(encoder);
  }
  static Proxy decode(Decoder& decoder) {
    return ContainerOf::proxy<Proxy>(
        Container::load(decoder, type_hash<Proxy>(), type_name<Proxy>()));
  }
};

/// @brief How an error names a key.
template <class K>
std::string name_of_key(const K& key) {
  if constexpr (std::same_as<K, std::string>) {
    return "\"" + key + "\"";
  } else if constexpr (requires { std::to_string(key); }) {
    return std::to_string(key);
  } else {
    return std::string{type_name<K>()};
  }
}

}  // namespace multiprocessing::detail
