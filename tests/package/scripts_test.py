#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""What examples/run, tests/run and benchmarks/run do on machines of all kinds: each test has a tree with the scripts, and
in PATH nothing but a shell, its tools, and programs that pretend to be apt-get, sudo, g++ and CMake, and note how they were
called."""
import os
import pathlib
import pty
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHELL = ("bash env basename cat chmod cut date dirname grep head ln ls mkdir mv nproc rm sed sort tail tee touch tr uname "
         "wc").split()

# How each pretends. A file have/<thing> is a thing that the machine has; a variable says what fails.
PRETENDED = {
    "apt-get": """
        for word; do
          case $word in
            update) exit 0 ;;
            install | download) what=$word ;;
            -* | DPkg::*) ;;
            *)
              [[ " $CANNOT_HAVE " != *" $word "* ]] || { echo "E: Unable to locate package $word"; exit 100; }
              packages+=("$word") ;;
          esac
        done
        if [ "$what" = download ]; then
          [ "$DOWNLOAD" != silent ] || exit 1
          touch "${packages[0]}_1_all.deb"
          exit
        fi
        [ "$USER_ID" = 0 ] || { echo 'E: are you root?'; exit 100; }
        for package in "${packages[@]}"; do touch "$HAVE/$package"; done
        """,
    "apt-cache": """
        echo 'libboost1.74-dev - headers'
        echo "$NEWEST_BOOST - headers"
        """,
    "dpkg": """
        [ "$1" = -x ] && [ -e "$2" ] && mkdir -p "$3/usr/include/boost" && touch "$3/usr/include/boost/version.hpp"
        """,
    "sudo": """
        if [ "$1" = -n ]; then
          shift
          [ "$PASSWORD" = no ] || { echo 'sudo: a password is required'; exit 1; }
        fi
        USER_ID=0 exec "$@"
        """,
    "id": """
        echo "$USER_ID"
        """,
    "cmake": """
        case $* in
          --version) echo "cmake version $CMAKE_IS" ;;
          *'-S examples -B build/examples'*)
            mkdir -p build/examples
            for file in examples/*.cpp; do
              name=$(basename "$file" .cpp)
              if [ "$name" = picture ] && [ ! -e "$HAVE/libpng-dev" ]; then
                echo '-- picture is left out: no libpng'
              else
                echo "$name" >>build/examples/programs.new
                printf '#!/bin/sh\\necho "%s by ${1:-itself}"\\n[ "$1 %s" != "$FAILS" ]\\n' "$name" "$name" >"build/examples/$name"
                chmod +x "build/examples/$name"
              fi
            done
            cat build/examples/programs.new >build/examples/programs.txt
            rm build/examples/programs.new ;;
          '--preset release'*)
            mkdir -p build/release/benchmarks
            touch build/release/CMakeCache.txt
            : >build/release/benchmarks/programs.txt
            for file in benchmarks/*.cpp; do
              name=$(basename "$file" .cpp)
              if [ "$name" = connection_benchmark ] && [ ! -e "$HAVE/libssl-dev" ]; then
                echo "-- $name is left out: no multiprocessing::network"
              else
                echo "$name" >>build/release/benchmarks/programs.txt
                printf '#!/bin/sh\\necho "figure %s"\\n' "$name" >"build/release/benchmarks/$name"
                chmod +x "build/release/benchmarks/$name"
              fi
            done ;;
          '--build --preset release --target '*)
            shift 4
            for name; do
              [ -e "build/release/benchmarks/$name" ] || { echo "ninja: error: unknown target '$name'"; exit 1; }
            done ;;
        esac
        """,
    "g++": """
        [ "$1" != -dumpfullversion ] || { echo 12.2.0; exit; }
        case $(cat) in
          *boost/version*) [ ! -e "$HAVE/boost" ] || echo "version $(cat "$HAVE/boost")"
                           [ ! -e "$HAVE/libboost1.83-dev" ] || echo 'version 108300' ;;
          *openssl*) [ -e "$HAVE/libssl-dev" ] ;;
          *png*) [ -e "$HAVE/libpng-dev" ] ;;
          *gtest*) [ -e "$HAVE/libgtest-dev" ] ;;
        esac
        """,
    "clang++": """
        [[ " $* " != *" -fsanitize=address,undefined "* ]] || [ -e "$HAVE/libclang-rt-dev" ]
        """,
    "taskset": """
        shift 2
        exec "$@"
        """,
    "ninja": "", "python3": "", "doxygen": "", "mpicc": "", "gearmand": "", "ctest": "", "clang-format": "", "clang-tidy": "",
    "x86_64-w64-mingw32-g++-posix": "", "wine": "", "ld.lld": "",
}
# What is a program only when its package is there.
IN_PACKAGE = {"g++": "g++", "cmake": "cmake", "ninja": "ninja-build", "python3": "python3", "doxygen": "doxygen",
              "mpicc": "libopenmpi-dev", "gearmand": "gearman-job-server", "sudo": "sudo", "clang++": "clang",
              "clang-format": "clang-format", "clang-tidy": "clang-tidy", "wine": "wine", "ld.lld": "lld",
              "x86_64-w64-mingw32-g++-posix": "g++-mingw-w64-x86-64-posix"}
ALL = ["boost", "libssl-dev", "libpng-dev", "libgtest-dev", "g++", "cmake", "ninja-build", "python3", "doxygen",
       "libopenmpi-dev", "gearman-job-server"]
# What the presets have installed on a machine that has all of these.
OF_PRESETS = {
    "clang": ["clang", "clang-format"],
    "asan": ["clang", "clang-format", "libclang-rt-dev"],
    "tidy": ["clang", "clang-format", "clang-tidy"],
    "mingw": ["g++-mingw-w64-x86-64-posix", "wine", "wine64", "googletest", "clang", "lld"],
}
# These are looked for where they lie, on this machine too.
PLACES = {"wine64": "/usr/lib/wine/wine64", "googletest": "/usr/src/googletest/CMakeLists.txt"}


class Machine:
    """A tree with the scripts, and what is pretended around it."""

    def __init__(self, folder, have=tuple(ALL), boost="108100", **variables):
        self.root = pathlib.Path(folder, "tree")
        self.programs = pathlib.Path(folder, "programs")
        self.have = pathlib.Path(folder, "have")
        self.calls = pathlib.Path(folder, "calls")
        for each in (self.root, self.programs, self.have):
            each.mkdir()
        for script in ("examples/run", "tests/run", "benchmarks/run", "cmake/prerequisites.sh"):
            (self.root / script).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / script, self.root / script)
        (self.root / "docs").mkdir()
        for name, main in (("hello", "int main()"), ("picture", "int main(int argc, char** argv)"),
                           ("queue", "int main(int argc, char** argv)")):
            (self.root / "examples" / f"{name}.cpp").write_text(main, encoding="utf-8")
        for name in ("connection", "queue"):
            (self.root / "benchmarks" / f"{name}_benchmark.cpp").touch()
        for script in ("tests/windows/run", "benchmarks/plot.py"):
            (self.root / script).parent.mkdir(exist_ok=True)
            (self.root / script).write_text(f'#!/bin/sh\necho {script} >>"$CALLS"\n', encoding="utf-8")
            (self.root / script).chmod(0o755)
        for thing in have:
            (self.have / thing).write_text(boost if thing == "boost" else "", encoding="utf-8")
        self.calls.touch()
        for tool in SHELL:
            (self.programs / tool).symlink_to(shutil.which(tool))
        self.bash = shutil.which("bash")
        for name in PRETENDED:
            self.pretend(name)
        self.variables = {"USER_ID": "0", "CANNOT_HAVE": "", "DOWNLOAD": "", "CMAKE_IS": "3.25.1", "FAILS": "",
                          "NEWEST_BOOST": "libboost1.83-dev", "PASSWORD": "", **variables}

    def pretend(self, name):
        """A program that notes its call. Those of packages step into PATH when apt-get has been asked for them."""
        text = f'#!{self.bash}\necho "{name} $*" >>"$CALLS"\n' + PRETENDED[name]
        if name == "apt-get":
            packages = " ".join(f'[{package}]={program}' for program, package in IN_PACKAGE.items())
            text += f"""
declare -A programs=({packages})
for package in "${{packages[@]}}"; do
  program=${{programs[$package]}}
  [ -z "$program" ] || ln -sf "$HAVE/../all/$program" "$HAVE/../programs/$program"
done
"""
        package = IN_PACKAGE.get(name)
        everything = self.programs.parent / "all"
        everything.mkdir(exist_ok=True)
        (everything / name).write_text(text, encoding="utf-8")
        (everything / name).chmod(0o755)
        if package is None or (self.have / package).exists():
            (self.programs / name).symlink_to(everything / name)

    def without(self, name):
        """It is not there at all."""
        (self.programs / name).unlink()

    def run(self, script, *arguments, stdin=subprocess.DEVNULL):
        """Exit code and all that is said."""
        environment = {"PATH": str(self.programs), "HAVE": str(self.have), "CALLS": str(self.calls), **self.variables}
        result = subprocess.run([self.bash, str(self.root / script), *arguments], env=environment, text=True,
                                stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return result.returncode, result.stdout

    def called(self, beginning):
        """The calls since it was asked last."""
        calls = self.calls.read_text(encoding="utf-8").splitlines()
        return [call for call in calls if call.startswith(beginning)]


class Scripts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def machine(self, *missing, **variables):
        return Machine(self.folder, [each for each in ALL if each not in missing], **variables)

    def expect(self, result, code, *said):
        self.assertEqual(result[0], code, result[1])
        for each in said:
            self.assertIn(each, result[1])

    # ---- names ----

    def test_examples_run_shows_all_of_them_by_each_method(self):
        machine = self.machine()
        result = machine.run("examples/run")
        self.expect(result, 0, *(f"== {name}, {method}\n{name} by {method}" for name in ("picture", "queue")
                                 for method in ("fork", "spawn", "forkserver")))
        self.assertEqual(machine.called("apt-get"), [])

    def test_examples_run_shows_once_what_takes_no_method(self):
        result = self.machine().run("examples/run", "hello")
        self.expect(result, 0, "\n== hello\nhello by itself\n")
        self.assertEqual(result[1].count("hello by"), 1)

    def test_examples_run_shows_what_is_named(self):
        machine = self.machine()
        result = machine.run("examples/run", "queue")
        self.expect(result, 0, "building queue\n", "queue by spawn")
        self.assertNotIn("picture", result[1])
        self.assertEqual(machine.called("cmake --build"), ["cmake --build build/examples --target queue"])

    def test_examples_run_refuses_a_wrong_name_before_it_begins(self):
        machine = self.machine()
        self.expect(machine.run("examples/run", "queue", "queues"), 1,
                    "there is no example 'queues'; there are: hello picture queue")
        self.assertEqual(machine.called(""), [])

    def test_examples_run_fails_with_an_example_when_it_has_shown_the_others(self):
        result = self.machine(FAILS="spawn picture").run("examples/run")
        self.expect(result, 1, "queue by forkserver", "failed: picture spawn")

    def test_tests_run_runs_the_presets_that_are_named(self):
        machine = self.machine()
        self.expect(machine.run("tests/run"), 0, "== dev")
        self.expect(machine.run("tests/run", "release", "dev"), 0, "== release", "== dev")
        self.assertEqual(machine.called("ctest"), [f"ctest --preset {each}" for each in ("dev", "release", "dev")])

    def test_tests_run_refuses_a_wrong_preset_before_it_begins(self):
        machine = self.machine()
        self.expect(machine.run("tests/run", "dev", "fast"), 1,
                    "there is no preset 'fast'; there are: dev release clang asan tsan tidy mingw")
        self.assertEqual(machine.called(""), [])

    # ---- benchmarks ----

    def test_benchmarks_run_keeps_what_all_of_them_print(self):
        machine = self.machine()
        result = machine.run("benchmarks/run")
        self.expect(result, 0, "figure connection_benchmark\nfigure queue_benchmark\nfigure queue_benchmark_on_one_proc")
        self.assertNotIn("left out", result[1])
        self.assertIn("figure connection_benchmark\n", (machine.root / "docs/figures.txt").read_text(encoding="utf-8"))

    def test_benchmarks_run_leaves_out_what_cannot_be_had(self):
        machine = self.machine("libssl-dev", CANNOT_HAVE="libssl-dev")
        result = machine.run("benchmarks/run")
        self.expect(result, 0, "connection_benchmark is left out: no multiprocessing::network", "figure queue_benchmark")
        self.assertNotIn("figure connection_benchmark", result[1])
        self.assertEqual(machine.called("cmake --build"), ["cmake --build --preset release --target queue_benchmark"])

    # ---- root ----

    def user_with_sudo(self, **variables):
        """Who must install something."""
        return Machine(self.folder, [*(each for each in ALL if each != "ninja-build"), "sudo"], USER_ID="1000", **variables)

    def expect_sudo(self, machine, words):
        calls = machine.called("sudo ")
        self.assertTrue(calls)
        for call in calls:
            self.assertTrue(call.startswith(f"sudo {words} "), call)

    def test_sudo_asks_for_a_password_where_there_is_a_terminal(self):
        machine = self.user_with_sudo()
        ours, theirs = pty.openpty()
        try:
            self.expect(machine.run("examples/run", "queue", stdin=theirs), 0, "queue by fork")
        finally:
            os.close(ours)
            os.close(theirs)
        self.expect_sudo(machine, "env DEBIAN_FRONTEND=noninteractive apt-get")

    def test_sudo_asks_for_none_where_nobody_could_type_it(self):
        machine = self.user_with_sudo(PASSWORD="no")
        self.expect(machine.run("examples/run", "queue"), 0, "queue by fork")
        self.expect_sudo(machine, "-n env DEBIAN_FRONTEND=noninteractive apt-get")

    def test_sudo_that_needs_a_password_which_nobody_can_type(self):
        self.expect(self.user_with_sudo().run("examples/run"), 1, "sudo: a password is required",
                    "cannot install ninja-build")

    def test_without_root_and_sudo_what_is_needed_cannot_be_installed(self):
        machine = self.machine("ninja-build", USER_ID="1000")
        self.expect(machine.run("examples/run"), 1, "not root, and there is no sudo", "cannot install ninja-build")

    # ---- packages ----

    def test_presets_get_what_they_need(self):
        for preset, packages in OF_PRESETS.items():
            with self.subTest(preset=preset), tempfile.TemporaryDirectory() as folder:
                machine = Machine(folder)
                self.expect(machine.run("tests/run", preset), 0, f"== {preset}")
                asked = [call.split(" --no-remove ")[1].split() for call in machine.called("apt-get") if " install " in call]
                packages = [each for each in packages if not os.path.exists(PLACES.get(each, ""))]
                self.assertEqual(asked, [packages])

    def test_a_bare_machine_gets_what_is_needed_and_a_second_run_asks_for_nothing(self):
        machine = Machine(self.folder, have=())
        self.expect(machine.run("examples/run"), 0, "picture by fork", "queue by fork")
        installs = [call for call in machine.called("apt-get") if " install " in call]
        for package in ("g++", "cmake", "ninja-build", "libboost1.83-dev", "libpng-dev", "libssl-dev"):
            self.assertTrue(any(f" {package}" in call for call in installs), (package, installs))
        for call in installs:
            self.assertIn(" -y ", call)
            self.assertIn(" --no-remove ", call)
            self.assertIn(" --no-install-recommends ", call)
        self.assertEqual(len([call for call in machine.called("apt-get") if call.endswith(" update")]), 1)
        before = machine.called("apt-get")
        self.expect(machine.run("examples/run"), 0, "queue by fork")
        self.assertEqual(machine.called("apt-get"), before)

    def test_what_is_needed_and_cannot_be_had_ends_the_script_with_the_reason(self):
        machine = self.machine("ninja-build", CANNOT_HAVE="ninja-build")
        self.expect(machine.run("examples/run"), 1, "E: Unable to locate package ninja-build",
                    "cannot install ninja-build")
        self.assertEqual(machine.called("cmake -S"), [])

    def test_what_a_part_needs_is_installed(self):
        machine = self.machine("libpng-dev")
        self.expect(machine.run("examples/run"), 0, "installing libpng-dev", "picture by fork")

    def test_what_a_part_alone_needs_and_cannot_be_had_is_told_and_left_out(self):
        machine = self.machine("libpng-dev", "libssl-dev", CANNOT_HAVE="libpng-dev libssl-dev")
        result = machine.run("examples/run")
        self.expect(result, 0, "E: Unable to locate package libpng-dev", "without the example mandelbrot:",
                    "without multiprocessing::network:", "picture is left out: no libpng",
                    "without picture, which cannot be built here", "queue by forkserver")
        self.assertNotIn("picture by", result[1])

    def test_one_part_that_cannot_be_had_takes_no_other_with_it(self):
        machine = self.machine("libpng-dev", "libssl-dev", CANNOT_HAVE="libssl-dev")
        self.expect(machine.run("examples/run"), 0, "without multiprocessing::network:", "picture by fork")

    def test_an_example_that_is_named_and_cannot_be_built_is_a_failure(self):
        machine = self.machine("libpng-dev", CANNOT_HAVE="libpng-dev")
        self.expect(machine.run("examples/run", "picture"), 1, "picture is left out: no libpng",
                    "cannot be built here: picture")
        self.expect(machine.run("examples/run", "queue"), 0, "queue by fork")

    def test_without_root_the_parts_are_left_out_and_all_else_runs(self):
        machine = self.machine("libpng-dev", "libssl-dev", USER_ID="1000")
        self.expect(machine.run("examples/run"), 0, "not root, and there is no sudo", "queue by fork")

    def test_without_apt_get_the_parts_are_left_out_and_all_else_runs(self):
        machine = self.machine("libpng-dev")
        machine.without("apt-get")
        self.expect(machine.run("examples/run"), 0, "without the example mandelbrot: that needs libpng-dev",
                    "queue by fork")
        machine.without("ninja")
        self.expect(machine.run("examples/run"), 1, "please install them: ninja-build")

    def test_parts_of_the_tests_are_left_out(self):
        machine = self.machine("doxygen", "libopenmpi-dev", "gearman-job-server",
                               CANNOT_HAVE="doxygen openmpi-bin gearman-job-server")
        said = ["without the test of the pages: cannot install doxygen",
                "without multiprocessing::mpi: cannot install openmpi-bin libopenmpi-dev"]
        if not os.access("/usr/sbin/gearmand", os.X_OK):
            said.append("without the tests of multiprocessing::gearman: cannot install gearman-job-server")
        self.expect(machine.run("tests/run"), 0, *said)
        self.assertEqual(machine.called("ctest"), ["ctest --preset dev"])

    def test_what_the_tests_need_is_no_part(self):
        self.expect(self.machine("libgtest-dev", CANNOT_HAVE="libgtest-dev").run("tests/run"), 1,
                    "cannot install libgtest-dev")

    # ---- Boost ----

    def test_another_boost_stays_and_the_headers_are_unpacked(self):
        machine = self.machine(boost="107400")
        self.expect(machine.run("examples/run", "queue"), 0, "Boost 1.74 is installed, which is too old",
                    "unpacking it under build/boost instead", "queue by fork")
        self.assertEqual([call for call in machine.called("apt-get") if "install" in call], [])
        configured, = machine.called("cmake -S examples")
        self.assertIn(f"-DBoost_INCLUDE_DIR={machine.root}/build/boost/usr/include", configured)
        before = machine.called("apt-get")
        self.expect(machine.run("examples/run", "queue"), 0, "queue by fork")
        self.assertEqual(machine.called("apt-get"), before)
        self.assertIn("-DBoost_INCLUDE_DIR=", machine.called("cmake -S examples")[1])

    def test_without_root_boosts_headers_are_unpacked(self):
        machine = self.machine("boost", USER_ID="1000")
        self.expect(machine.run("examples/run", "queue"), 0, "unpacking it under build/boost", "queue by fork")

    def test_a_download_that_fails_without_a_word_is_told(self):
        machine = self.machine(boost="107400", DOWNLOAD="silent")
        self.expect(machine.run("examples/run", "queue"), 1, "(nothing is said of why in build/prerequisites.log)",
                    "cannot download and unpack the package libboost1.83-dev")

    def test_a_download_that_fails_is_told_as_apt_get_tells_it(self):
        machine = self.machine(boost="107400", CANNOT_HAVE="libboost1.83-dev")
        self.expect(machine.run("examples/run", "queue"), 1, "E: Unable to locate package libboost1.83-dev",
                    "cannot download and unpack the package libboost1.83-dev")

    def test_no_boost_that_is_new_enough(self):
        machine = self.machine("boost", NEWEST_BOOST="libboost1.74-dev")
        self.expect(machine.run("examples/run"), 1,
                    "needs the headers of Boost 1.81 or newer, and apt-get knows libboost1.74-dev")

    # ---- tools that are too old ----

    def test_an_old_cmake(self):
        self.expect(self.machine(CMAKE_IS="3.18.4").run("examples/run"), 1,
                    "needs CMake 3.25 or newer, and 3.18.4 is installed")


if __name__ == "__main__":
    unittest.main()
