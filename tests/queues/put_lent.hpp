// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file put_lent.hpp
/// @brief Items that are written where they lie.
#include <multiprocessing/queues.hpp>

#include <cstddef>
#include <numeric>

namespace test {

/// @brief `count` numbers from `first` on, as one item.
inline void put_lent(multiprocessing::Queue<int>& queue, std::size_t count, int first) {
  auto loan = queue.loan(count);
  std::iota(loan.span().begin(), loan.span().end(), first);
  loan.commit();
}

}  // namespace test
