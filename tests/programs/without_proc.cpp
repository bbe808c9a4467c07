// SPDX-License-Identifier: BSL-1.0
// Where there is no /proc, children by spawn run the program at the path that it was started by,
// also when that was relative to a folder that has been left since.
// Not on Windows: /proc
#include <multiprocessing/process.hpp>

#include <cstdio>
#include <filesystem>

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

namespace mp = multiprocessing;
namespace fs = std::filesystem;

namespace {

constexpr int right = 42;
constexpr int skipped = 77;

void answer(int x) {
  throw mp::SystemExit(fs::exists("/proc/self") ? 1 : x);
}

void have_child(int x) {
  mp::Process child({.start_method = mp::StartMethod::spawn}, answer, x);
  child.start();
  child.join();
  throw mp::SystemExit(*child.exitcode());
}

bool hide_proc() {
  const bool own_view = ::unshare(CLONE_NEWNS) == 0 || ::unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
  return own_view && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("none", "/proc", "tmpfs", 0, nullptr) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 && !mp::os::is_spawned()) {  // again, by a relative path and without /proc
    const auto program = fs::read_symlink("/proc/self/exe");
    if (!hide_proc()) return std::puts("cannot hide /proc here"), skipped;
    fs::current_path(program.parent_path());
    const std::string name = "./" + program.filename().string();
    ::execl(name.c_str(), name.c_str(), "again", nullptr);
    return 1;
  }
  mp::freeze_support();
  static_cast<void>(argv);
  fs::current_path("/");
  mp::Process process({.start_method = mp::StartMethod::spawn}, have_child, right);
  process.start();
  process.join();
  if (process.exitcode() == right) return 0;
  std::printf("exit code %d\n", *process.exitcode());
  return 1;
}
