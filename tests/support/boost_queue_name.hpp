// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file boost_queue_name.hpp
/// @brief What becomes of a BoostMessageQueue's name.
#include <multiprocessing/queues/boost_message_queue.hpp>

#include <boost/interprocess/shared_memory_object.hpp>
#include <gtest/gtest.h>

#include <string>

namespace test {

/// @brief A queue has a name while it is there, and leaves none behind.
inline void expect_that_a_boost_queue_leaves_no_name() {
  namespace bi = boost::interprocess;
  std::string name;
  const auto open = [&] {
    static_cast<void>(bi::shared_memory_object{bi::open_only, name.c_str(), bi::read_only});
  };
  {
    const auto queue = multiprocessing::BoostMessageQueue::create(2);
    name = queue->name();
    EXPECT_NO_THROW(open());
  }
  EXPECT_THROW(open(), bi::interprocess_exception);
}

}  // namespace test
