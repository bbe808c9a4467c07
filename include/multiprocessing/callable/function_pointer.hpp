// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file function_pointer.hpp
/// @brief Function pointers, member function pointers and captureless lambdas as values that
/// travel.
///
/// A function pointer travels as (module, offset), checked to lie in that module's code. Nothing
/// can show that a function of that type begins there, so pointers travel only where a Transit
/// does: in the state of a process and through pipes of our own tree; elsewhere they are an error.
#include <multiprocessing/callable/code_reference.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace multiprocessing {

namespace detail {

inline void require_own_tree(const Transit* transit) {
  if (transit == nullptr) {
    throw SerializationError{
        "a reference to code cannot travel this way: pass it to a process when starting it, or "
        "send "
        "it through a duplex Pipe"};
  }
}

/// @brief The address of code that a reference from another process of our tree means here.
/// @throws SerializationError no such module, no code there, or a function of another type.
[[nodiscard]] inline std::uintptr_t code_address(const CodeReference& reference,
                                                 std::uint64_t hash,
                                                 Origin origin) {
  const os::Module module = module_for(reference, origin);
  const std::uintptr_t address = module.base + static_cast<std::uintptr_t>(reference.offset);
  if (reference.hash != hash) refuse_code(reference, "the function has another type");
  if (!module.is_code(address)) refuse_code(reference, "no code lies there");
  return address;
}

/// @brief A member function pointer in the Itanium C++ ABI: two words.
///
/// The first is the function's address or, of a virtual function, the offset of its entry in the
/// virtual table; the second adjusts `this`. One bit says which: on x86-64 the lowest of the first
/// word (the offset is then one too large), on ARM the lowest of the second (the adjustment is then
/// doubled). @source https://itanium-cxx-abi.github.io/cxx-abi/abi.html#member-function-pointers
///
/// In Microsoft's ABI a pointer has as many words as its class's bases make necessary, two among
/// them, so a class without bases says which ABI it is.
struct MemberFunctionWords {
  std::uintptr_t function = 0;
  std::ptrdiff_t adjustment = 0;

  [[nodiscard]] bool is_virtual() const noexcept {
    return bit_in_function() ? function % 2 != 0 : adjustment % 2 != 0;
  }
  /// @brief Where a virtual function's entry stands in the table, in bytes.
  [[nodiscard]] std::uintptr_t table_offset() const noexcept {
    return bit_in_function() ? function - 1 : function;
  }

 private:
  struct Model {
    virtual ~Model() = default;
    virtual void function() = 0;
  };
  template <class OfTwoWords = Model>  // so that nobody looks at it where it has not
  static bool bit_in_function() noexcept {
    if constexpr (sizeof(&OfTwoWords::function) == 2 * sizeof(std::uintptr_t)) {
      return std::bit_cast<std::array<std::uintptr_t, 2>>(&OfTwoWords::function)[0] % 2 != 0;
    } else {
      return false;
    }
  }

 public:
  /// @brief Whether member function pointers have this form here.
  static constexpr bool is_form = sizeof(&Model::function) == 2 * sizeof(std::uintptr_t);
};

/// No class has more virtual functions or larger bases than this.
inline constexpr std::uintptr_t max_table_offset = 0x10000 * sizeof(void*);
inline constexpr std::ptrdiff_t max_adjustment = std::ptrdiff_t{1} << 30;

enum class PointerKind : std::uint8_t { null, code, virtual_function };

inline PointerKind read_pointer_kind(Decoder& decoder) {
  const auto kind = decoder.read_number<std::uint8_t>();
  if (kind > static_cast<std::uint8_t>(PointerKind::virtual_function)) {
    throw SerializationError{"the bytes hold no function pointer"};
  }
  return static_cast<PointerKind>(kind);
}

}  // namespace detail

/// @brief Functions.
template <class Function>
requires std::is_function_v<Function>
struct codec<Function*> {
  static void encode(Encoder& encoder, Function* function) {
    detail::require_own_tree(encoder.transit());
    const bool null = function == nullptr;
    encoder.write_number(
        static_cast<std::uint8_t>(null ? detail::PointerKind::null : detail::PointerKind::code));
    if (null) return;
    codec<CodeReference>::encode(encoder,
                                 detail::reference_to(reinterpret_cast<std::uintptr_t>(function),
                                                      detail::type_hash<Function>()));
  }
  static Function* decode(Decoder& decoder) {
    detail::require_own_tree(decoder.transit());
    const auto kind = detail::read_pointer_kind(decoder);
    if (kind == detail::PointerKind::null) return nullptr;
    if (kind != detail::PointerKind::code) {
      throw SerializationError{"the bytes hold no function pointer"};
    }
    const auto reference = codec<CodeReference>::decode(decoder);
    return reinterpret_cast<Function*>(
        detail::code_address(reference, detail::type_hash<Function>(), decoder.origin()));
  }
};

/// @brief Member functions. A virtual one travels by its place in the virtual table, so it means
/// the same only where the class does: in the same build.
template <class Function, class Class>
requires std::is_function_v<Function>
struct codec<Function Class::*> {
  using Pointer = Function Class::*;
  static_assert(
      sizeof(Pointer) == sizeof(detail::MemberFunctionWords) &&
          detail::MemberFunctionWords::is_form,
      "multiprocessing: a pointer to a member function travels only where it has the "
      "Itanium C++ ABI's form: g++, and clang++ for that ABI. Pass a function or a lambda "
      "without captures that calls it");

  static void encode(Encoder& encoder, Pointer pointer) {
    detail::require_own_tree(encoder.transit());
    const auto words = std::bit_cast<detail::MemberFunctionWords>(pointer);
    const auto kind = pointer == nullptr   ? detail::PointerKind::null
                      : words.is_virtual() ? detail::PointerKind::virtual_function
                                           : detail::PointerKind::code;
    encoder.write_number(static_cast<std::uint8_t>(kind));
    if (kind == detail::PointerKind::null) return;
    encoder.write_number(words.adjustment);
    if (kind == detail::PointerKind::virtual_function) {
      encoder.write_number(detail::type_hash<Pointer>());
      encoder.write_number(words.function);
    } else {
      codec<CodeReference>::encode(
          encoder, detail::reference_to(words.function, detail::type_hash<Pointer>()));
    }
  }

  static Pointer decode(Decoder& decoder) {
    detail::require_own_tree(decoder.transit());
    const auto kind = detail::read_pointer_kind(decoder);
    if (kind == detail::PointerKind::null) return nullptr;
    detail::MemberFunctionWords words;
    words.adjustment = decoder.read_number<std::ptrdiff_t>();
    if (kind == detail::PointerKind::virtual_function) {
      const bool same = decoder.read_number<std::uint64_t>() == detail::type_hash<Pointer>();
      words.function = decoder.read_number<std::uintptr_t>();
      if (!same || !words.is_virtual() || words.table_offset() % sizeof(void*) != 0 ||
          words.table_offset() > detail::max_table_offset) {
        throw SerializationError{"the bytes hold no virtual member function of this type"};
      }
    } else {
      const auto reference = codec<CodeReference>::decode(decoder);
      words.function =
          detail::code_address(reference, detail::type_hash<Pointer>(), decoder.origin());
      if (words.is_virtual()) {
        throw SerializationError{"the bytes hold no member function of this type"};
      }
    }
    if (words.adjustment > detail::max_adjustment || words.adjustment < -detail::max_adjustment) {
      throw SerializationError{"the bytes hold no member function of this type"};
    }
    return std::bit_cast<Pointer>(words);
  }
};

/// @brief Lambdas that capture nothing: their type says everything. (`[&]` without a use of
/// anything captures nothing.)
template <detail::CapturelessClosure Closure>
struct codec<Closure> {
  static void encode(Encoder&, const Closure&) {}
  static Closure decode(Decoder&) {
    struct Nothing {};
    return std::bit_cast<Closure>(Nothing{});  // not all of them have a default constructor
  }
};

}  // namespace multiprocessing
