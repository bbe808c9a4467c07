// SPDX-License-Identifier: BSL-1.0
// For programs whose main() is not theirs: compiled into whatever links multiprocessing::main,
// which calls freeze_support() before main().
#include <multiprocessing/process.hpp>

#if defined(_MSC_VER)
// The last of the program's initializers: its static objects are there.
static int __cdecl call_freeze_support() {
  multiprocessing::freeze_support();
  return 0;
}
#  pragma section(".CRT$XCY", read)
extern "C" __declspec(allocate(".CRT$XCY")) int(__cdecl* multiprocessing_main)() =
    &call_freeze_support;
#  pragma comment(linker, "/include:multiprocessing_main")
#else
// By the linker's --wrap=main: who calls main() calls the second, which calls it as the first. The
// names are the linker's, so the check of reserved names is off here.
extern "C" int __real_main(int argc, char** argv, char** environment);  // NOLINT(*reserved*)
extern "C" int __wrap_main(int argc, char** argv, char** environment);  // NOLINT(*reserved*)

int __wrap_main(int argc, char** argv, char** environment) {  // NOLINT(*reserved*)
  multiprocessing::freeze_support();
  return __real_main(argc, argv, environment);
}
#endif
