// SPDX-License-Identifier: BSL-1.0
// A program that knows nothing of the library and loads plug-ins that do.
#include <cstdio>
#include <cstdlib>

#include <dlfcn.h>

namespace {

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::exit(1);
}

void* load(const char* path) {
  void* const handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) std::fprintf(stderr, "%s\n", dlerror());
  check(handle != nullptr, "the plug-in can be loaded");
  return handle;
}

int* number(void* handle) {
  using Entry = int* (*)();
  return reinterpret_cast<Entry>(dlsym(handle, "test_plugin_number"))();
}

}  // namespace

// Arguments: three plug-ins.
int main(int argc, char** argv) {
  check(argc == 4, "three plug-ins are named");
  void* const creator = load(argv[1]);
  void* const witness = load(argv[2]);  // makes no use of the state before its creator has gone
  int* const made = number(creator);
  *made = 7;
  dlclose(creator);
  check(dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD) == nullptr, "the creator is unloaded");
  check(number(witness) == made, "what was loaded before has the state of a creator that went");
  check(*made == 7, "the state is as it was left");
  void* const late = load(argv[3]);
  check(number(late) == made, "what was loaded later has it too");
  dlclose(witness);
  void* const again = load(argv[1]);
  check(number(again) == made, "the creator finds it when it comes back");
  return 0;
}
