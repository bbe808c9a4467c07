// SPDX-License-Identifier: BSL-1.0
// Tests that are to fail: each leaves one kind of thing behind, or hangs. audit_check.py runs them.
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <string>
#include <thread>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

std::string shared_name() {
  return "/multiprocessing-audit-" + std::to_string(getpid());
}

pid_t child_that_waits() {
  const pid_t child = fork();
  if (child == 0) {
    for (;;) pause();
  }
  return child;
}

}  // namespace

TEST(Clean, LeavesNothing) {
  const int descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(close(descriptor), 0);
  std::thread{[] {}}.join();
  const pid_t child = child_that_waits();
  ASSERT_EQ(kill(child, SIGKILL), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  std::ofstream{"file"} << "text";
  ASSERT_EQ(unlink("file"), 0);
}

TEST(Clean, AThreadThatEndsByItselfHasTime) {
  std::thread{[] { std::this_thread::sleep_for(std::chrono::milliseconds{200}); }}.detach();
}

TEST(Leak, Descriptor) {
  ASSERT_GE(open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
}

TEST(Leak, DescriptorClosedTwice) {
  ASSERT_EQ(close(STDIN_FILENO), 0);
}

TEST(Leak, Child) {
  ASSERT_GT(child_that_waits(), 0);
}

TEST(Leak, ChildNotReaped) {
  const pid_t child = child_that_waits();
  ASSERT_EQ(kill(child, SIGKILL), 0);
}

TEST(Leak, Grandchild) {
  const pid_t child = fork();
  if (child == 0) {
    child_that_waits();
    _exit(0);
  }
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
}

TEST(Leak, Thread) {
  std::thread{[] {
    for (;;) pause();
  }}.detach();
}

TEST(Leak, SharedName) {
  const int descriptor = shm_open(shared_name().c_str(), O_CREAT | O_RDWR, 0600);
  ASSERT_EQ(close(descriptor), 0);
}

TEST(Leak, File) {
  std::ofstream{"file"} << "text";
}

TEST(Hang, InMainAndInAChild) {
  child_that_waits();
  for (;;) pause();
}
