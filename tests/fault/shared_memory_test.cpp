// SPDX-License-Identifier: BSL-1.0
// Shared memory whose name somebody else has taken already.
// Not on Windows: system calls of POSIX that fail
#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
extern "C" {  // glibc 2.36 forgets it
#include <sys/pidfd.h>
}

namespace fault {

int taken = 0;  // so many of the next names
std::vector<std::string> names;

int linkat(int from, const char* what, int to, const char* name, int flags) {
  names.emplace_back(name);
  if (taken == 0) return ::linkat(from, what, to, name, flags);
  --taken;
  errno = EEXIST;
  return -1;
}

bool has_foreign_rights = false;  // as a set-user-ID program
unsigned long getauxval(unsigned long what) {
  return what == AT_SECURE && has_foreign_rights ? 1 : ::getauxval(what);
}

using ::_exit;
using ::chdir;
using ::close;
using ::dlopen;
using ::dup2;
using ::eventfd;
using ::exit;
using ::faccessat;
using ::fallocate;
using ::fcntl;
using ::fork;
using ::fstat;
using ::getcwd;
using ::getgroups;
using ::getpid;
using ::getrandom;
using ::getresgid;
using ::getresuid;
using ::ioctl;
using ::kill;
using ::lstat;
using ::madvise;
using ::memfd_create;
using ::mmap;
using ::on_exit;
using ::open;
using ::pidfd_open;
using ::pidfd_send_signal;
using ::poll;
using ::posix_spawn;
using ::ppoll;
using ::prctl;
using ::pread;
using ::pthread_atfork;
using ::pthread_sigmask;
using ::pwrite;
using ::readlink;
using ::select;
using ::send;
using ::setenv;
using ::sigaction;
using ::socketpair;
using ::stat;
using ::unlink;
using ::unsetenv;
using ::waitid;
using ::waitpid;
using ::write;

}  // namespace fault

#define MULTIPROCESSING_SYSTEM(call) fault::call
#include <multiprocessing/shared_memory.hpp>

namespace mp = multiprocessing;

TEST(SharedMemoryNameFault, ThatWasMadeUpAndIsTakenIsMadeUpAnew) {
  fault::names.clear();
  fault::taken = 3;
  mp::SharedMemory memory{{.create = true, .size = 10, .track = false}};  // no tracker stays
  ASSERT_EQ(fault::names.size(), 4U);
  EXPECT_EQ((std::set<std::string>{fault::names.begin(), fault::names.end()}.size()), 4U);
  EXPECT_TRUE(fault::names.back().ends_with(memory.name()));
  EXPECT_EQ(mp::SharedMemory{{.name = memory.name()}}.size(), 10U);
  memory.unlink();
}

TEST(SharedMemoryNameFault, ThatWasGivenAndIsTakenIsAnError) {
  fault::names.clear();
  fault::taken = 1;
  try {
    const mp::SharedMemory memory{
        {.name = "mp-test-taken", .create = true, .size = 10, .track = false}};
    ADD_FAILURE() << "made";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::file_exists);
  }
  EXPECT_EQ(fault::names.size(), 1U);
}

TEST(ResourceTrackerFault, IsNotStartedByAProgramWithForeignRights) {
  fault::has_foreign_rights = true;
  try {
    const mp::SharedMemory memory{{.create = true, .size = 10}};
    ADD_FAILURE() << "it was made";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::operation_not_permitted);
    EXPECT_NE(std::string{error.what()}.find(".track = false"), std::string::npos) << error.what();
  }
  mp::SharedMemory untracked{{.create = true, .size = 10, .track = false}};
  untracked.unlink();
  fault::has_foreign_rights = false;
}
