// SPDX-License-Identifier: BSL-1.0
#include <plugin/library.hpp>

#if MULTIPROCESSING_POSIX
// A note as a damaged module might have it: the slot would lie in the note itself, where nobody can
// write. The tests end badly if anyone believes it.
__asm__(
    ".pushsection .note.multiprocessing,\"a\",%note\n"
    ".balign 4\n"
    ".4byte 16, 8, 1\n"
    ".asciz \"multiprocessing\"\n"
    ".8byte 0\n"
    ".popsection\n");
#endif

namespace {

struct Answer {
  using Signature = void(int&);
  static void entry(int& into) { into = test::library_answer(); }
};

}  // namespace

int test::library_answer() {
  return 44;
}

multiprocessing::CodeReference test::library_reference() {
  return multiprocessing::refer_to<Answer>();
}

test::Shared& test::library_shared() {
  return multiprocessing::os::process_wide<Shared>();
}
