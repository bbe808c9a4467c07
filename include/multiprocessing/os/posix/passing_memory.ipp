// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/posix/sealed_memory.ipp>

#include <cerrno>
#include <cstddef>
#include <new>
#include <span>
#include <system_error>

namespace multiprocessing::os::posix {

// As sealed_copy(), kept from children that are forked while it is filled and used. The copying is
// done with no lock held.
MULTIPROCESSING_INLINE int add_sealed_copy(PassingHandles& to,
                                           std::span<const std::byte> bytes,
                                           std::error_code& ec) noexcept {
  try {
    const int memory = to.add_one([&] { return open_memory(ec); });
    if (!ec) fill_and_seal(memory, bytes, ec);
    return memory;
  } catch (const std::bad_alloc&) {
    ec.assign(ENOMEM, std::system_category());
    return invalid_handle;
  }
}

}  // namespace multiprocessing::os::posix
