// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file waiting.hpp
/// @brief How a queue's processes wait: look, spin, then sleep.
///
/// The order is the design: a sleep and its wake-up cost microseconds at both ends, a message tens
/// of nanoseconds. So whoever waits first spins for about as long as a sleep would take, unless
/// that has not paid lately: with more work than processors the other side runs when this one
/// sleeps.
#include <multiprocessing/os/bell.hpp>
#include <multiprocessing/os/lock.hpp>
#include <multiprocessing/os/patience.hpp>
#include <multiprocessing/timeout.hpp>

#include <system_error>

namespace multiprocessing::detail {

/// @brief Takes a lock of which every holder lets go within a few hundred instructions, or sleeps
/// with it because there is nothing to do.
/// @param check is called between sleeps; it may throw to give up.
/// @throws std::system_error nobody will ever get it: its memory was written by something else.
template <class Check>
os::Acquired acquire(os::RobustLock& lock,
                     os::Patience& patience,
                     const Deadline& deadline,
                     Check&& check) {
  os::Acquired result = lock.try_lock();
  if (result != os::Acquired::no || deadline.is_now()) return result;
  const auto taken = [&] { return (result = lock.try_lock()) != os::Acquired::no; };
  if (patience.spin(taken)) return result;
  for (;;) {
    check();
    std::error_code ec;
    result = lock.lock(Deadline{deadline.left(os::Bell::longest_sleep)}, ec);
    if (ec) throw std::system_error{ec, "cannot take a queue's lock"};
    if (result != os::Acquired::no || deadline.passed()) return result;
  }
}

}  // namespace multiprocessing::detail
