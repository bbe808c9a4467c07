// SPDX-License-Identifier: BSL-1.0
// A plug-in: it contains the library's headers and shows nobody but its entry.
#include <plugin/plugin.hpp>

namespace mp = multiprocessing;

namespace {

int answer() {
  return MULTIPROCESSING_TEST_ANSWER;
}

struct Answer {
  using Signature = void(int&);
  static void entry(int& into) { into = answer(); }
};

}  // namespace

TEST_PLUGIN_ENTRY const void* test_plugin() {
  static constexpr test::PluginFunctions functions{
      []() -> test::Shared& { return mp::os::process_wide<test::Shared>(); },
      [](int n) { return test::numbered(n); },
      []() -> mp::detail::ProcessState& { return mp::detail::process_state(); },
      [] { return mp::refer_to<Answer>(); }, answer};
  return &functions;
}

// For a program that does not know the types above.
TEST_PLUGIN_ENTRY int* test_plugin_number() {
  return &mp::os::process_wide<test::Numbered<0>>().value;
}
