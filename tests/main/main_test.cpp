// SPDX-License-Identifier: BSL-1.0
// A program whose main() is GoogleTest's: spawn works, because it links multiprocessing::main.
#include <multiprocessing.hpp>

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace mp = multiprocessing;

namespace {

// There when a child's work begins, as everywhere.
const std::map<std::string, int> made_before_main{{"seven", 7}};

TEST(MainOfAnother, SpawnsProcesses) {
  mp::Queue<int> queue;
  mp::Process process{{.start_method = mp::StartMethod::spawn},
                      [](mp::Queue<int> to) { to.put(made_before_main.at("seven")); },
                      queue};
  process.start();
  EXPECT_EQ(queue.get(), 7);
  EXPECT_TRUE(process.join());
  EXPECT_EQ(process.exitcode(), 0);
}

}  // namespace
