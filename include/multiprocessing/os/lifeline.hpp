// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file lifeline.hpp
/// @brief What ties a child to its parent: each end shows when the other process is gone.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/os/native_handle.hpp>

#include <optional>
#include <system_error>

namespace multiprocessing::os {

/// @brief Both ends of a lifeline. The kernel closes an end with its process, however that dies, so
/// no other process may hold it: a forked child closes those of its siblings first.
///
/// POSIX: a SOCK_SEQPACKET pair. Windows: the child's end is the parent's process handle; the
/// parent's is made by spawn_program(), a job object in which the child is born.
struct Lifeline {
  UniqueHandle parents;
  UniqueHandle childs;  ///< Ready for reading once the parent has ended; it never writes.
};

/// @errors POSIX `socketpair`: EMFILE, ENFILE, ENOMEM, ENOBUFS. Windows `OpenProcess`.
[[nodiscard]] Lifeline make_lifeline(std::error_code& ec) noexcept;

/// @brief From now on the system kills this process when the parent has ended, without a thread
/// that watches. If the parent has ended already, that is now.
/// @param childs the child's end. @errors POSIX `fcntl`: EINVAL where O_ASYNC is not supported.
/// Windows: the child has its job end with the parent's handle of it (`SetInformationJobObject`);
/// what it starts ends likewise.
void die_with_parent(native_handle_type childs, std::error_code& ec) noexcept;

/// @brief The child's last word: its exit code, for a parent that cannot ask the system. Windows:
/// nothing, the parent's process handle always tells.
void report_exit(native_handle_type childs, int code) noexcept;

/// @brief What the child reported, if it did. Call it when the child has ended. Windows: nothing.
[[nodiscard]] std::optional<int> reported_exit(native_handle_type parents) noexcept;

}  // namespace multiprocessing::os

#if MULTIPROCESSING_DEFINES_WINDOWS
#  include <multiprocessing/os/windows/lifeline.ipp>
#elif MULTIPROCESSING_DEFINES_POSIX
#  include <multiprocessing/os/posix/lifeline.ipp>
#endif
