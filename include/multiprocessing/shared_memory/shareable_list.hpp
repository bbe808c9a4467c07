// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file shareable_list.hpp
/// @brief A list of plain items in named shared memory, as CPython lays it out.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/serialization.hpp>
#include <multiprocessing/shared_memory/shared_memory.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace multiprocessing {

/// @brief What a ShareableList holds: Python's int, float, bool, str (UTF-8), bytes and None.
using ShareableItem =
    std::variant<std::int64_t, double, bool, std::string, std::vector<std::byte>, std::monostate>;

/// @brief Which segment a ShareableList lies in.
struct ShareableListOptions {
  /// Default: a new name.
  std::optional<std::string> name = {};
};

namespace detail {

/// @brief The layout: length, offsets of the items and of their end, items, their formats of
/// Python's `struct` in 8 bytes each, and a code each that says str from bytes.
/// @source CPython, Lib/multiprocessing/shared_memory.py
struct ShareableLayout {
  static constexpr std::size_t unit = 8;
  static constexpr std::string_view boolean = "xxxxxxx?";
  static constexpr std::string_view none = "xxxxxx?x";

  std::vector<std::uint64_t> offsets{0};  ///< One more than items.

  [[nodiscard]] std::size_t count() const noexcept { return offsets.size() - 1; }
  [[nodiscard]] std::size_t items() const noexcept { return (count() + 2) * unit; }
  [[nodiscard]] std::size_t formats() const noexcept { return items() + offsets.back(); }
  [[nodiscard]] std::size_t codes() const noexcept { return formats() + count() * unit; }
  [[nodiscard]] std::size_t size() const noexcept { return codes() + count(); }
  [[nodiscard]] std::size_t room(std::size_t index) const noexcept {
    return offsets[index + 1] - offsets[index];
  }
};

/// @brief The bytes of a text, or none where the item is no text.
[[nodiscard]] inline std::optional<std::span<const std::byte>> text_of(
    const ShareableItem& item) noexcept {
  if (const auto* const text = std::get_if<std::string>(&item)) {
    return std::as_bytes(std::span{*text});
  }
  if (const auto* const bytes = std::get_if<std::vector<std::byte>>(&item)) return *bytes;
  return {};
}

/// @brief How Python tells str from bytes, and both from the rest.
[[nodiscard]] inline char code_of(const ShareableItem& item) noexcept {
  if (std::holds_alternative<std::string>(item)) return 1;
  if (std::holds_alternative<std::vector<std::byte>>(item)) return 2;
  return std::holds_alternative<std::monostate>(item) ? 3 : 0;
}

/// @brief The format of an item in so much room. Texts are filled up with NULs, which Python strips
/// when it reads; one that ends with a NUL itself has its length there, and a byte to pass over.
/// @throws std::invalid_argument there is no such format.
[[nodiscard]] inline std::string format_of(const ShareableItem& item, std::size_t room) {
  std::string format;
  if (const auto text = text_of(item)) {
    const bool ends_with_nul = !text->empty() && text->back() == std::byte{0};
    format = ends_with_nul ? std::to_string(text->size()) + "sx" : std::to_string(room) + "s";
  } else if (std::holds_alternative<bool>(item)) {
    format = ShareableLayout::boolean;
  } else if (std::holds_alternative<std::monostate>(item)) {
    format = ShareableLayout::none;
  } else {
    format = std::holds_alternative<double>(item) ? "d" : "q";
  }
  if (format.size() <= ShareableLayout::unit) return format;
  throw std::invalid_argument{"a ShareableList holds no text of that length"};
}

[[nodiscard]] inline ShareableLayout layout_for(std::span<const ShareableItem> items) {
  constexpr std::size_t unit = ShareableLayout::unit;
  ShareableLayout layout;
  for (const ShareableItem& item : items) {
    const auto text = text_of(item);
    const std::size_t room = text ? unit * (text->size() / unit + 1) : unit;
    layout.offsets.push_back(layout.offsets.back() + room);
  }
  return layout;
}

}  // namespace detail

/// @brief A list of fixed length that any process of this user finds by its name; CPython's
/// ShareableList of that name is the same list.
/// @python{multiprocessing.shared_memory.ShareableList(sequence=None, *, name=None)}
///
/// A handle, as SharedMemory, whose rules of ownership hold. An item may be replaced by one of
/// another type; a text by one that takes no more bytes than there was room for at first: its
/// length, rounded up to the next multiple of 8 above it.
/// @code
/// mp::ShareableList list{1, 2.5, true, "text", std::monostate{}};
/// list.set(0, "short");
/// std::get<std::string>(list[0]);
/// mp::ShareableList same{{.name = list.shm().name()}};
/// @endcode
/// Differences from Python: room is counted in bytes, not in characters, so that no text is cut
/// off; a text that ends with NULs keeps them (Python strips them, from ours too); no negative
/// indexes; an item equals those of its own type only.
/// @shape 17 bytes an item, and 8 for a number, more for a text; texts up to 9,999,991 bytes, those
/// that end with a NUL up to 999,999.
/// @threads any, at once; items have no lock.
/// @processes any, at once, likewise.
class ShareableList {
 public:
  /// @brief What an element is.
  using value_type = ShareableItem;

  /// @brief A new list. @throws as SharedMemory does; std::invalid_argument a text is too long.
  ShareableList() : ShareableList{std::span<const ShareableItem>{}} {}
  /// @overload
  ShareableList(std::initializer_list<ShareableItem> items)
      : ShareableList{std::span{items.begin(), items.size()}} {}
  /// @overload
  explicit ShareableList(std::span<const ShareableItem> items, ShareableListOptions options = {})
      : layout_{detail::layout_for(items)}, memory_{created(items, std::move(options.name))} {
    write(0, static_cast<std::int64_t>(items.size()));
    for (std::size_t i = 0; i < layout_.offsets.size(); ++i) {
      write((i + 1) * detail::ShareableLayout::unit, layout_.offsets[i]);
    }
    for (std::size_t i = 0; i < items.size(); ++i) set(i, items[i]);
  }
  /// @brief The list of that name.
  /// @throws as SharedMemory does; SerializationError what is there is no such list.
  explicit ShareableList(ShareableListOptions options)
      : memory_{{.name = std::move(options.name)}} {
    adopt_layout();
  }

  /// @brief How many items it has; that never changes.
  [[nodiscard]] std::size_t size() const noexcept { return layout_.count(); }
  /// @brief Whether it has none.
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  /// @throws std::out_of_range; SerializationError the item is none of Python's.
  [[nodiscard]] ShareableItem operator[](std::size_t index) const;
  /// @throws std::out_of_range; std::invalid_argument there is no room for such a text.
  void set(std::size_t index, const ShareableItem& item);
  /// @brief A copy of all items. @throws SerializationError as operator[]
  [[nodiscard]] std::vector<ShareableItem> values() const {
    std::vector<ShareableItem> all;
    for (std::size_t i = 0; i < size(); ++i) all.push_back((*this)[i]);
    return all;
  }
  /// @brief How many items equal that one, of the same type. @throws SerializationError as
  /// operator[]
  [[nodiscard]] std::size_t count(const ShareableItem& item) const {
    const auto all = values();
    return static_cast<std::size_t>(std::count(all.begin(), all.end(), item));
  }
  /// @brief Where the first such item is. @throws std::invalid_argument there is none.
  [[nodiscard]] std::size_t index(const ShareableItem& item) const {
    for (std::size_t i = 0; i < size(); ++i) {
      if ((*this)[i] == item) return i;
    }
    throw std::invalid_argument{"the list does not hold that item"};
  }
  /// @brief The items' formats, of Python's `struct`.
  [[nodiscard]] std::string format() const {
    std::string all;
    for (std::size_t i = 0; i < size(); ++i) all += format_at(i);
    return all;
  }
  /// @brief The segment that it lies in.
  [[nodiscard]] SharedMemory& shm() noexcept { return memory_; }
  /// @overload
  [[nodiscard]] const SharedMemory& shm() const noexcept { return memory_; }

 private:
  [[nodiscard]] SharedMemory created(std::span<const ShareableItem> items,
                                     std::optional<std::string> name) const {
    for (std::size_t i = 0; i < items.size(); ++i) {
      static_cast<void>(detail::format_of(items[i], layout_.room(i)));
    }
    return SharedMemory{{.name = std::move(name), .create = true, .size = layout_.size()}};
  }
  void adopt_layout();
  [[nodiscard]] std::string format_at(std::size_t index) const;
  [[nodiscard]] ShareableItem text_at(std::size_t index, std::string_view format, char code) const;
  void check(std::size_t index) const {
    if (index < size()) return;
    throw std::out_of_range{"item " + std::to_string(index) + " of a list of " +
                            std::to_string(size())};
  }
  template <class T>
  [[nodiscard]] T read(std::size_t offset) const {
    T value{};
    std::memcpy(&value, memory_.buf().subspan(offset, sizeof value).data(), sizeof value);
    return value;
  }
  template <class T>
  void write(std::size_t offset, const T& value) {
    std::memcpy(memory_.buf().subspan(offset, sizeof value).data(), &value, sizeof value);
  }
  void write_bytes(std::size_t offset, std::span<const std::byte> bytes, std::size_t room) {
    const auto to = memory_.buf().subspan(offset, room);
    std::copy(bytes.begin(), bytes.end(), to.begin());
    std::fill(to.begin() + static_cast<std::ptrdiff_t>(bytes.size()), to.end(), std::byte{0});
  }
  [[noreturn]] void refuse() const {
    throw SerializationError{"what lies in the shared memory \"" + memory_.name() +
                             "\" is not a ShareableList"};
  }

  detail::ShareableLayout layout_;
  SharedMemory memory_;
};

// Others may write nonsense later; where the items lie is read once, and holds.
inline void ShareableList::adopt_layout() {
  constexpr std::size_t unit = detail::ShareableLayout::unit;
  const std::size_t size = memory_.size();
  if (size < 2 * unit) refuse();
  const auto count = read<std::uint64_t>(0);
  if (count > size / unit || (count + 2) * unit > size) refuse();
  for (std::size_t i = 0; i <= count; ++i) {
    const auto offset = read<std::uint64_t>((i + 1) * unit);
    if (i == 0 ? offset != 0 : (offset < layout_.offsets.back() + unit || offset > size)) refuse();
    if (i > 0) layout_.offsets.push_back(offset);
  }
  if (layout_.size() > size) refuse();
}

inline std::string ShareableList::format_at(std::size_t index) const {
  const auto bytes = memory_.buf().subspan(layout_.formats() + index * 8, 8);
  std::string format;
  for (const std::byte byte : bytes) format += static_cast<char>(byte);
  format.erase(format.find_last_not_of('\0') + 1);
  return format;
}

inline ShareableItem ShareableList::text_at(std::size_t index,
                                            std::string_view format,
                                            char code) const {
  std::size_t length = 0;
  const auto parsed = std::from_chars(format.data(), format.data() + format.size(), length);
  const std::string_view rest{parsed.ptr, format.data() + format.size()};
  if (parsed.ec != std::errc{} || (rest != "s" && rest != "sx") || length > layout_.room(index)) {
    refuse();
  }
  auto bytes = memory_.buf().subspan(layout_.items() + layout_.offsets[index], length);
  while (rest == "s" && !bytes.empty() && bytes.back() == std::byte{0}) {
    bytes = bytes.first(bytes.size() - 1);
  }
  if (code == 2) return std::vector<std::byte>{bytes.begin(), bytes.end()};
  return std::string{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline ShareableItem ShareableList::operator[](std::size_t index) const {
  check(index);
  const std::string format = format_at(index);
  const char code = read<char>(layout_.codes() + index);
  const std::size_t offset = layout_.items() + layout_.offsets[index];
  if (code == 3) return std::monostate{};
  if (code == 1 || code == 2) return text_at(index, format, code);
  if (code != 0) refuse();
  if (format == "q") return read<std::int64_t>(offset);
  if (format == "d") return read<double>(offset);
  if (format == detail::ShareableLayout::boolean) return read<char>(offset + 7) != 0;
  refuse();
}

inline void ShareableList::set(std::size_t index, const ShareableItem& item) {
  check(index);
  const std::size_t room = layout_.room(index);
  const std::size_t offset = layout_.items() + layout_.offsets[index];
  const auto text = detail::text_of(item);
  if (text && text->size() > room) {
    throw std::invalid_argument{"a text of " + std::to_string(text->size()) +
                                " bytes exceeds the storage of the item: " + std::to_string(room)};
  }
  const std::string format = detail::format_of(item, room);
  write_bytes(layout_.formats() + index * 8, std::as_bytes(std::span{format}), 8);
  write(layout_.codes() + index, detail::code_of(item));
  if (text) return write_bytes(offset, *text, room);
  std::int64_t word = 0;
  if (const auto* const number = std::get_if<std::int64_t>(&item)) {
    word = *number;
  } else if (const auto* const real = std::get_if<double>(&item)) {
    std::memcpy(&word, real, sizeof word);
  }
  write(offset, word);
  if (const auto* const truth = std::get_if<bool>(&item)) write(offset + 7, *truth);
}

/// @brief A list travels as its segment's name.
template <>
struct codec<ShareableList> {
  static void encode(Encoder& encoder, const ShareableList& list) {
    detail::encode<std::string>(encoder, list.shm().name());
  }
  /// @throws std::system_error ENOENT: it has been unlinked meanwhile.
  static ShareableList decode(Decoder& decoder) {
    return ShareableList{ShareableListOptions{detail::decode<std::string>(decoder)}};
  }
};

}  // namespace multiprocessing
