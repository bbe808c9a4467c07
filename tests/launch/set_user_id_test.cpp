// SPDX-License-Identifier: BSL-1.0
// A program that runs with rights which who runs it has not: what that one says to it.
// Not on Windows: set-user-ID files
#include <multiprocessing/launch.hpp>
#include <multiprocessing/process.hpp>

#include <support/captured.hpp>

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mp = multiprocessing;

namespace {

constexpr unsigned nobody = 65534;

// A copy of this program that belongs to another user and runs as that one.
class SetUserIdProgram {
 public:
  SetUserIdProgram() {
    std::filesystem::copy_file(std::filesystem::read_symlink("/proc/self/exe"), path_,
                               std::filesystem::copy_options::overwrite_existing);
    is_made_ = ::chmod(path_.c_str(), 04755) == 0;
  }
  SetUserIdProgram(const SetUserIdProgram&) = delete;
  SetUserIdProgram& operator=(const SetUserIdProgram&) = delete;
  ~SetUserIdProgram() { std::filesystem::remove(path_); }

  // By nobody, with that variable, and that handle as number 3. @returns its exit code; -1: it
  // cannot be run.
  [[nodiscard]] int run(const char* variable, int handle) const {
    const pid_t pid = ::fork();
    if (pid == 0) {
      std::string entry = variable;
      std::string program = path_;
      std::string list = "--gtest_list_tests";
      char* arguments[] = {program.data(), list.data(), nullptr};
      char* environment[] = {entry.data(), nullptr};
      const bool is_ready = ::dup2(handle, 3) == 3 && ::setresgid(nobody, nobody, nobody) == 0 &&
                            ::setresuid(nobody, nobody, nobody) == 0;
      if (is_ready) ::execve(program.c_str(), arguments, environment);
      ::_exit(77);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) != 77 ? WEXITSTATUS(status) : -1;
  }
  [[nodiscard]] std::string why_not() const {
    if (!is_made_) return "the file cannot be made";
    struct ::statvfs where {};
    if (::statvfs(path_.c_str(), &where) != 0 || (where.f_flag & ST_NOSUID) != 0) {
      return "the file system is mounted nosuid";
    }
    return "";
  }

 private:
  std::string path_ = "/tmp/mp-set-user-id-" + std::to_string(::getpid());
  bool is_made_ = false;
};

TEST(SetUserIdProgram, TakesItselfForNobodysChildOrTracker) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  const SetUserIdProgram program;
  if (const std::string why = program.why_not(); !why.empty()) GTEST_SKIP() << why;
  const mp::os::UniqueHandle state{::memfd_create("state", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  ASSERT_EQ(
      ::fcntl(state.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE),
      0);
  int ends[2] = {-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  ::close(ends[1]);  // a tracker would see its creator's end
  const mp::os::UniqueHandle line{ends[0]};
  test::Captured out{STDOUT_FILENO};
  for (const auto& [variable, handle] : {std::pair{"MULTIPROCESSING_CHILD=0", state.get()},
                                         std::pair{"MULTIPROCESSING_TRACKER=1", line.get()}}) {
    const int code = program.run(variable, handle);
    if (code == -1) GTEST_SKIP() << "another user may not run this program";
    EXPECT_EQ(code, 0) << variable;
  }
  const std::string text = out.text();  // main() ran, both times
  const auto first = text.find("SetUserIdProgram.");
  EXPECT_NE(first, std::string::npos) << text;
  EXPECT_NE(text.find("SetUserIdProgram.", first + 1), std::string::npos) << text;
}

}  // namespace
