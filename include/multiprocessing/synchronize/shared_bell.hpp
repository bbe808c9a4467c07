// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file shared_bell.hpp
/// @brief A bell that travels beside the object that it belongs to.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/os/bell.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/serialization.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief The half of a bell that is this process's. It travels only where it has handles.
class SharedBell {
 public:
  /// @throws std::system_error no handle is left.
  static std::shared_ptr<SharedBell> create(const char* what) {
    std::error_code ec;
    auto bell = os::Bell::create(ec);
    if (ec) throw std::system_error{ec, "cannot create the bell of " + std::string{what}};
    return std::shared_ptr<SharedBell>{new SharedBell{std::move(bell)}};
  }
  static std::shared_ptr<SharedBell> adopt(std::vector<os::UniqueHandle> handles) {
    return std::shared_ptr<SharedBell>{new SharedBell{os::Bell::adopt(std::move(handles))}};
  }
  [[nodiscard]] std::vector<os::UniqueHandle> duplicate_handles() const {
    return reduction::duplicates(bell_.handles());
  }

  static void save(Encoder& encoder, const std::shared_ptr<SharedBell>& bell, const char* what) {
    const bool travels = !bell->bell_.handles().empty();
    encoder.write_number(static_cast<std::uint8_t>(travels));
    if (travels) reduction::save_shared(encoder, bell, what);
  }
  static std::shared_ptr<SharedBell> load(Decoder& decoder) {
    if (decoder.read_number<std::uint8_t>() == 0) return adopt({});
    return reduction::load_shared<SharedBell>(decoder);
  }

  [[nodiscard]] os::Bell& operator*() noexcept { return bell_; }
  [[nodiscard]] os::Bell* operator->() noexcept { return &bell_; }

 private:
  explicit SharedBell(os::Bell bell) noexcept : bell_{std::move(bell)} {}

  os::Bell bell_;
};

}  // namespace multiprocessing::detail
