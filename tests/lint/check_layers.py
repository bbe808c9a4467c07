#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Checks the shape of include/: layers, cycles, the platform seam, sizes, first lines.

    check_layers.py [<root of the tree>]

Prints every fault and exits 1, or prints one line and exits 0. The rules are those of the
architecture: a header includes its own component and lower ranks only; system headers stand in os/
alone; the platform is asked in three kinds of place; headers stay small. check_layers_test.py shows
that each of them is enforced."""
import pathlib
import re
import sys

# Low to high. A header may include its own component and any component on a lower row; the
# components of one row never include each other.
RANKS = [
    ["detail", "version", "fwd", "timeout"],
    ["exceptions"],
    ["os", "serialization"],
    ["reduction", "callable", "resource_tracker", "logging"],
    ["connection", "heap", "shared_memory"],
    ["synchronize", "launch"],
    ["process", "sharedctypes", "queues"],
    ["workers"],
    ["pool", "futures"],
    ["network", "stacktrace"],
    ["managers", "base_manager"],
    ["context"],
    ["distributed", "gpu"],  # optional parts: nothing includes them
    ["multiprocessing"],  # the umbrella
    ["source"],  # all functions of a program that compiles them once
]
RANK = {name: row for row, names in enumerate(RANKS) for name in names}
OPTIONAL = RANK["distributed"]
UMBRELLA = "multiprocessing.hpp"
INTERNAL = {"heap", "launch", "resource_tracker"}  # headers of their own that no user includes
# What a user includes by itself: it needs what the rest does not, or few programs use it.
APART = {"network", "managers", "base_manager", "stacktrace", "source"}
# Parts that no header includes, and users do: CMakeLists.txt has them among the public headers, so that they are
# compiled alone as often as those.
ALONE = {"multiprocessing/queues/boost_message_queue.hpp", "multiprocessing/reduction/dup_fd.hpp"}

# Rank 0 has members that others of rank 0 may use: the tools in detail/.
SHARED_TOOLS = {"detail"}

LINES = 400           # of code in one header, unless the reason stands here:
LONGER = {}           # "queues/ring.hpp": "why it may be longer"
NINE_IN_TEN = 300
HALF = 100
SIZED = 10            # fewer headers than this have no distribution to speak of

WINDOWS_H = "multiprocessing/os/windows/api.ipp"  # the one that includes <windows.h>

SPDX = "// SPDX-License-Identifier: BSL-1.0"
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
INCLUDING = re.compile(r"\s*#\s*(include|include_next|import)\b")

# What any file may include, beside the library: C++20's own headers, and the libraries that it is built on.
STANDARD = set("""
    algorithm any array atomic barrier bit bitset cassert cctype cerrno cfenv cfloat charconv chrono cinttypes climits
    clocale cmath codecvt compare complex concepts condition_variable coroutine csetjmp csignal cstdarg cstddef cstdint
    cstdio cstdlib cstring ctime cuchar cwchar cwctype deque exception execution filesystem format forward_list fstream
    functional future initializer_list iomanip ios iosfwd iostream istream iterator latch limits list locale map memory
    memory_resource mutex new numbers numeric optional ostream queue random ranges ratio regex scoped_allocator
    semaphore set shared_mutex source_location span sstream stack stdexcept stop_token streambuf string string_view
    strstream syncstream system_error thread tuple type_traits typeindex typeinfo unordered_map unordered_set utility
    valarray variant vector version""".split())
BUILT_ON = ("boost/",)
OF_ONE_PLACE = {"mpi.h": "multiprocessing/distributed/mpi/"}

# Whatever says on which system, compiler, C library or processor this is. Where one is named outside the places
# that may, it is a fault, be it in a condition, on a line that goes on with one, in a macro or in `if constexpr`.
PLATFORM = re.compile(
    r"\b(_?WIN32|_?WIN64|__WIN32__|__WINDOWS__|_MSC_\w+|__MINGW\w+|__CYGWIN__|__MSYS__|WINVER|_WIN32_WINNT|NTDDI_VERSION"
    r"|__linux__|__linux|__gnu_linux__|__unix__|__unix|__APPLE__|__MACH__|TARGET_OS_\w+|__(Free|Net|Open)BSD__"
    r"|__DragonFly__|__ANDROID__|__HAIKU__|__sun|__QNX__|_AIX|__EMSCRIPTEN__"
    r"|__GLIBC__|__GLIBC_MINOR__|__GLIBC_PREREQ|__GNU_LIBRARY__|__BIONIC__|__UCLIBC__|__musl__"
    r"|_POSIX_\w+|_POSIX2_\w+|_XOPEN_\w+|_GNU_SOURCE|_DEFAULT_SOURCE|_BSD_SOURCE"
    r"|BOOST_(WINDOWS\w*|POSIX\w*|PLATFORM\w*|HAS_(UNISTD_H|PTHREADS|WINTHREADS)|OS_\w+|PLAT_\w+|ARCH_\w+)"
    r"|__x86_64__|__x86_64|__amd64__|__amd64|__i[3456]86__|__i386|__aarch64__|__arm__|__riscv\w*|__powerpc\w*|__s390\w*"
    r"|__loongarch\w*|__mips\w*|_M_(X64|AMD64|IX86|ARM\w*)"
    r"|__has_include\w*|MULTIPROCESSING_(WINDOWS|POSIX))\b")
MAY_ASK_THE_PLATFORM = {"multiprocessing/detail/config.hpp", "multiprocessing/os/native_handle.hpp"}
CONSTANT = re.compile(r"^ *(?:inline|static) constexpr [^;#]*=[^;#]*\bMULTIPROCESSING_(?:WINDOWS|POSIX)\b[^;#]*;",
                      re.MULTILINE)
WORDS = re.compile(r'//.*?$|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.MULTILINE | re.DOTALL)


def component(path):
    """`multiprocessing/queues/ring.hpp` and `multiprocessing/queues.hpp` -> `queues`; the umbrella,
    `multiprocessing.hpp` -> `multiprocessing`."""
    path = path.removeprefix("multiprocessing/")
    return re.split(r"[/.]", path)[0]


def code_lines(lines):
    """How many lines hold code: neither blank nor comment alone."""
    count, in_comment = 0, False
    for line in lines:
        text = line.strip()
        if in_comment:
            in_comment = "*/" not in text
            continue
        if text.startswith("/*"):
            in_comment = "*/" not in text
            continue
        count += bool(text) and not text.startswith("//")
    return count


class Header:
    """One file below include/."""

    def __init__(self, path, name):
        self.name = name
        self.component = component(name)
        self.lines = path.read_text(encoding="utf-8").splitlines()
        self.size = code_lines(self.lines)
        self.includes = []  # (line number, "<" or '"', what)
        for number, line in enumerate(self.lines, 1):
            if found := INCLUDE.match(line):
                self.includes.append((number, found[1], found[2]))

    @property
    def backend(self):
        return self.name.startswith(("multiprocessing/os/posix/", "multiprocessing/os/windows/"))

    @property
    def contract(self):
        return self.component == "os" and not self.backend

    def footer(self):
        """The number of the line from which on a contract picks its backend: a contract may ask for
        the platform there, behind its last declaration."""
        end = len(self.lines)
        while end and (not self.lines[end - 1].strip() or self.lines[end - 1].startswith("#")):
            end -= 1
        return end + 1


def may_include_implementation(header, what):
    """An .ipp belongs to the header of its component; a backend to the contracts and to the other
    backends of its system."""
    if what.startswith(("multiprocessing/os/posix/", "multiprocessing/os/windows/")):
        same_folder = pathlib.PurePath(header.name).parent == pathlib.PurePath(what).parent
        return header.contract or same_folder
    return header.component == component(what)


def check_form(header):
    """First lines and spelling of includes."""
    if not header.lines or header.lines[0] != SPDX:
        yield f"{header.name}:1: the first line is not '{SPDX}'"
    if header.name.endswith(".hpp") and (len(header.lines) < 2
                                         or header.lines[1] != "#pragma once"):
        yield f"{header.name}:2: the second line is not '#pragma once'"
    for number, quote, what in header.includes:
        if quote == '"':
            yield f'{header.name}:{number}: write #include <multiprocessing/...>, not "{what}"'


def check_layers(header, names):
    """The table of ranks."""
    mine = header.component
    if mine not in RANK:
        yield f"{header.name}: component '{mine}' has no rank"
        return
    for number, _, what in header.includes:
        if not what.startswith("multiprocessing"):
            continue
        where = f"{header.name}:{number}"
        theirs = component(what)
        if what not in names:
            yield f"{where}: there is no {what}"
        elif theirs == mine or theirs not in RANK:
            continue
        elif theirs in SHARED_TOOLS:
            continue
        elif RANK[theirs] == RANK[mine]:
            yield f"{where}: {mine} may not include its sibling {theirs}"
        elif RANK[theirs] > RANK[mine]:
            yield f"{where}: {mine} may not include {theirs}, which is above it"
        elif RANK[theirs] == OPTIONAL:
            yield f"{where}: {theirs} is optional, nothing may include it"


def without_words(lines):
    """The lines less comments and texts, in which anything may be named; as many as before."""
    return WORDS.sub(lambda found: "\n" * found[0].count("\n"), "\n".join(lines)).split("\n")


def may_include(header, what):
    """Whether this file may include that, where it is not the library's own."""
    if header.backend or what in STANDARD or what.startswith(BUILT_ON):
        return True
    return what in OF_ONE_PLACE and header.name.startswith(OF_ONE_PLACE[what])


def check_seam(header):
    """System headers and platform tests outside their places."""
    footer = header.footer() if header.contract else len(header.lines) + 1
    code = without_words(header.lines)
    if header.contract:  # words of its own for what differs: a constant that says on which system it is which
        code = CONSTANT.sub(lambda found: "\n" * found[0].count("\n"), "\n".join(code)).split("\n")
    for number, line in enumerate(code, 1):
        if (PLATFORM.search(line) and not header.backend
                and header.name not in MAY_ASK_THE_PLATFORM and number < footer):
            yield f"{header.name}:{number}: a platform test outside its three places"
    for number, line in enumerate(header.lines, 1):
        if INCLUDING.match(line) and not INCLUDE.match(line):
            yield f"{header.name}:{number}: an #include that does not name its file"
    for number, quote, what in header.includes:
        where = f"{header.name}:{number}"
        if what.startswith("multiprocessing/") or what == UMBRELLA or quote == '"':
            pass  # check_layers() and check_form() look at those
        elif not may_include(header, what):
            yield f"{where}: the system header {what} outside os/posix and os/windows"
        elif what == "windows.h" and header.name != WINDOWS_H:
            yield f"{where}: {what} is included in {WINDOWS_H} alone"
        if what.endswith(".ipp") and not may_include_implementation(header, what):
            yield f"{where}: {what} is included by its contract only"


def check_umbrella(headers):
    """The umbrella has every public header, except those of optional parts."""
    umbrella = [header for header in headers if header.name == UMBRELLA]
    if not umbrella:
        yield f"there is no {UMBRELLA}"
        return
    has = {what for _, _, what in umbrella[0].includes}
    for header in headers:
        if header.name.count("/") != 1 or not header.name.endswith(".hpp"):
            continue
        if header.component in INTERNAL | APART or RANK.get(header.component) == OPTIONAL:
            continue
        if header.name not in has:
            yield f"{UMBRELLA}: does not include {header.name}"


def check_parts(headers):
    """The parts of components that are always compiled with them are included somewhere."""
    included = {what for header in headers for _, _, what in header.includes}
    for header in headers:
        if (header.name.count("/") > 1 and header.name not in included | ALONE
                and RANK.get(header.component) != OPTIONAL):
            yield f"{header.name}: no header includes it: name it in ALONE, and in CMakeLists.txt"


def check_sizes(headers):
    """Lines of code, of each header and of all."""
    for header in headers:
        if header.size > LINES and header.name not in LONGER:
            yield f"{header.name}: {header.size} lines of code, the most is {LINES}"
    for share, most, words in ((0.9, NINE_IN_TEN, "nine headers in ten"), (0.5, HALF, "half the headers")):
        fit = sum(header.size <= most for header in headers)
        if len(headers) >= SIZED and fit < share * len(headers):
            yield f"include/: {words} must have at most {most} lines of code, {fit} of {len(headers)} do"


def check_cycles(headers):
    """Loops of includes; an implementation may include its own contract."""
    graph = {h.name: [w for _, _, w in h.includes if not w.endswith(".ipp")] for h in headers}
    state, faults = {}, []

    def visit(name, path):
        state[name] = "open"
        for other in graph[name]:
            if state.get(other) == "open":
                faults.append("cycle: " + " -> ".join([*path[path.index(other):], other]))
            elif other in graph and other not in state:
                visit(other, [*path, other])
        state[name] = "done"

    for name in graph:
        if name not in state:
            visit(name, [name])
    return faults


def check(root):
    """Every fault of the tree at `root`, and how many headers there are."""
    include = pathlib.Path(root) / "include"
    headers = [Header(path, path.relative_to(include).as_posix())
               for path in sorted(include.rglob("*")) if path.suffix in (".hpp", ".ipp")]
    names = {header.name for header in headers}
    faults = []
    for path in sorted(include.rglob("*")):
        if path.is_file() and path.suffix not in (".hpp", ".ipp"):
            faults.append(f"{path.relative_to(include).as_posix()}: neither .hpp nor .ipp")
    for header in headers:
        faults += check_form(header)
        faults += check_layers(header, names)
        faults += check_seam(header)
    faults += check_umbrella(headers)
    faults += check_parts(headers)
    faults += check_sizes(headers)
    faults += check_cycles(headers)
    if not headers:
        faults.append(f"{include}: no headers")
    return faults, len(headers)


if __name__ == "__main__":
    all_faults, total = check(sys.argv[1] if len(sys.argv) > 1 else ".")
    print("\n".join(all_faults) or f"{total} headers: layers, seam and sizes hold")
    sys.exit(bool(all_faults))
