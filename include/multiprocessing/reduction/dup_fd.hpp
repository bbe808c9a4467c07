// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file dup_fd.hpp
/// @brief Open files on their way to another process.
#include <multiprocessing/os/native_handle.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/serialization.hpp>

#include <array>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing::reduction {

/// @brief A duplicate of an open file, or of any other handle of the system, that can be sent: as
/// an argument of a process, in its state, and through a duplex Pipe().
/// @python{multiprocessing.reduction.DupFd}
///
/// A handle: copies are the same duplicate, which is closed with the last, unless it was detached.
/// @code
/// connection.send(mp::reduction::DupFd{file});            // here
/// const int file = end.recv<mp::reduction::DupFd>().detach();  // there: close it when it is done
/// @endcode
/// @threads any; detach() once.
class DupFd {
 public:
  /// @param handle is duplicated, and stays its owner's.
  /// @throws std::system_error it is no handle, or none is left.
  explicit DupFd(native_handle_type handle) : core_{std::make_shared<Core>()} {
    std::error_code ec;
    core_->handle = os::UniqueHandle{os::duplicate_handle(handle, ec)};
    if (ec) throw std::system_error{ec, "DupFd: cannot duplicate the handle"};
  }

  /// @brief It stays this object's. @throws std::invalid_argument detached.
  [[nodiscard]] native_handle_type get() const {
    require();
    return core_->handle.get();
  }
  /// @brief The caller's to close from now on; closed in a program that is started otherwise than
  /// by this library. @throws std::invalid_argument detached already.
  [[nodiscard]] native_handle_type detach() {
    require();
    return core_->handle.release();
  }

 private:
  friend struct multiprocessing::codec<DupFd>;

  struct Core {
    os::UniqueHandle handle;
    [[nodiscard]] std::vector<os::UniqueHandle> duplicate_handles() const {
      return duplicates(std::array{handle.get()});
    }
    static std::shared_ptr<Core> adopt(std::vector<os::UniqueHandle> handles) {
      if (handles.size() != 1) throw SerializationError{"a DupFd arrived without its handle"};
      return std::make_shared<Core>(Core{std::move(handles.front())});
    }
  };

  explicit DupFd(std::shared_ptr<Core> core) noexcept : core_{std::move(core)} {}
  void require() const {
    if (!core_->handle) throw std::invalid_argument{"this DupFd was detached"};
  }

  std::shared_ptr<Core> core_;
};

}  // namespace multiprocessing::reduction

/// @brief How it travels: as its handle beside the bytes.
template <>
struct multiprocessing::codec<multiprocessing::reduction::DupFd> {
  static constexpr bool carries_handles = true;
  /// @throws SerializationError where handles cannot travel. @throws std::invalid_argument
  /// detached.
  static void encode(Encoder& encoder, const reduction::DupFd& file) {
    file.require();
    reduction::save_shared(encoder, file.core_, "a DupFd");
  }
  static reduction::DupFd decode(Decoder& decoder) {
    return reduction::DupFd{reduction::load_shared<reduction::DupFd::Core>(decoder)};
  }
};
