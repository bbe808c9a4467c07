// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file snapshot.hpp
/// @brief Going through a shared container while others change it: through a copy of one moment.
#include <cstddef>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief Goes through a copy, which it keeps; ends at std::default_sentinel.
template <class T>
class SnapshotIterator {
 public:
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using iterator_concept = std::input_iterator_tag;

  explicit SnapshotIterator(std::vector<T> copy)
      : copy_{std::make_shared<std::vector<T>>(std::move(copy))} {}

  /// @brief Part of the copy, which lives as long as this iterator or a copy of it.
  [[nodiscard]] decltype(auto) operator*() const { return std::as_const(*copy_)[next_]; }
  SnapshotIterator& operator++() {
    ++next_;
    return *this;
  }
  void operator++(int) { ++next_; }
  friend bool operator==(const SnapshotIterator& iterator, std::default_sentinel_t) {
    return iterator.next_ == iterator.copy_->size();
  }

 private:
  std::shared_ptr<std::vector<T>> copy_;
  std::size_t next_ = 0;
};

}  // namespace multiprocessing::detail
