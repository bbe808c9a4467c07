// SPDX-License-Identifier: BSL-1.0
// A program whose file is replaced by another, and then deleted, while it runs: children by spawn
// run what the parent runs.
// Not on Windows: a program that runs cannot be replaced there
#include <multiprocessing/process.hpp>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <unistd.h>

namespace mp = multiprocessing;
namespace fs = std::filesystem;

namespace {

constexpr int right = 42;

void answer(int x) {
  throw mp::SystemExit(x);
}

void have_child(int x) {
  mp::Process child({.start_method = mp::StartMethod::spawn}, answer, x);
  child.start();
  child.join();
  throw mp::SystemExit(*child.exitcode());
}

bool works() {
  mp::Process process({.start_method = mp::StartMethod::spawn}, have_child, right);
  process.start();
  process.join();
  return process.exitcode() == right;
}

int run_copy_of(const fs::path& program) {
  std::string folder = (fs::temp_directory_path() / "multiprocessing.XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return 1;
  const std::string copy = folder + "/program";
  fs::copy_file(program, copy);
  const int status = std::system(("'" + copy + "' '" + copy + "'").c_str());
  fs::remove_all(folder);
  return status == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  mp::freeze_support();
  if (argc < 2) return run_copy_of(fs::read_symlink("/proc/self/exe"));

  const fs::path own = argv[1];
  if (!works()) return std::puts("does not work at all"), 1;
  fs::copy_file("/bin/false", own.string() + ".new");
  fs::rename(own.string() + ".new", own);
  if (!works()) return std::puts("does not work when it was replaced"), 1;
  fs::remove(own);
  if (!works()) return std::puts("does not work when it was deleted"), 1;
  return 0;
}
