// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file code_reference.hpp
/// @brief How one process tells another which code to run: descriptors and references to them.
///
/// An address means nothing in another process: modules lie elsewhere. So code travels as (module,
/// offset of a *descriptor*, hash). A descriptor is a constant that a template leaves behind in the
/// module's read-only data for every use; nobody registers anything. The receiver finds the module,
/// checks that the offset lies in its read-only data and that there is the expected descriptor, and
/// only then takes the entry's address out of it: wrong or damaged references are errors, not
/// jumps.
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/module.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/serialization.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <utility>

namespace multiprocessing {

/// @brief A constant that stands for one piece of code with that signature.
/// @shape 32 bytes in read-only data.
template <class Signature>
struct Descriptor {
  /// @brief What a descriptor in memory begins with.
  static constexpr std::uint64_t expected_magic = 0x6472637369726f74U;

  std::uint64_t magic;      ///< expected_magic.
  std::uint64_t signature;  ///< Hash of Signature's name.
  std::uint64_t hash;       ///< Hash of the key's name.
  /// The code.
  Signature* entry;
};

/// @brief The descriptor of a key: a type with a `Signature` and a static function `entry` of it.
/// @code
/// struct Greet {
///   using Signature = void(Decoder&);
///   static void entry(Decoder& decoder);
/// };
/// const CodeReference& reference = refer_to<Greet>();        // here
/// resolve<void(Decoder&)>(reference)(decoder);               // in another process
/// @endcode
template <class Key>
struct DescriptorOf {
  /// @brief The descriptor itself: one for each Key and module.
  static constexpr Descriptor<typename Key::Signature> value{
      Descriptor<typename Key::Signature>::expected_magic,
      detail::type_hash<typename Key::Signature>(), detail::type_hash<Key>(), &Key::entry};
};

/// @brief A place in a module, in words that mean the same in other processes.
struct CodeReference {
  os::ModuleId module;       ///< Which build of which module.
  std::string path;          ///< Where to load it from if need be.
  std::uint64_t offset = 0;  ///< Of the descriptor or function, from the module's base.
  std::uint64_t hash = 0;    ///< Of its name.

  friend bool operator==(const CodeReference&, const CodeReference&) = default;
};

template <>
struct codec<CodeReference> {
  static void encode(Encoder& encoder, const CodeReference& reference) {
    encoder.write_number(static_cast<std::uint32_t>(reference.module.size()));
    encoder.write(reference.module.data(), reference.module.size());
    encoder.write_number(static_cast<std::uint32_t>(reference.path.size()));
    encoder.write(reference.path.data(), reference.path.size());
    encoder.write_number(reference.offset);
    encoder.write_number(reference.hash);
  }
  static CodeReference decode(Decoder& decoder) {
    CodeReference reference;
    const auto module = decoder.take(decoder.read_number<std::uint32_t>());
    reference.module.assign(module.begin(), module.end());
    const auto path = decoder.take(decoder.read_number<std::uint32_t>());
    reference.path.assign(reinterpret_cast<const char*>(path.data()), path.size());
    reference.offset = decoder.read_number<std::uint64_t>();
    reference.hash = decoder.read_number<std::uint64_t>();
    return reference;
  }
};

namespace detail {

[[noreturn]] inline void refuse_code(const CodeReference& reference, const std::string& reason) {
  throw SerializationError{"the code at offset " + std::to_string(reference.offset) + " of " +
                           (reference.path.empty() ? "a module" : reference.path) + " (build " +
                           os::to_string(reference.module) + ") cannot be run here: " + reason};
}

/// @brief Names the place of an address of ours.
/// @throws SerializationError no loaded module contains it.
[[nodiscard]] inline CodeReference reference_to(std::uintptr_t address, std::uint64_t hash) {
  const auto module = os::module_of(address);
  if (!module) {
    throw SerializationError{
        "the code lies in none of the loaded modules, so no other process can find it: code that "
        "was generated at run time cannot travel"};
  }
  return {module->id, module->path, address - module->base, hash};
}

/// @brief The one that is equal and never destroyed: exit handlers, static objects and other
/// threads start processes until the very end. A plug-in that is loaded again finds what it left.
[[nodiscard]] inline const CodeReference& keep(CodeReference reference) {
  ProcessState& state = process_state();
  const std::lock_guard lock{state.mutex};
  for (const CodeReference* const kept : state.code) {
    if (*kept == reference) return *kept;
  }
  auto made = std::make_unique<const CodeReference>(std::move(reference));
  state.code.push_back(made.get());
  return *made.release();
}

/// @brief The module that a reference names, loaded now if it was not and a relative names it: to
/// open a file is to run its initializers, whatever build it turns out to be.
/// @throws SerializationError there is no such build; names the module, both ids and the ways out.
[[nodiscard]] inline os::Module module_for(const CodeReference& reference, Origin origin) {
  if (auto loaded = os::find_module(reference.module, reference.path)) return *std::move(loaded);
  if (origin != Origin::relative) {
    refuse_code(reference,
                "this process has not loaded that module, and loads none that another machine or "
                "program names. Run the same build in both, and load the module before");
  }
  std::string why;
  if (auto opened = os::open_module(reference.path, reference.module, why)) {
    return *std::move(opened);
  }
  refuse_code(reference,
              "this process has not loaded that module, and opening it failed: " + why +
                  ". Run the same build in both processes: start them again after building, link "
                  "the module, or load it before");
}

}  // namespace detail

/// @brief Names a descriptor for other processes.
/// @throws SerializationError it does not lie in a module: only descriptors that are constants of
/// the program do.
/// @threads Any number.
template <class Signature>
[[nodiscard]] CodeReference refer_to(const Descriptor<Signature>& descriptor) {
  // Translation units may disagree about a name (gcc numbers the `auto`s in it) and the linker
  // keeps one of the descriptors, so the hash is read from there and not left to the compiler's
  // memory.
  std::uint64_t hash = 0;
  os::read_image(reinterpret_cast<std::uintptr_t>(&descriptor.hash), &hash, sizeof hash);
  return detail::reference_to(reinterpret_cast<std::uintptr_t>(&descriptor), hash);
}

/// @brief Names the descriptor of a key; looks it up once.
template <class Key>
[[nodiscard]] const CodeReference& refer_to() {
  // Not initialised by the first call: a fork meanwhile would leave a child's calls waiting for a
  // thread that stayed behind. Two first calls find the same one.
  static constinit std::atomic<const CodeReference*> kept{nullptr};
  const CodeReference* known = kept.load(std::memory_order_acquire);
  if (known == nullptr) {
    known = &detail::keep(refer_to(DescriptorOf<Key>::value));
    kept.store(known, std::memory_order_release);
  }
  return *known;
}

/// @brief The function that a reference from another process means here. @param reference it.
/// @param origin where the reference came from: Decoder::origin().
/// @throws SerializationError the module cannot be had in that build, or there is no descriptor of
/// that signature and name; says which, and what to do. Nothing was called.
/// @threads Any number. No other thread may unload the module meanwhile.
template <class Signature>
requires std::is_function_v<Signature>
[[nodiscard]] Signature* resolve(const CodeReference& reference,
                                 detail::Origin origin = detail::Origin::relative) {
  using Expected = Descriptor<Signature>;
  const os::Module module = detail::module_for(reference, origin);
  const std::uintptr_t address = module.base + static_cast<std::uintptr_t>(reference.offset);
  if (address % alignof(Expected) != 0) detail::refuse_code(reference, "the offset is misaligned");
  if (!module.is_constant(address, sizeof(Expected))) {
    detail::refuse_code(reference,
                        "the offset lies outside of the module's read-only data (a module that is "
                        "linked with -z norelro has none for this)");
  }
  std::uint64_t words[3] = {};
  os::read_image(address, words, sizeof words);
  if (words[0] != Expected::expected_magic) {
    detail::refuse_code(reference, "no descriptor lies there");
  }
  if (words[1] != detail::type_hash<Signature>()) {
    detail::refuse_code(reference, "the descriptor there has another signature");
  }
  if (words[2] != reference.hash) {
    detail::refuse_code(reference, "the descriptor there belongs to other code");
  }
  std::uintptr_t entry = 0;
  os::read_image(address + offsetof(Expected, entry), &entry, sizeof entry);
  const auto target = os::module_of(entry);
  if (!target || !target->is_code(entry)) {
    detail::refuse_code(reference, "the descriptor there points to no code");
  }
  return reinterpret_cast<Signature*>(entry);
}

}  // namespace multiprocessing
