// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file spawned.hpp
/// @brief A spawned process dies at every step of an operation, with others asleep and at work: on
///        every system. For programs that have stop points.
#include <multiprocessing/process.hpp>
#include <multiprocessing/queues.hpp>

#include <support/asleep.hpp>
#include <support/codes.hpp>
#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <ostream>
#include <set>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

namespace test {

/// @brief What a victim dies in. `Things` are what it shares with the others; they travel.
template <class Things>
struct SpawnedCase {
  using Operation = void (*)(const Things&);

  std::string name;
  Things (*make)();
  Operation prepare = nullptr;
  Operation operation;          ///< The victim's.
  Operation sleeper = nullptr;  ///< Waits for ever, and returns only when it got what it waits for.
  Operation wake = nullptr;     ///< Afterwards: gives it that, unless the dead has done so.
  Operation worker = nullptr;   ///< What somebody else does again and again meanwhile.
  Operation check;              ///< At last: everything goes on.
  /// Where it must have been killed, among others.
  std::vector<std::string> points = {};

  friend std::ostream& operator<<(std::ostream& out, const SpawnedCase& one) {
    return out << one.name;
  }
};

/// @brief What the others do while the victim is at it.
enum class Others { nothing, sleep, work };

namespace detail {

template <class Things>
void be_killed(const Things& things, void (*operation)(const Things&), const std::string& point) {
  stop_at(point, Stop::die);
  operation(things);
}

template <class Things>
void tell_points(const Things& things,
                 void (*operation)(const Things&),
                 multiprocessing::Queue<std::vector<std::string>> to) {
  record_stop_points();
  operation(things);
  to.put(recorded_stop_points());
}

/// @brief Things, prepared, and those who wait for them or use them.
template <class Things>
class Scene {
 public:
  Scene(const SpawnedCase<Things>& which, Others others)
      : which_{which}, others_{others}, things_{which.make()} {
    if (which.prepare != nullptr) which.prepare(things_);
    if (others == Others::sleep) {
      other_ = std::thread{[this] {
        id_ = thread_id();
        which_.sleeper(things_);
      }};
      eventually([this] { return id_ != 0 && sleeps(id_); });
    } else if (others == Others::work) {
      other_ = std::thread{[this] {
        do {
          which_.worker(things_);
        } while (!is_over_);
      }};
    }
  }
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;
  ~Scene() = default;

  /// @brief Runs `work(things, operation, more)` in a process; then the others end, or the watchdog
  ///        says that they hang. @returns its exit code.
  template <class Work, class More>
  int run(Work work, const More& more) {
    multiprocessing::Process process{{.start_method = multiprocessing::StartMethod::spawn},
                                     work,
                                     things_,
                                     which_.operation,
                                     more};
    process.start();
    process.join();
    if (others_ == Others::sleep) which_.wake(things_);
    is_over_ = true;
    if (other_.joinable()) other_.join();
    which_.check(things_);
    return process.exitcode().value();
  }

 private:
  const SpawnedCase<Things>& which_;
  Others others_;
  Things things_;
  std::atomic<int> id_{0};
  std::atomic<bool> is_over_{false};
  std::thread other_;
};

}  // namespace detail

/// @brief Leaves what a process leaves that dies there.
template <class Things>
void leave_the_dead(const Things& things,
                    void (*operation)(const std::type_identity_t<Things>&),
                    const std::string& point) {
  multiprocessing::Process victim{{.start_method = multiprocessing::StartMethod::spawn},
                                  detail::be_killed<Things>,
                                  things,
                                  operation,
                                  point};
  victim.start();
  victim.join();
  EXPECT_EQ(victim.exitcode(), killed_code);
}

/// @brief The points that a process comes by in the operation, with the others there.
template <class Things>
std::vector<std::string> points_of(const SpawnedCase<Things>& which, Others others) {
  const multiprocessing::Queue<std::vector<std::string>> told;
  EXPECT_EQ((detail::Scene<Things>{which, others}.run(detail::tell_points<Things>, told)), 0);
  return multiprocessing::Queue{told}.try_get().value_or(std::vector<std::string>{});
}

/// @returns whether the victim was killed there, and not at its end before.
template <class Things>
bool is_killed_at(const std::string& point, const SpawnedCase<Things>& which, Others others) {
  return detail::Scene<Things>{which, others}.run(detail::be_killed<Things>, point) == killed_code;
}

/// @brief The test: what a victim leaves wherever it dies, the others go on with.
template <class Things>
void kill_at_every_step(const SpawnedCase<Things>& which) {
  std::set<std::string> killed_at;
  std::vector<Others> all;
  if (which.sleeper != nullptr) all.push_back(Others::sleep);
  if (which.worker != nullptr) all.push_back(Others::work);
  if (all.empty()) all.push_back(Others::nothing);
  for (const Others others : all) {
    for (const std::string& point : points_of(which, others)) {
      SCOPED_TRACE(point + (others == Others::sleep  ? ", others asleep"
                            : others == Others::work ? ", others at work"
                                                     : ""));
      // On a busy machine a wait of 20 ms may be over before it has begun; and whoever works may
      // leave the victim nothing to do there.
      bool is_killed = false;
      for (int tries = others == Others::work ? 4 : 10; !is_killed && tries > 0; --tries) {
        is_killed = is_killed_at(point, which, others);
      }
      EXPECT_TRUE(is_killed || others == Others::work);
      if (is_killed) killed_at.insert(point);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  // The points were noted once, maybe in a moment in which nobody slept.
  for (const std::string& point : which.points) {
    for (int tries = 10; tries > 0 && !killed_at.contains(point); --tries) {
      for (const Others others : all) {
        if (is_killed_at(point, which, others)) killed_at.insert(point);
      }
    }
  }
  EXPECT_GT(killed_at.size(), 0U);
  std::string names;
  for (const std::string& point : killed_at) names += point + " ";
  testing::Test::RecordProperty("killed_at", names);
  for (const std::string& point : which.points) EXPECT_TRUE(killed_at.contains(point)) << point;
}

}  // namespace test
