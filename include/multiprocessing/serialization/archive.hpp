// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file archive.hpp
/// @brief Where encoded bytes go and come from; the `Archive` of a cereal-style `serialize`.
#include <multiprocessing/detail/memory_hint.hpp>
#include <multiprocessing/exceptions.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace multiprocessing {

class Transit;  // reduction.hpp: the handles that travel beside the bytes
class Encoder;
class Decoder;

namespace detail {

template <class T>
void encode_part(Encoder& encoder, const T& value);
template <class T>
void decode_into(Decoder& decoder, T& value);

/// @brief How deep a value nests in values of classes, on its way out or in.
///
/// The limit holds on both sides: what could not be decoded is not encoded either, and a cycle of
/// `shared_ptr` is an error instead of a stack that overflows.
class Nestable {
 public:
  /// Nested deeper than this is refused: a stack is finite, hostile bytes are not.
  static constexpr std::size_t max_depth = 200;
  /// An object of so many bytes or more that lies, however deep, in another one of its type counts
  /// as several levels. One of each type does not: how many types there are is the program's choice
  /// and not that of the bytes.
  static constexpr std::size_t large = 512;

  /// @brief What an object adds to the depth.
  struct Level {
    std::size_t levels;        ///< Always.
    std::size_t extra_levels;  ///< Beside them, inside another one of its type.
    std::uint64_t type;        ///< Which type, where that matters.
  };

  /// @brief One object's part of the depth for as long as it lives.
  class Nesting {
   public:
    /// @throws SerializationError that is too deep.
    explicit Nesting(Nestable& archive, const Level& level = {1, 0, 0})
        : archive_{archive}, outer_{archive.innermost_large_}, type_{level.type} {
      if (level.extra_levels != 0 && is_inside_its_own()) levels_ = level.extra_levels;
      levels_ += level.levels;
      if (archive_.depth_ + levels_ > max_depth) {
        throw SerializationError{"it nests too deeply, or in a cycle"};
      }
      archive_.depth_ += levels_;
      if (level.extra_levels != 0) archive_.innermost_large_ = this;
    }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    ~Nesting() {
      archive_.depth_ -= levels_;
      archive_.innermost_large_ = outer_;
    }

   private:
    [[nodiscard]] bool is_inside_its_own() const noexcept {
      const Nesting* above = outer_;
      while (above != nullptr && above->type_ != type_) above = above->outer_;
      return above != nullptr;
    }

    Nestable& archive_;
    const Nesting* outer_;  // of those that are large
    std::uint64_t type_;
    std::size_t levels_ = 0;
  };

 private:
  std::size_t depth_ = 0;
  const Nesting* innermost_large_ = nullptr;
};

}  // namespace detail

namespace detail {

/// @brief Whose bytes they are that a Decoder reads.
enum class Origin : std::uint8_t {
  relative,  ///< Of a process of our own tree.
  peer,      ///< Of another machine, or of who has shown a key: no module is loaded for it.
  stranger,  ///< Of who is at a stream's other end: nor is any key shown to whom it names.
};

}  // namespace detail

/// @brief Appends encoded values to a buffer.
///
/// A `codec<T>` or a `save`/`serialize` member gets one; `archive(a, b, c)` and `archive & a & b`
/// encode members as cereal and Boost do. A Transit is there only on ways that can carry handles
/// (a process's state, a duplex pipe).
///
/// After an exception the buffer holds part of a value: cut it back or throw it away.
/// @threads one at a time.
class Encoder : public detail::Nestable {
 public:
  /// @brief As cereal and Boost tell the directions apart.
  using is_saving = std::true_type;
  /// @overload
  using is_loading = std::false_type;

  /// @param into where bytes are appended; must live as long.
  /// @param transit takes the handles; null: none can travel.
  explicit Encoder(std::vector<std::byte>& into, Transit* transit = nullptr) noexcept
      : into_{&into}, transit_{transit} {}

  /// @brief Encodes values one behind the other.
  template <class... T>
  Encoder& operator()(const T&... values) {
    (detail::encode_part(*this, values), ...);
    return *this;
  }
  /// @brief Encodes one value, as Boost spells it.
  template <class T>
  Encoder& operator&(const T& value) {
    return (*this)(value);
  }

  /// @brief Bytes as they are.
  void write(const void* from, std::size_t size) {
    if (into_->capacity() - into_->size() < size) make_room(size);
    const auto* bytes = static_cast<const std::byte*>(from);
    into_->insert(into_->end(), bytes, bytes + size);
  }
  /// @brief The bytes of a number, in this machine's order.
  template <class Number>
  requires std::is_arithmetic_v<Number>
  void write_number(Number number) { write(&number, sizeof number); }
  /// @brief `size` zero bytes.
  void pad(std::size_t size) {
    if (size != 0) into_->resize(into_->size() + size);
  }
  /// @brief What takes handles; null: they cannot travel this way.
  [[nodiscard]] Transit* transit() const noexcept { return transit_; }

 private:
  void make_room(std::size_t size) {
    // Half as much again: a long copy at once is often followed by a few numbers.
    const std::size_t needed = into_->size() + size;
    into_->reserve(needed + needed / 2 + 64);
    detail::will_be_filled(into_->data() + into_->size(), needed - into_->size());
  }

  std::vector<std::byte>* into_;
  Transit* transit_;
};

/// @brief Reads encoded values from bytes that nobody vouches for: every read is checked.
///
/// What a value needs is paid for before it is allocated, with eight times the bytes that it is
/// decoded from: whatever they say, no more memory than that, and 4 KiB, is taken at any one time.
///
/// After an exception a decoder is of no more use; objects decoded into remain valid.
/// @threads one at a time.
class Decoder : public detail::Nestable {
 public:
  /// @brief As cereal and Boost tell the directions apart.
  using is_saving = std::false_type;
  /// @overload
  using is_loading = std::true_type;

  /// @param from what is read; must live as long.
  /// @param transit has the handles; null: none came. @param origin whose bytes they are.
  explicit Decoder(std::span<const std::byte> from,
                   Transit* transit = nullptr,
                   detail::Origin origin = detail::Origin::relative) noexcept
      : from_{from}, transit_{transit}, origin_{origin} {}

  /// @brief Decodes values one behind the other, into objects that exist.
  template <class... T>
  Decoder& operator()(T&&... values) {
    (detail::decode_into(*this, values), ...);
    return *this;
  }
  /// @brief Decodes into one object, as Boost spells it.
  template <class T>
  Decoder& operator&(T&& value) {
    return (*this)(value);
  }

  /// @brief The bytes not yet read.
  [[nodiscard]] std::size_t remaining() const noexcept { return from_.size(); }
  /// @brief What has the handles; null: none came.
  [[nodiscard]] Transit* transit() const noexcept { return transit_; }
  /// @brief For this library.
  [[nodiscard]] detail::Origin origin() const noexcept { return origin_; }

  /// @brief The next `size` bytes, in place.
  /// @throws SerializationError fewer are left.
  std::span<const std::byte> take(std::size_t size) {
    if (size > remaining()) throw_short(size);
    const auto taken = from_.first(size);
    from_ = from_.subspan(size);
    return taken;
  }
  /// @throws SerializationError fewer bytes are left.
  void read(void* into, std::size_t size) {
    const auto taken = take(size);
    if (size != 0) std::memcpy(into, taken.data(), size);
  }
  /// @brief A number in this machine's order. Not for bool: most bytes are none.
  template <class Number>
  requires(std::is_arithmetic_v<Number> && !std::is_same_v<Number, bool>) Number read_number() {
    Number number{};
    read(&number, sizeof number);
    return number;
  }
  /// @brief The number of things that follow, each of which takes at least `least` bytes.
  /// @throws SerializationError there cannot be so many.
  std::size_t read_count(std::size_t least) {
    const auto count = read_number<std::uint64_t>();
    if (count > remaining() / least) {
      throw SerializationError{"the bytes tell of " + std::to_string(count) +
                               " elements, too many for the " + std::to_string(remaining()) +
                               " bytes left"};
    }
    return static_cast<std::size_t>(count);
  }
  /// @brief Says that what is decoded takes `size` bytes of memory, before it does.
  ///
  /// All bytes together pay for eight times theirs. Each payment comes out of the same purse, so
  /// that containers inside each other cannot count on the same bytes twice.
  /// @throws SerializationError the bytes do not pay for so much.
  void pay_for(std::size_t size) {
    if (size > unspent_) {
      throw SerializationError{"the bytes ask for " + std::to_string(size - unspent_) +
                               " bytes of memory more than they pay for"};
    }
    unspent_ -= size;
  }

 private:
  [[noreturn]] void throw_short(std::size_t size) const {
    throw SerializationError{"the bytes end " + std::to_string(size - remaining()) +
                             " bytes early"};
  }

  std::span<const std::byte> from_;
  Transit* transit_;
  detail::Origin origin_;
  std::size_t unspent_ = 8 * from_.size();
};

}  // namespace multiprocessing
