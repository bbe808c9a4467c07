// SPDX-License-Identifier: BSL-1.0
// A program that knows nothing of the library and loads plug-ins that do.
#include <cstdio>
#include <cstdlib>

#include <plugin/loading.hpp>

namespace {

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::exit(1);
}

void* load(const char* path) {
  void* const handle = test::load(path);
  if (handle == nullptr) std::fprintf(stderr, "%s\n", test::loading_error().c_str());
  check(handle != nullptr, "the plug-in can be loaded");
  return handle;
}

int* number(void* handle) {
  using Entry = int* (*)();
  return reinterpret_cast<Entry>(test::symbol(handle, "test_plugin_number"))();
}

}  // namespace

// Arguments: three plug-ins.
int main(int argc, char** argv) {
  check(argc == 4, "three plug-ins are named");
  void* const creator = load(argv[1]);
  void* const witness = load(argv[2]);  // makes no use of the state before its creator has gone
  int* const made = number(creator);
  *made = 7;
  test::unload(creator);
  check(!test::is_loaded(argv[1]), "the creator is unloaded");
  check(number(witness) == made, "what was loaded before has the state of a creator that went");
  check(*made == 7, "the state is as it was left");
  void* const late = load(argv[3]);
  check(number(late) == made, "what was loaded later has it too");
  test::unload(witness);
  void* const again = load(argv[1]);
  check(number(again) == made, "the creator finds it when it comes back");
  return 0;
}
