// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/detail/config.hpp>

#include <sys/socket.h>
#include <sys/uio.h>

namespace multiprocessing::os::posix {

// One system call that does not wait and raises no SIGPIPE. One buffer without handles goes by
// send(), which takes 110 ns less of 850 than sendmsg().
MULTIPROCESSING_INLINE ssize_t send_parts(int to, const msghdr& message) noexcept {
  constexpr int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
  if (message.msg_iovlen == 1 && message.msg_controllen == 0) {
    const iovec& part = *message.msg_iov;
    return MULTIPROCESSING_SYSTEM(send)(to, part.iov_base, part.iov_len, flags);
  }
  return MULTIPROCESSING_SYSTEM(sendmsg)(to, &message, flags);
}

}  // namespace multiprocessing::os::posix
