// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file store_check.hpp
/// @brief Looks at every block of a manager's memory.
#include <multiprocessing/managers.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <set>
#include <string>

namespace test {

/// @brief Each block of a store is free, or part of one of the containers that were named, and
/// once. So nothing is lost, and nothing given out twice.
class StoreCheck {
 public:
  template <class K, class V>
  StoreCheck& with(const multiprocessing::DictProxy<K, V>& dict) {
    using Cell = detail_::Cell<V>;
    const detail_::Table table{store_of(dict), head_of(dict), Cell::size};
    add_table(head_of(dict));
    for (std::uint64_t e = table.first_entry(); e != 0; e = table.after(e)) {
      add(e);
      add_cell<V>(table.value_of(e));
    }
    return *this;
  }
  template <class T>
  StoreCheck& with(const multiprocessing::SetProxy<T>& set) {
    const detail_::Table table{store_of(set), head_of(set), 0};
    add_table(head_of(set));
    for (std::uint64_t e = table.first_entry(); e != 0; e = table.after(e)) add(e);
    return *this;
  }
  template <class T>
  StoreCheck& with(const multiprocessing::ListProxy<T>& list) {
    const detail_::Cells cells{store_of(list), head_of(list), detail_::Cell<T>::size};
    add(head_of(list));
    if (store_->word(head_of(list) + 8 * detail_::Cells::capacity) != 0) {
      add(store_->word(head_of(list) + 8 * detail_::Cells::block));
    }
    for (std::uint64_t i = 0; i < cells.size(); ++i) add_cell<T>(cells.at(i));
    return *this;
  }
  StoreCheck& with(const multiprocessing::NamespaceProxy& names) {
    const detail_::Table table{store_of(names), head_of(names), 24};
    add_table(head_of(names));
    for (std::uint64_t e = table.first_entry(); e != 0; e = table.after(e)) {
      add(e);
      if (store_->word(table.value_of(e) + 16) != 0) add(store_->word(table.value_of(e) + 8));
    }
    return *this;
  }

  void expect_whole() const {
    const auto& state = store_->state();
    EXPECT_EQ(state.log_length, 0U);
    std::set<std::uint64_t> rest;
    for (std::uint64_t at = state.data_begin; at < state.tail;) {
      const std::uint64_t which = store_->word(at);
      ASSERT_LT(which, detail_::BlockClass::count);
      rest.insert(at + 8);
      at += 8 + detail_::BlockClass::size_of(static_cast<unsigned>(which));
    }
    for (unsigned which = 0; which < detail_::BlockClass::count; ++which) {
      for (std::uint64_t block = state.free[which]; block != 0; block = store_->word(block)) {
        ASSERT_EQ(rest.erase(block), 1U) << "free twice, or no block: " << block;
        ASSERT_EQ(store_->word(block - 8), which);
      }
    }
    for (const std::uint64_t block : used_) {
      ASSERT_EQ(rest.erase(block), 1U) << "used and free, or no block: " << block;
    }
    EXPECT_TRUE(rest.empty()) << rest.size() << " blocks are lost";
  }

 private:
  struct detail_ {
    template <class T>
    using Cell = multiprocessing::detail::Cell<T>;
    using Table = multiprocessing::detail::Table;
    using Cells = multiprocessing::detail::Cells;
    using BlockClass = multiprocessing::detail::BlockClass;
  };

  template <class Proxy>
  multiprocessing::detail::Store& store_of(const Proxy& proxy) {
    store_ = multiprocessing::detail::ContainerOf::core(proxy)->store().get();
    if (!access_) access_.emplace(*store_);  // takes back what a dead process had begun
    return *store_;
  }
  template <class Proxy>
  static std::uint64_t head_of(const Proxy& proxy) {
    return multiprocessing::detail::ContainerOf::core(proxy)->head();
  }
  void add(std::uint64_t block) {
    EXPECT_TRUE(used_.insert(block).second) << "used twice: " << block;
  }
  void add_table(std::uint64_t head) {
    add(head);
    if (store_->word(head + 8 * detail_::Table::capacity) != 0) {
      add(store_->word(head + 8 * detail_::Table::slots));
    }
  }
  template <class T>
  void add_cell(std::uint64_t cell) {
    if (!multiprocessing::detail::lies_plainly<T> && store_->word(cell + 8) != 0) {
      add(store_->word(cell));
    }
  }

  multiprocessing::detail::Store* store_ = nullptr;
  std::optional<multiprocessing::detail::Access> access_;
  std::set<std::uint64_t> used_;
};

}  // namespace test
