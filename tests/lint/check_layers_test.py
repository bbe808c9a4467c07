#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""check_layers.py finds every kind of fault: each test makes a small tree with one of them."""
import pathlib
import sys
import tempfile
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_layers  # noqa: E402 (it stands beside this file)

START = "// SPDX-License-Identifier: BSL-1.0\n#pragma once\n"
CONTRACT = (START + "namespace multiprocessing::os {}\n\n#if MULTIPROCESSING_WINDOWS\n"
            "#  include <multiprocessing/os/windows/pipe.ipp>\n#else\n"
            "#  include <multiprocessing/os/posix/pipe.ipp>\n#endif\n")
CLEAN = {
    "multiprocessing.hpp": 
        START + "".join(f"#include <multiprocessing/{name}.hpp>\n" for name in
                        ("exceptions", "process", "queues", "serialization", "timeout")),
    "multiprocessing/detail/config.hpp": START + "#if defined(_WIN32)\n#endif\n",
    "multiprocessing/timeout.hpp": START + "#include <multiprocessing/detail/config.hpp>\n",
    "multiprocessing/exceptions.hpp": START + "#include <stdexcept>\n",
    "multiprocessing/os/native_handle.hpp": START + "#if MULTIPROCESSING_WINDOWS\n#endif\nint x;\n",
    "multiprocessing/os/pipe.hpp": CONTRACT,
    "multiprocessing/os/posix/pipe.ipp":
        START + "#include <multiprocessing/os/pipe.hpp>\n\n#include <unistd.h>\n#ifdef __linux__\n#endif\n",
    "multiprocessing/os/windows/api.ipp": START + "#include <windows.h>\n",
    "multiprocessing/os/windows/pipe.ipp": START + "#include <multiprocessing/os/windows/api.ipp>\n",
    "multiprocessing/serialization.hpp":
        START + "#include <multiprocessing/serialization/text.hpp>\n",
    "multiprocessing/serialization/archive.hpp": START,
    "multiprocessing/serialization/text.hpp":
        START + "#include <multiprocessing/serialization/archive.hpp>\n",
    "multiprocessing/launch.hpp": START + "#include <multiprocessing/launch/fork.hpp>\n",
    "multiprocessing/launch/fork.hpp": START + "#include <multiprocessing/os/pipe.hpp>\n",
    "multiprocessing/queues.hpp": START + "#include <multiprocessing/os/pipe.hpp>\n",
    "multiprocessing/process.hpp": START + "#include <multiprocessing/launch/fork.hpp>\n",
    "multiprocessing/network.hpp": START,
}


class CheckLayers(unittest.TestCase):
    def faults(self, **changed):
        """What is found in the clean tree with these files changed (None: without it)."""
        tree = {**CLEAN, **{name: text for name, text in changed.get("files", {}).items()}}
        with tempfile.TemporaryDirectory() as folder:
            for name, text in tree.items():
                if text is None:
                    continue
                path = pathlib.Path(folder, "include", name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            found = check_layers.check(folder)[0]
        # Those that a test adds, or keeps another one from including, are somebody's in the test of that alone.
        return found if changed.get("parts") else [line for line in found if "no header includes it" not in line]

    def expect(self, fault, files, count=1):
        found = self.faults(files=files)
        self.assertTrue(any(fault in line for line in found), f"{fault!r} is not among {found}")
        self.assertEqual(len(found), count, found)

    def test_a_clean_tree_has_none(self):
        self.assertEqual(self.faults(), [])

    def test_an_empty_tree_is_a_fault(self):
        self.assertTrue(self.faults(files=dict.fromkeys(CLEAN)))

    def test_a_header_above(self):
        self.expect("multiprocessing/exceptions.hpp:3: exceptions may not include os, which is above it",
                    {"multiprocessing/exceptions.hpp": START + "#include <multiprocessing/os/pipe.hpp>\n"})

    def test_the_umbrella_from_below(self):
        self.expect("may not include multiprocessing, which is above it",
                    {"multiprocessing/network.hpp": START + "#include <multiprocessing.hpp>\n"})

    def test_a_part_that_nobody_includes(self):
        fault = "multiprocessing/queues/ring.hpp: no header includes it: name it in ALONE, and in CMakeLists.txt"
        ring = {"multiprocessing/queues/ring.hpp": START}
        self.assertIn(fault, self.faults(parts=True, files=ring))
        included = START + "#include <multiprocessing/queues/ring.hpp>\n"
        self.assertNotIn(fault, self.faults(parts=True, files={**ring, "multiprocessing/queues.hpp": included}))

    def test_a_sibling(self):
        self.expect("queues may not include its sibling process",
                    {"multiprocessing/queues.hpp": START + "#include <multiprocessing/process.hpp>\n"})

    def test_a_sibling_from_a_folder_of_the_component(self):
        self.expect("serialization may not include its sibling os",
                    {"multiprocessing/serialization/text.hpp":
                         START + "#include <multiprocessing/os/pipe.hpp>\n"})

    def test_a_sibling_from_a_backend(self):
        self.expect("os may not include its sibling serialization",
                    {"multiprocessing/os/windows/pipe.ipp":
                         START + "#include <multiprocessing/serialization.hpp>\n"})

    def test_an_optional_part(self):
        self.expect("gpu is optional, nothing may include it",
                    {"multiprocessing/gpu.hpp": START,
                     "multiprocessing.hpp":
                         CLEAN["multiprocessing.hpp"] + "#include <multiprocessing/gpu.hpp>\n"})

    def test_an_umbrella_with_a_hole(self):
        self.expect("multiprocessing.hpp: does not include multiprocessing/queues.hpp",
                    {"multiprocessing.hpp":
                         CLEAN["multiprocessing.hpp"].replace("queues", "network/../queues")}, count=2)

    def test_no_umbrella(self):
        self.expect("there is no multiprocessing.hpp", {"multiprocessing.hpp": None})

    def test_a_component_without_a_rank(self):
        self.expect("component 'helpers' has no rank", {"multiprocessing/helpers/all.hpp": START})

    def test_a_header_that_is_not_there(self):
        self.expect("there is no multiprocessing/gone.hpp",
                    {"multiprocessing/queues.hpp": START + "#include <multiprocessing/gone.hpp>\n"})

    def test_a_cycle(self):
        self.expect("cycle: multiprocessing/serialization/archive.hpp -> "
                    "multiprocessing/serialization/text.hpp -> "
                    "multiprocessing/serialization/archive.hpp",
                    {"multiprocessing/serialization/archive.hpp":
                         START + "#include <multiprocessing/serialization/text.hpp>\n"})

    def test_a_cycle_through_the_same_rank(self):
        self.expect("cycle: multiprocessing/detail/a.hpp -> multiprocessing/timeout.hpp -> ",
                    {"multiprocessing/detail/a.hpp":
                         START + "#include <multiprocessing/timeout.hpp>\n",
                     "multiprocessing/timeout.hpp":
                         START + "#include <multiprocessing/detail/a.hpp>\n"}, count=2)

    def test_a_header_that_includes_itself(self):
        self.expect("cycle: multiprocessing/queues.hpp -> multiprocessing/queues.hpp",
                    {"multiprocessing/queues.hpp": START + "#include <multiprocessing/queues.hpp>\n"})

    def test_system_headers_outside_os(self):
        for system in ("unistd.h", "sys/mman.h", "linux/futex.h", "pthread.h", "windows.h", "signal.h", "malloc.h",
                       "wait.h", "syslog.h", "glob.h", "cpuid.h", "processthreadsapi.h", "userenv.h", "math.h",
                       "openssl/evp.h", "mpi.h", "unheard_of", "unheard/of.hpp"):
            with self.subTest(system):
                self.expect(f"multiprocessing/queues.hpp:3: the system header {system} outside",
                            {"multiprocessing/queues.hpp": START + f"#include <{system}>\n"})

    def test_headers_that_may_be_included(self):
        for name, what in (("queues.hpp", "vector"), ("queues.hpp", "boost/pfr/core.hpp"),
                           ("distributed/mpi/world.hpp", "mpi.h"), ("os/posix/pipe.ipp", "openssl/evp.h"),
                           ("os/posix/pipe.ipp", "glob.h")):
            with self.subTest(what):
                self.assertEqual(self.faults(files={f"multiprocessing/{name}": START + f"#include <{what}>\n"}), [])

    def test_an_include_that_names_no_file(self):
        for line in ("#include SYSTEM_HEADER", "#include_next <vector>", "# import <vector>"):
            with self.subTest(line):
                self.expect("multiprocessing/queues.hpp:3: an #include that does not name its file",
                            {"multiprocessing/queues.hpp": START + line + "\n"})

    def test_a_second_windows_h(self):
        self.expect("multiprocessing/os/windows/pipe.ipp:3: windows.h is included in",
                    {"multiprocessing/os/windows/pipe.ipp": START + "#include <windows.h>\n"})

    def test_a_system_header_in_a_contract(self):
        self.expect("multiprocessing/os/pipe.hpp:3: the system header fcntl.h outside",
                    {"multiprocessing/os/pipe.hpp":
                         CONTRACT.replace(START, START + "#include <fcntl.h>\n")})

    def test_platform_tests_outside_their_places(self):
        for test in ("#if defined(_WIN32)", "#ifdef __linux__", "#  if MULTIPROCESSING_POSIX",
                     "#elif MULTIPROCESSING_WINDOWS", "#ifndef __APPLE__", "#if WIN32", "#ifdef __unix", "#if __GLIBC__ > 2",
                     "#ifdef __OpenBSD__", "#if _POSIX_VERSION", "#ifdef BOOST_WINDOWS", "#if defined(__x86_64__)",
                     "#if __has_include(<windows.h>)", "#if  /* no */ _MSC_VER"):
            with self.subTest(test):
                self.expect("multiprocessing/queues.hpp:3: a platform test outside",
                            {"multiprocessing/queues.hpp": START + test + "\n#endif\n"})

    def test_platform_tests_that_are_no_conditions_by_themselves(self):
        for lines, at in (("#if defined(X) || \\\n    defined(_WIN32)\n#endif\n", 4),
                          ("#define X defined(_WIN32)\n#if X\n#endif\n", 3),
                          ("#define \\\n  X MULTIPROCESSING_POSIX\n", 4),
                          ("void f() { if constexpr (MULTIPROCESSING_WINDOWS) {} }\n", 3),
                          ("/* one\ntwo */\nstatic_assert(!MULTIPROCESSING_POSIX);\n", 5)):
            with self.subTest(lines):
                self.expect(f"multiprocessing/queues.hpp:{at}: a platform test outside",
                            {"multiprocessing/queues.hpp": START + lines})

    def test_a_constant_of_a_contract_that_differs(self):
        constant = "inline constexpr int most =\n    MULTIPROCESSING_WINDOWS ? int{1} : 2;\n"
        pipe = CONTRACT.replace(START, START + constant)
        self.assertEqual(self.faults(files={"multiprocessing/os/pipe.hpp": pipe}), [])
        self.expect("multiprocessing/queues.hpp:4: a platform test outside", {"multiprocessing/queues.hpp": START + constant})
        for other in ("static constexpr int x = 1;\ninline int f() { return MULTIPROCESSING_WINDOWS; }\n",
                      "inline constexpr int x = 0;\n#define X MULTIPROCESSING_WINDOWS\n",
                      "inline constexpr int x = 0;\ninline constexpr int y = _WIN32;\n"):
            with self.subTest(other):
                self.expect("multiprocessing/os/pipe.hpp:4: a platform test outside",
                            {"multiprocessing/os/pipe.hpp": CONTRACT.replace(START, START + other)})

    def test_words_about_the_platform(self):
        self.assertEqual(self.faults(files={
            "multiprocessing/queues.hpp": START + '/// Where _WIN32 is.\n/* __linux__\n__GLIBC__ */\n'
                                                  'const char* text = "a \\" __APPLE__";\n'}), [])

    def test_a_platform_test_in_a_contract_above_its_footer(self):
        self.expect("multiprocessing/os/pipe.hpp:3: a platform test outside",
                    {"multiprocessing/os/pipe.hpp":
                         CONTRACT.replace(START, START + "#if MULTIPROCESSING_POSIX\n#endif\n")})

    def test_a_footer_where_there_is_no_contract(self):
        self.expect("a platform test outside", {"multiprocessing/queues.hpp": CONTRACT}, count=3)

    def test_a_backend_included_by_another_than_its_contract(self):
        self.expect("multiprocessing/os/posix/pipe.ipp is included by its contract only",
                    {"multiprocessing/queues.hpp":
                         START + "#include <multiprocessing/os/posix/pipe.ipp>\n"})

    def test_an_implementation_included_from_another_component(self):
        self.expect("multiprocessing/queues/ring.ipp is included by its contract only",
                    {"multiprocessing/queues/ring.ipp": START,
                     "multiprocessing/pool.hpp": START + "#include <multiprocessing/queues/ring.ipp>\n",
                     "multiprocessing.hpp": CLEAN["multiprocessing.hpp"] + "#include <multiprocessing/pool.hpp>\n"})
        self.assertEqual(self.faults(files={
            "multiprocessing/queues/ring.ipp": START,
            "multiprocessing/queues.hpp": START + "#include <multiprocessing/queues/ring.ipp>\n"}), [])

    def test_a_header_that_is_too_long_for_a_reason(self):
        long = {"multiprocessing/queues.hpp": START + "int x;\n" * 400}
        with unittest.mock.patch.dict(check_layers.LONGER, {"multiprocessing/process.hpp": "another"}):
            self.expect("multiprocessing/queues.hpp: 401 lines of code", long)
        with unittest.mock.patch.dict(check_layers.LONGER, {"multiprocessing/queues.hpp": "it has one"}):
            self.assertEqual(self.faults(files=long), [])

    def test_a_header_that_is_too_long(self):
        self.expect("multiprocessing/queues.hpp: 401 lines of code, the most is 400",
                    {"multiprocessing/queues.hpp": START + "int x;\n" * 400})
        self.assertEqual(
            self.faults(files={"multiprocessing/queues.hpp":
                               START + "int x;\n" * 399 + "// words\n/* and\nmore */\n\n" * 50}), [])

    def test_too_many_headers_over_300(self):
        self.expect("nine headers in ten must have at most 300 lines of code, 15 of 17 do",
                    {"multiprocessing/queues.hpp": START + "int x;\n" * 350,
                     "multiprocessing/process.hpp": START + "int x;\n" * 350})

    def test_too_many_headers_over_100(self):
        self.expect("half the headers must have at most 100 lines of code, 17 of 35 do",
                    {f"multiprocessing/queues/{i}.hpp": START + "int x;\n" * 150 for i in range(18)})

    def test_a_first_line_without_licence(self):
        self.expect("multiprocessing/queues.hpp:1: the first line is not",
                    {"multiprocessing/queues.hpp": "\n#pragma once\n"})

    def test_a_backend_without_licence(self):
        self.expect("multiprocessing/os/windows/pipe.ipp:1: the first line is not",
                    {"multiprocessing/os/windows/pipe.ipp": "#pragma once\n"})

    def test_a_header_without_pragma_once(self):
        self.expect("multiprocessing/queues.hpp:2: the second line is not '#pragma once'",
                    {"multiprocessing/queues.hpp": START.splitlines()[0] + "\n"})

    def test_an_include_in_quotes(self):
        self.expect('write #include <multiprocessing/...>, not "timeout.hpp"',
                    {"multiprocessing/queues.hpp": START + '#include "timeout.hpp"\n'})

    def test_a_file_that_is_no_header(self):
        self.expect("multiprocessing/notes.txt: neither .hpp nor .ipp",
                    {"multiprocessing/notes.txt": "words\n"})


if __name__ == "__main__":
    unittest.main()
