// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file shared_page.hpp
/// @brief The shared memory of one synchronization object.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/memory.hpp>
#include <multiprocessing/os/native_handle.hpp>

#include <string>
#include <system_error>
#include <utility>

namespace multiprocessing::detail {

/// @brief One State in anonymous shared memory of its own, mapped by every process that has a copy
/// of the handle.
/// @tparam State All zero at first. Has `magic`, which says what the memory is, `expected_magic`,
/// and `name`, by which errors call it ("a Lock").
/// @shape One page and one handle.
template <class State>
class SharedPage {
 public:
  /// @throws std::system_error no handle or memory is left.
  static SharedPage create() {
    std::error_code ec;
    SharedPage page{os::SharedRegion::create(sizeof(State), ec)};
    if (!ec) page.region_.commit(0, sizeof(State), ec);
    if (ec) throw std::system_error{ec, "cannot get shared memory for " + std::string{State::name}};
    page->magic = State::expected_magic;
    return page;
  }
  /// @brief The page that another process created.
  /// @throws SerializationError the handle is not that of such a page.
  static SharedPage adopt(os::UniqueHandle handle) {
    std::error_code ec;
    SharedPage page{os::SharedRegion::adopt(std::move(handle), sizeof(State), ec)};
    if (!ec) page.region_.commit(0, sizeof(State), ec);  // it may be shorter than that
    if (ec) {
      throw SerializationError{"cannot map what arrived as the memory of " +
                               std::string{State::name} + ": " + ec.message()};
    }
    if (page->magic != State::expected_magic) {
      throw SerializationError{"what arrived is not the memory of " + std::string{State::name}};
    }
    return page;
  }

  [[nodiscard]] State* operator->() const noexcept {
    return reinterpret_cast<State*>(region_.data());
  }
  [[nodiscard]] native_handle_type handle() const noexcept { return region_.handle(); }
  /// @brief Instead of unmapping it: it stays until this process ends.
  void leave_mapped() noexcept { region_.leave_mapped(); }

 private:
  explicit SharedPage(os::SharedRegion region) noexcept : region_{std::move(region)} {}

  os::SharedRegion region_;
};

}  // namespace multiprocessing::detail
