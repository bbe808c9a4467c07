// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file pickle_reader.hpp
/// @brief From the bytes of a pickle to an Object.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/network/pickle_object.hpp>
#include <multiprocessing/network/pickle_writer.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace multiprocessing::detail {

/// @brief Reads one pickle, which may be hostile.
///
/// Two steps: the opcodes become nodes that refer to each other by number, as the pickle's memo
/// wants it; then a tree of Objects is made from the last one. A list that contains itself is
/// refused, and so is what would become more than 128 times as large as its bytes and 16 MiB, which
/// a small pickle can by naming the same thing again and again.
class PickleReader {
 public:
  explicit PickleReader(std::span<const std::byte> bytes)
      : left_{bytes}, budget_{(std::size_t{16} << 20U) + 128 * bytes.size()} {}

  /// @throws SerializationError
  [[nodiscard]] pickle::Object read() {
    if (take_opcode() != Opcode::proto) refuse("it does not begin as protocol 2 to 5 do");
    const std::uint64_t protocol = take_number(1);
    if (protocol < 2 || protocol > 5) refuse("its protocol is " + std::to_string(protocol));
    for (;;) {
      const Opcode opcode = take_opcode();
      if (opcode == Opcode::stop) break;
      run(opcode);
    }
    if (!left_.empty()) refuse("it goes on after its end");
    if (stack_.size() != 1 || !marks_.empty()) refuse("its end comes too early");
    return made_of(stack_.back(), 0);
  }

 private:
  using Index = std::uint32_t;
  using Indexes = std::vector<Index>;
  struct Text {
    std::string_view text;
  };
  struct Binary {
    std::string bytes;
  };
  struct Listed {
    Indexes items;
  };
  struct Tupled {
    Indexes items;
  };
  struct Mapped {
    Indexes items;  // key, value, key, value
  };
  enum class Function { encode, bytes };  // what protocol 2 calls to make bytes
  struct Node {
    std::variant<std::monostate,
                 bool,
                 std::int64_t,
                 std::uint64_t,
                 double,
                 Text,
                 Binary,
                 Listed,
                 Tupled,
                 Mapped,
                 Function>
        value;
    bool is_open = false;  // an Object is being made of it
  };

  [[noreturn]] static void refuse(const std::string& why) {
    throw SerializationError{"pickle: " + why};
  }

  std::span<const std::byte> take(std::uint64_t size) {
    if (size > left_.size()) refuse("it is cut off");
    const auto taken = left_.first(static_cast<std::size_t>(size));
    left_ = left_.subspan(taken.size());
    return taken;
  }
  Opcode take_opcode() { return static_cast<Opcode>(take(1).front()); }
  std::uint64_t take_number(std::size_t size) {
    std::uint64_t number = 0;
    const auto bytes = take(size);
    for (std::size_t i = 0; i < size; ++i) {
      number |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
    }
    return number;
  }
  std::string_view take_text(std::uint64_t size) {
    const auto bytes = take(size);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::string_view take_line() {
    for (std::size_t i = 0; i < left_.size(); ++i) {
      if (left_[i] != std::byte{'\n'}) continue;
      const auto line = take_text(i);
      take(1);
      return line;
    }
    refuse("it is cut off");
  }

  template <class Value>
  void push(Value value) {
    nodes_.push_back({std::move(value)});
    stack_.push_back(static_cast<Index>(nodes_.size() - 1));
  }
  void push_text(std::string_view text) {
    if (!is_utf8(text)) refuse("a str is not UTF-8");
    push(Text{text});
  }
  Index pop() {
    const std::size_t bottom = marks_.empty() ? 0 : marks_.back();
    if (stack_.size() <= bottom) refuse("an opcode finds nothing to work on");
    const Index top = stack_.back();
    stack_.pop_back();
    return top;
  }
  Indexes pop_to_mark() {
    if (marks_.empty()) refuse("an opcode finds no mark");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    Indexes items(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }
  template <class Value>
  Indexes& container_on_top() {
    const Index top = pop();
    stack_.push_back(top);
    auto* const container = std::get_if<Value>(&nodes_[top].value);
    if (container == nullptr) refuse("an opcode works on a value of another type");
    return container->items;
  }
  template <class Value>
  void extend(Indexes items, std::size_t multiple) {
    Indexes& all = container_on_top<Value>();
    if (items.size() % multiple != 0) refuse("a dict has a key without a value");
    all.insert(all.end(), items.begin(), items.end());
  }
  Indexes pop_several(std::size_t count) {
    Indexes items(count);
    for (std::size_t i = count; i > 0; --i) items[i - 1] = pop();
    return items;
  }

  void memoize(std::uint64_t place) {
    const Index top = pop();
    stack_.push_back(top);
    if (place > memo_.size()) refuse("its memo has a gap");
    if (place == memo_.size()) memo_.push_back(top);
    memo_[static_cast<std::size_t>(place)] = top;
  }
  void recall(std::uint64_t place) {
    if (place >= memo_.size()) refuse("it names what was not there");
    stack_.push_back(memo_[static_cast<std::size_t>(place)]);
  }

  void push_long(std::uint64_t size) {
    const auto bytes = take(size);
    constexpr std::size_t word = 8;
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < bytes.size() && i < word; ++i) {
      number |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
    }
    const bool is_negative = !bytes.empty() && (bytes.back() & std::byte{0x80}) != std::byte{};
    if (bytes.size() < word && is_negative) number |= ~std::uint64_t{0} << (8 * bytes.size());
    if (bytes.size() <= word) {
      push(static_cast<std::int64_t>(number));
    } else if (bytes.size() == word + 1 && bytes.back() == std::byte{}) {
      push(number);
    } else {
      refuse("an int does not fit into 64 bits");
    }
  }
  void push_double() {
    std::uint64_t bits = 0;
    for (const std::byte one : take(sizeof bits)) {
      bits = bits << 8U | std::to_integer<std::uint64_t>(one);
    }
    push(std::bit_cast<double>(bits));
  }
  void push_function() {
    const std::string_view module = take_line();
    const std::string_view name = take_line();
    if (module == "_codecs" && name == "encode") return push(Function::encode);
    if ((module == "__builtin__" || module == "builtins") && name == "bytes") {
      return push(Function::bytes);
    }
    refuse("it names the object " + std::string{module.substr(0, 100)} + "." +
           std::string{name.substr(0, 100)} + ", which is not in the subset");
  }
  // Nothing is called: these are the two forms in which protocol 2 writes bytes.
  void make_bytes() {
    const Indexes arguments = arguments_of(pop());
    const auto* const function = std::get_if<Function>(&nodes_[pop()].value);
    if (function == nullptr) refuse("it builds an object, which is not in the subset");
    if (*function == Function::bytes && arguments.empty()) return push(Binary{});
    if (*function == Function::bytes || arguments.size() != 2) {
      refuse("it calls a function, which is not in the subset");
    }
    const auto* const text = std::get_if<Text>(&nodes_[arguments[0]].value);
    const auto* const encoding = std::get_if<Text>(&nodes_[arguments[1]].value);
    if (text == nullptr || encoding == nullptr || encoding->text != "latin1") {
      refuse("it calls a function, which is not in the subset");
    }
    spend(text->text.size());  // it is a copy, and eight bytes of a pickle ask for one
    std::string bytes;
    for (std::size_t i = 0; i < text->text.size(); ++i) {
      const auto first = static_cast<unsigned char>(text->text[i]);
      if (first >= 0xc4) refuse("bytes are written with a character beyond 255");
      const bool is_pair = first >= 0x80;
      const unsigned second = is_pair ? static_cast<unsigned char>(text->text[++i]) & 0x3fU : 0U;
      bytes += static_cast<char>(is_pair ? (first & 0x3U) << 6U | second : first);
    }
    push(Binary{std::move(bytes)});
  }
  Indexes arguments_of(Index node) const {
    const auto* const tuple = std::get_if<Tupled>(&nodes_[node].value);
    if (tuple == nullptr) refuse("it builds an object, which is not in the subset");
    return tuple->items;
  }

  void run(Opcode opcode) {
    if (!run_value(opcode) && !run_container(opcode)) {
      refuse("its opcode " + std::to_string(static_cast<unsigned>(opcode)) +
             " is not in the subset");
    }
  }
  bool run_value(Opcode opcode) {
    switch (opcode) {
      case Opcode::none:
        return push(std::monostate{}), true;
      case Opcode::newtrue:
        return push(true), true;
      case Opcode::newfalse:
        return push(false), true;
      case Opcode::binint:
        return push(std::int64_t{static_cast<std::int32_t>(take_number(4))}), true;
      case Opcode::binint1:
        return push(static_cast<std::int64_t>(take_number(1))), true;
      case Opcode::binint2:
        return push(static_cast<std::int64_t>(take_number(2))), true;
      case Opcode::long1:
        return push_long(take_number(1)), true;
      case Opcode::long4:
        return push_long(take_number(4)), true;
      case Opcode::binfloat:
        return push_double(), true;
      case Opcode::short_binunicode:
        return push_text(take_text(take_number(1))), true;
      case Opcode::binunicode:
        return push_text(take_text(take_number(4))), true;
      case Opcode::binunicode8:
        return push_text(take_text(take_number(8))), true;
      case Opcode::short_binbytes:
        return push(Binary{std::string{take_text(take_number(1))}}), true;
      case Opcode::binbytes:
        return push(Binary{std::string{take_text(take_number(4))}}), true;
      case Opcode::binbytes8:
        return push(Binary{std::string{take_text(take_number(8))}}), true;
      case Opcode::global:
        return push_function(), true;
      case Opcode::reduce:
        return make_bytes(), true;
      default:
        return false;
    }
  }
  bool run_container(Opcode opcode) {
    switch (opcode) {
      case Opcode::mark:
        return marks_.push_back(stack_.size()), true;
      case Opcode::empty_list:
        return push(Listed{}), true;
      case Opcode::append:
        return extend<Listed>({pop()}, 1), true;
      case Opcode::appends:
        return extend<Listed>(pop_to_mark(), 1), true;
      case Opcode::empty_dict:
        return push(Mapped{}), true;
      case Opcode::setitem:
        return extend<Mapped>(pop_several(2), 2), true;
      case Opcode::setitems:
        return extend<Mapped>(pop_to_mark(), 2), true;
      case Opcode::empty_tuple:
        return push(Tupled{}), true;
      case Opcode::tuple1:
        return push(Tupled{pop_several(1)}), true;
      case Opcode::tuple2:
        return push(Tupled{pop_several(2)}), true;
      case Opcode::tuple3:
        return push(Tupled{pop_several(3)}), true;
      case Opcode::tuple:
        return push(Tupled{pop_to_mark()}), true;
      case Opcode::binput:
        return memoize(take_number(1)), true;
      case Opcode::long_binput:
        return memoize(take_number(4)), true;
      case Opcode::memoize:
        return memoize(memo_.size()), true;
      case Opcode::binget:
        return recall(take_number(1)), true;
      case Opcode::long_binget:
        return recall(take_number(4)), true;
      case Opcode::frame:
        if (take_number(8) > left_.size()) refuse("it is cut off");
        return true;
      default:
        return false;
    }
  }

  void spend(std::size_t size) {
    if (size > budget_) refuse("it names the same things too often");
    budget_ -= size;
  }
  std::vector<pickle::Object> objects_of(const Indexes& items, unsigned depth) {
    std::vector<pickle::Object> objects;
    for (const Index item : items) objects.push_back(made_of(item, depth));
    return objects;
  }
  pickle::Object made_of(Index index, unsigned depth) {
    if (++depth > deepest_pickle) refuse("it is nested too deeply");
    Node& node = nodes_[index];
    if (node.is_open) refuse("a value contains itself");
    spend(sizeof(pickle::Object));
    node.is_open = true;
    auto made = std::visit(
        [&](const auto& value) -> pickle::Object {
          using T = std::remove_cvref_t<decltype(value)>;
          if constexpr (std::same_as<T, Text>) {
            spend(value.text.size());
            return std::string{value.text};
          } else if constexpr (std::same_as<T, Binary>) {
            spend(value.bytes.size());
            const auto bytes = std::as_bytes(std::span{value.bytes});
            return pickle::Bytes(bytes.begin(), bytes.end());
          } else if constexpr (std::same_as<T, Listed>) {
            return objects_of(value.items, depth);
          } else if constexpr (std::same_as<T, Tupled>) {
            return pickle::Tuple{objects_of(value.items, depth)};
          } else if constexpr (std::same_as<T, Mapped>) {
            pickle::Dict dict;
            for (std::size_t i = 0; i < value.items.size(); i += 2) {
              auto key = made_of(value.items[i], depth);
              dict.items.emplace_back(std::move(key), made_of(value.items[i + 1], depth));
            }
            return dict;
          } else if constexpr (std::same_as<T, Function>) {
            refuse("it names an object, which is not in the subset");
          } else {
            return value;
          }
        },
        node.value);
    node.is_open = false;
    return made;
  }

  std::span<const std::byte> left_;
  std::size_t budget_;
  std::vector<Node> nodes_;
  Indexes stack_;
  std::vector<std::size_t> marks_;  // where in the stack they lie
  Indexes memo_;
};

}  // namespace multiprocessing::detail
