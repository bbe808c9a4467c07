// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file line.hpp
/// @brief A line between processes for tests of what lies below connections and queues.
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

#include <sys/socket.h>

namespace test {

/// @brief What is said at one end is heard, message by message, at the other, in any process that a
///        copy was passed to. A copy is the same line.
class Line {
 public:
  Line() : core_{std::make_shared<Core>()} {
    int ends[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
      throw std::system_error{errno, std::system_category(), "socketpair"};
    }
    core_->ear = Handle{ends[0]};
    core_->mouth = Handle{ends[1]};
  }

  void say(std::string_view text) const {
    if (::send(core_->mouth.get(), text.data(), text.size(), MSG_NOSIGNAL) < 0) {
      throw std::system_error{errno, std::system_category(), "say"};
    }
  }
  /// @brief The next message; empty when nobody is left who could say something.
  [[nodiscard]] std::string hear() const {
    std::string text(4096, '\0');
    ssize_t got = 0;
    do {
      got = ::recv(core_->ear.get(), text.data(), text.size(), 0);
    } while (got < 0 && errno == EINTR);
    text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return text;
  }
  /// @brief This process says nothing more.
  void hang_up() const { core_->mouth.reset(); }
  [[nodiscard]] int ear() const { return core_->ear.get(); }

 private:
  friend struct multiprocessing::codec<Line>;
  using Handle = multiprocessing::os::UniqueHandle;

  struct Core {
    Handle ear;
    Handle mouth;
    [[nodiscard]] std::vector<Handle> duplicate_handles() const {
      return multiprocessing::reduction::duplicates(std::array{ear.get(), mouth.get()});
    }
    static std::shared_ptr<Core> adopt(std::vector<Handle> handles) {
      auto core = std::make_shared<Core>();
      core->ear = std::move(handles.at(0));
      core->mouth = std::move(handles.at(1));
      return core;
    }
  };

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
    return test::Line{reduction::load_shared<test::Line::Core>(decoder)};
  }
};
