// SPDX-License-Identifier: BSL-1.0
// Not on Windows: /proc
#include <multiprocessing/os/cpu.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>

#include <sched.h>

namespace os = multiprocessing::os;
namespace fs = std::filesystem;

namespace {

// A machine's /proc and /sys, as far as quotas go, in the folder that the test runs in.
class UsableCpuCount : public testing::Test {
 protected:
  void SetUp() override { ::sched_getaffinity(0, sizeof before_, &before_); }
  void TearDown() override {
    ::sched_setaffinity(0, sizeof before_, &before_);
    fs::remove_all("machine");
  }

  static void write(const std::string& path, const std::string& text) {
    const fs::path file = "machine" + path;
    fs::create_directories(file.parent_path());
    std::ofstream{file} << text;
  }
  static unsigned count() { return os::usable_cpu_count("machine"); }
  [[nodiscard]] unsigned allowed() const { return static_cast<unsigned>(CPU_COUNT(&before_)); }

  static void mount_v2(const std::string& root = "/") {
    write("/proc/self/mountinfo", "22 27 0:21 / /proc rw - proc proc rw\n35 24 0:30 " + root +
                                      " /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n");
  }
  static void mount_v1() {
    write("/proc/self/mountinfo",
          "35 24 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
          "36 24 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n");
  }

  cpu_set_t before_{};
};

TEST_F(UsableCpuCount, IsTheAffinityWhereThereAreNoQuotas) {
  EXPECT_EQ(count(), allowed());
  EXPECT_EQ(os::usable_cpu_count("/nowhere"), allowed());
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &before_)) continue;
    cpu_set_t one{};
    CPU_SET(cpu, &one);
    ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(count(), 1U);
    return;
  }
}

TEST_F(UsableCpuCount, IsTheQuotaOfTheGroupRoundedUp) {
  mount_v2();
  write("/proc/self/cgroup", "0::/a/b\n");
  write("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(count(), allowed());
  write("/sys/fs/cgroup/a/b/cpu.max", "150000 100000\n");
  EXPECT_EQ(count(), std::min(2U, allowed()));
  write("/sys/fs/cgroup/a/b/cpu.max", "100000 100000\n");
  EXPECT_EQ(count(), 1U);
  write("/sys/fs/cgroup/a/b/cpu.max", "5000 100000\n");
  EXPECT_EQ(count(), 1U);
  write("/sys/fs/cgroup/a/b/cpu.max", "99999999 100000\n");
  EXPECT_EQ(count(), allowed());
}

TEST_F(UsableCpuCount, LooksAtAllGroupsUpToTheRoot) {
  mount_v2();
  write("/proc/self/cgroup", "0::/a/b/c\n");
  write("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
  write("/sys/fs/cgroup/a/cpu.max", "20000 100000\n");
  EXPECT_EQ(count(), 1U);
}

TEST_F(UsableCpuCount, FindsTheGroupAlsoInAContainer) {
  mount_v2("/docker/abc");
  write("/proc/self/cgroup", "0::/docker/abc/job\n");
  write("/sys/fs/cgroup/job/cpu.max", "20000 100000\n");
  EXPECT_EQ(count(), 1U);
}

TEST_F(UsableCpuCount, IsNotMisledByAGroupOutsideOfTheMount) {
  mount_v2();
  write("/proc/self/cgroup", "0::/../other\n");
  write("/sys/fs/cgroup/cpu.max", "20000 100000\n");
  EXPECT_EQ(count(), 1U);
}

TEST_F(UsableCpuCount, KnowsTheFirstVersionToo) {
  mount_v1();
  write("/proc/self/cgroup", "2:cpuset:/x\n1:cpu,cpuacct:/job\n0::/\n");
  write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "-1\n");
  write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(count(), allowed());
  write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "50000\n");
  EXPECT_EQ(count(), 1U);
}

TEST_F(UsableCpuCount, LivesWithFilesThatMakeNoSense) {
  write("/proc/self/mountinfo", "nonsense\n\n1 2 3 / /sys/fs/cgroup - cgroup2\n");
  write("/proc/self/cgroup", "nonsense\n0::\n:::\n0::relative\n");
  write("/sys/fs/cgroup/cpu.max", "many few\n");
  EXPECT_EQ(count(), allowed());
  write("/sys/fs/cgroup/cpu.max", "1000 0\n");
  EXPECT_EQ(count(), allowed());
}

TEST(CpuCount, IsOfTheMachine) {
  EXPECT_GE(os::cpu_count(), 1U);
}

}  // namespace
