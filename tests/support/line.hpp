// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file line.hpp
/// @brief A line between processes for tests of what lies below connections and queues.
#include <multiprocessing/os/one_way_channel.hpp>
#include <multiprocessing/reduction.hpp>

#include <array>
#include <cerrno>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#if MULTIPROCESSING_POSIX
#  include <sys/socket.h>
#endif

namespace test {

namespace detail {

using Handle = multiprocessing::os::UniqueHandle;

#if MULTIPROCESSING_POSIX
struct LineCore {
  Handle ear;
  Handle mouth;

  LineCore() = default;
  explicit LineCore(bool /*fresh*/) {
    int ends[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
      throw std::system_error{errno, std::system_category(), "socketpair"};
    }
    ear = Handle{ends[0]};
    mouth = Handle{ends[1]};
  }
  [[nodiscard]] std::vector<Handle> duplicate_handles() const {
    return multiprocessing::reduction::duplicates(std::array{ear.get(), mouth.get()});
  }
  static std::shared_ptr<LineCore> adopt(std::vector<Handle> handles) {
    auto core = std::make_shared<LineCore>();
    core->ear = std::move(handles.at(0));
    core->mouth = std::move(handles.at(1));
    return core;
  }
  void say(std::string_view text) const {
    if (::send(mouth.get(), text.data(), text.size(), MSG_NOSIGNAL) < 0) {
      throw std::system_error{errno, std::system_category(), "say"};
    }
  }
  [[nodiscard]] std::string hear() const {
    std::string text(4096, '\0');
    ssize_t got = 0;
    do {
      got = ::recv(ear.get(), text.data(), text.size(), 0);
    } while (got < 0 && errno == EINTR);
    text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return text;
  }
  void hang_up() { mouth.reset(); }
  [[nodiscard]] multiprocessing::native_handle_type handle() const { return ear.get(); }
};
#else
struct LineCore {
  using End = multiprocessing::os::OneWayEnd;
  End ear;
  End mouth;
  static constexpr std::size_t handles_of_one = 2;

  LineCore() = default;
  explicit LineCore(bool /*fresh*/) {
    std::error_code ec;
    auto ends = End::create(ec);
    if (ec) throw std::system_error{ec, "a line"};
    ear = std::move(ends.first);
    mouth = std::move(ends.second);
  }
  [[nodiscard]] std::vector<Handle> duplicate_handles() const {
    auto all = ear.handles();
    for (const auto handle : mouth.handles()) all.push_back(handle);
    return multiprocessing::reduction::duplicates(all);
  }
  static std::shared_ptr<LineCore> adopt(std::vector<Handle> handles) {
    auto core = std::make_shared<LineCore>();
    std::vector<Handle> last;
    while (handles.size() > handles_of_one) {
      last.insert(last.begin(), std::move(handles.back()));
      handles.pop_back();
    }
    std::error_code ec;
    core->ear = End::adopt(std::move(handles), ec);
    if (!ec) core->mouth = End::adopt(std::move(last), ec);
    if (ec) throw std::system_error{ec, "a line"};
    return core;
  }
  void say(std::string_view text) const {
    std::error_code ec;
    const auto forever = multiprocessing::detail::Deadline{multiprocessing::forever};
    static_cast<void>(mouth.send({0, std::as_bytes(std::span{text}), {}}, {}, forever, ec));
    if (ec) throw std::system_error{ec, "say"};
  }
  [[nodiscard]] std::string hear() const {
    std::error_code ec;
    multiprocessing::os::IncomingMessage message;
    const auto forever = multiprocessing::detail::Deadline{multiprocessing::forever};
    static_cast<void>(ear.receive(message, {}, forever, ec));
    const auto bytes = message.bytes();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  void hang_up() { mouth = {}; }
  [[nodiscard]] multiprocessing::native_handle_type handle() const { return ear.handle(); }
};
#endif

}  // namespace detail

/// @brief What is said at one end is heard, message by message, at the other, in any process that a
///        copy was passed to. A copy is the same line.
class Line {
 public:
  Line() : core_{std::make_shared<detail::LineCore>(true)} {}

  void say(std::string_view text) const { core_->say(text); }
  /// @brief The next message; empty when nobody is left who could say something.
  [[nodiscard]] std::string hear() const { return core_->hear(); }
  /// @brief This process says nothing more.
  void hang_up() const { core_->hang_up(); }
  [[nodiscard]] multiprocessing::native_handle_type ear() const { return core_->handle(); }

 private:
  friend struct multiprocessing::codec<Line>;
  using Core = detail::LineCore;

  explicit Line(std::shared_ptr<Core> core) : core_{std::move(core)} {}

  std::shared_ptr<Core> core_;
};

}  // namespace test

template <>
struct multiprocessing::codec<test::Line> {
  static constexpr bool carries_handles = true;
  static void encode(Encoder& encoder, const test::Line& line) {
    reduction::save_shared(encoder, line.core_, "a Line");
  }
  static test::Line decode(Decoder& decoder) {
    return test::Line{reduction::load_shared<test::detail::LineCore>(decoder)};
  }
};
