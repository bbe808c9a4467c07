// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file reduction.hpp
/// @brief Handles in transit: how queues, connections and locks travel beside a state's bytes.
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/serialization.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing {

/// @brief What travels beside the bytes of one state or message.
///
/// Bytes name a shared object by its place in the list of objects; every object has its kind and
/// its handles, in order. An object that the bytes name twice arrives once, so that copies here are
/// copies there.
class Transit {
 public:
  /// @brief A shared object that travels, and how many handles it has.
  struct Object {
    std::uint64_t kind = 0;        ///< type_hash of the object's class.
    std::uint32_t handles = 0;     ///< How many of the handles are its own.
    std::shared_ptr<void> object;  ///< Sender: what is sent. Receiver: what was made of it.
  };

  // ---- the sender ----

  /// @brief Puts an object on the list, unless it stands there already, with duplicates of its
  /// handles: whoever closes it meanwhile does not change what travels.
  /// @returns its place.
  template <class Core>
  std::uint32_t depart(const std::shared_ptr<Core>& object) {
    for (std::size_t i = 0; i < objects_.size(); ++i) {
      if (objects_[i].object == object) return static_cast<std::uint32_t>(i);
    }
    os::install_fork_handlers();
    const std::size_t count = departing_.add([&] { return object->duplicate_handles(); });
    objects_.push_back({detail::type_hash<Core>(), static_cast<std::uint32_t>(count), object});
    return static_cast<std::uint32_t>(objects_.size() - 1);
  }
  /// @brief The handles that travel, of all objects in order; they stay the Transit's.
  [[nodiscard]] std::span<const native_handle_type> departing() const noexcept {
    return departing_.get();
  }
  /// @brief The list, in the order of the places.
  [[nodiscard]] const std::vector<Object>& objects() const noexcept { return objects_; }

  // ---- the receiver ----

  Transit() = default;
  /// @brief What arrived. `objects` need only kind and number of handles.
  Transit(std::vector<Object> objects, std::vector<os::UniqueHandle> handles)
      : objects_{std::move(objects)}, handles_{std::move(handles)} {}

  /// @brief The object at a place: made of its handles at the first call, the same at the next.
  /// @throws SerializationError no such place, another kind, or handles are missing.
  template <class Core>
  std::shared_ptr<Core> arrive(std::uint32_t place) {
    if (place >= objects_.size() || objects_[place].kind != detail::type_hash<Core>()) {
      throw SerializationError{"the bytes name a shared object that did not come with them"};
    }
    Object& entry = objects_[place];
    if (!entry.object) entry.object = Core::adopt(take_handles(place));
    return std::static_pointer_cast<Core>(entry.object);
  }

 private:
  std::vector<os::UniqueHandle> take_handles(std::uint32_t place) {
    std::size_t first = 0;
    for (std::uint32_t i = 0; i < place; ++i) first += objects_[i].handles;
    const std::size_t count = objects_[place].handles;
    if (first + count > handles_.size()) {
      throw SerializationError{"handles were lost on the way"};
    }
    std::vector<os::UniqueHandle> taken;
    for (std::size_t i = first; i < first + count; ++i) taken.push_back(std::move(handles_[i]));
    return taken;
  }

  std::vector<Object> objects_;
  std::vector<os::UniqueHandle> handles_;  // receiver: what arrived
  os::PassingHandles departing_;           // sender: duplicates
};

namespace reduction {

/// @brief Duplicates of handles, in their order.
/// @throws std::system_error no handle is left.
[[nodiscard]] inline std::vector<os::UniqueHandle> duplicates(
    std::span<const native_handle_type> handles) {
  std::vector<os::UniqueHandle> made;
  made.reserve(handles.size());  // no duplicate is to find no room
  for (const native_handle_type handle : handles) {
    std::error_code ec;
    made.emplace_back(os::duplicate_handle(handle, ec));
    if (ec) throw std::system_error{ec, "cannot duplicate a handle that is to travel"};
  }
  return made;
}

/// @brief Encodes a shared object. Core has `duplicate_handles() -> std::vector<os::UniqueHandle>`,
/// during which no process can be forked or started (it only duplicates), and `static
/// adopt(std::vector<os::UniqueHandle>) -> std::shared_ptr<Core>`.
/// @param encoder must have a Transit.
/// @param core what is shared.
/// @param what how the error names it, e.g. "a Queue".
template <class Core>
void save_shared(Encoder& encoder, const std::shared_ptr<Core>& core, const char* what) {
  if (encoder.transit() == nullptr) {
    throw SerializationError{std::string{what} +
                             " cannot travel this way: pass it to a process when starting it, or "
                             "send it through a duplex Pipe"};
  }
  encoder.write_number(encoder.transit()->depart(core));
}

/// @brief Decodes what save_shared encoded.
template <class Core>
std::shared_ptr<Core> load_shared(Decoder& decoder) {
  if (decoder.transit() == nullptr) {
    throw SerializationError{"a shared object arrived without its handles"};
  }
  return decoder.transit()->arrive<Core>(decoder.read_number<std::uint32_t>());
}

}  // namespace reduction
}  // namespace multiprocessing
