# SPDX-License-Identifier: BSL-1.0
# Sourced by examples/run and tests/run. Gets what is missing on a Debian or Ubuntu machine:
#
#   prerequisites <what>...     what: build, tests, clang, sanitizers, tidy, mingw
#
# and leaves in the array `cmake_arguments` what CMake must be told. Removes no package, changes
# nothing that is there and new enough, and asks for nothing but the password that sudo may want. Where a
# thing cannot be had it says which, and why, and ends the script; but what only a part needs, it does
# without, and says so.

cmake_arguments=()
_log=build/prerequisites.log
_updated=no
_terminal=no
[ ! -t 0 ] || _terminal=yes # asked here, for what _apt calls has no input

_fail() {
  printf '%s: %s\n' "$0" "$*" >&2
  exit 1
}

# Runs a command as root, or fails where that cannot be.
_as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif ! command -v sudo >/dev/null; then
    echo 'not root, and there is no sudo' >&2
    return 1
  elif [ $_terminal = yes ]; then
    sudo "$@"
  else
    sudo -n "$@" # nobody could type a password
  fi
}

_apt() {
  _as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" \
    </dev/null >>"$_log" 2>&1
}

# Old lists name packages that the mirror has no more; new machines have none at all. A source that
# does not answer need not be the one that is needed: the install decides.
_update() {
  if [ "$_updated" = no ]; then
    _updated=yes
    _apt update || true
  fi
}

_install() {
  _apt install -y --no-install-recommends --no-remove "$@"
}

# What the log says since it had so many lines, if anything.
_say_log_since() {
  local said
  said=$(tail -n "+$(($1 + 1))" "$_log" | tail -n 5)
  if [ -n "$said" ]; then
    printf '%s\n' "$said" >&2
  else
    echo "(nothing is said of why in $_log)" >&2
  fi
}

_log_lines() {
  wc -l <"$_log"
}

# _get <package>...: installs them, or ends the script.
_get() {
  local lines
  command -v apt-get >/dev/null ||
    _fail "needs these, or what another system calls them; please install them: $*"
  echo "installing $* (what apt-get says is in $_log)"
  _update
  lines=$(_log_lines)
  _install "$@" && return
  _say_log_since "$lines"
  _fail "cannot install $*: see the lines above. Is there a network, and are you root or have sudo?"
}

# _try <what for> <package>...: installs them, or says what there will not be.
_try() {
  local what=$1 lines
  shift
  if ! command -v apt-get >/dev/null; then
    echo "without $what: that needs $*, or what another system calls them" >&2
    return
  fi
  echo "installing $* for $what (what apt-get says is in $_log)"
  _update
  lines=$(_log_lines)
  _install "$@" && return
  _say_log_since "$lines"
  echo "without $what: cannot install $*" >&2
}

# _at_least <version> <least>
_at_least() {
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# _part <what for> <package>...: notes what one part alone needs.
_part() {
  local IFS=' '
  _parts+=("$1")
  shift
  _parts_packages+=("$*")
}

# _tool <command> <package>: notes the package of a command that is not there.
_tool() {
  command -v "$1" >/dev/null || _packages+=("$2")
}

# _header <name>: whether the compiler finds it.
_header() {
  printf '#include <%s>\n' "$1" | g++ -E -x c++ - >/dev/null 2>&1
}

# The Boost that the compiler finds, as 1.81, or nothing.
_boost_version() {
  local number
  number=$(printf '#include <boost/version.hpp>\nversion BOOST_VERSION\n' |
    g++ -E -P -x c++ - 2>/dev/null | sed -n 's/^version //p') || true
  if [ -n "$number" ]; then
    echo "$((number / 100000)).$((number / 100 % 1000))"
  fi
}

# The newest package of Boost's headers that the machine's sources have, if it is new enough.
_boost_package() {
  apt-cache search --names-only '^libboost1\.[0-9]+-dev$' | sed 's/ .*//' | sort -V | tail -n 1
}

_boost() {
  local unpacked=build/boost/usr/include version package lines least=1.81
  version=$(_boost_version)
  if [ -n "$version" ] && _at_least "$version" $least; then
    return
  fi
  if [ ! -e $unpacked/boost/version.hpp ]; then
    command -v apt-get >/dev/null || _fail "needs the headers of Boost $least or newer"
    _update
    package=$(_boost_package)
    { [ -n "$package" ] && _at_least "${package//[!0-9.]/}" $least; } ||
      _fail "needs the headers of Boost $least or newer, and apt-get knows" \
        "${package:-no package of them}. Is there a network?"
    if [ -z "$version" ]; then
      echo "installing $package (what apt-get says is in $_log)"
    else
      echo "Boost $version is installed, which is too old; $package would replace it"
    fi
    if [ -z "$version" ] && _install "$package"; then
      return
    fi
    # Another Boost is in the way, or we may not install: the headers alone do.
    echo "unpacking it under build/boost instead; what is installed stays as it is"
    lines=$(_log_lines)
    (
      mkdir -p build/download && cd build/download && rm -f -- *.deb &&
        apt-get -q download "$package" && mkdir -p ../boost && dpkg -x "$package"_*.deb ../boost
    ) </dev/null >>"$_log" 2>&1 || {
      _say_log_since "$lines"
      _fail "cannot download and unpack the package $package: see above. Is there a network?"
    }
    rm -rf build/download
  fi
  cmake_arguments+=("-DBoost_INCLUDE_DIR=$PWD/$unpacked")
}

# A folder with Boost's headers alone, for a compiler that must not see this machine's others.
_boost_for_mingw() {
  local headers=/usr/include
  [ ! -e build/boost/usr/include/boost/version.hpp ] || headers=$PWD/build/boost/usr/include
  mkdir -p build/boost-only
  ln -sfn "$headers/boost" build/boost-only/boost
  cmake_arguments=("-DBoost_INCLUDE_DIR=$PWD/build/boost-only")
}

prerequisites() {
  local what version i
  cmake_arguments=()
  _packages=()
  _parts=()
  _parts_packages=()
  mkdir -p build
  : >"$_log"
  for what; do
    case $what in
      build)
        _tool g++ g++
        _tool cmake cmake
        _tool ninja ninja-build
        _header openssl/hmac.h || _part multiprocessing::network libssl-dev
        _header png.h || _part 'the example mandelbrot' libpng-dev
        ;;
      tests)
        _tool python3 python3
        _header gtest/gtest.h || _packages+=(libgtest-dev)
        command -v doxygen >/dev/null || _part 'the test of the pages' doxygen
        command -v mpicc >/dev/null || _part multiprocessing::mpi openmpi-bin libopenmpi-dev
        command -v gearmand >/dev/null || [ -x /usr/sbin/gearmand ] ||
          _part 'the tests of multiprocessing::gearman' gearman-job-server
        ;;
      clang)
        _tool clang++ clang
        _tool clang-format clang-format
        ;;
      sanitizers) # clang's; the package's name says no version, and it depends on the right one
        printf 'int main() {}\n' | clang++ -fsanitize=address,undefined -x c++ - -o /dev/null 2>/dev/null ||
          _packages+=(libclang-rt-dev)
        ;;
      mingw)
        _tool x86_64-w64-mingw32-g++-posix g++-mingw-w64-x86-64-posix
        _tool wine wine
        [ -e /usr/lib/wine/wine64 ] || _packages+=(wine64)
        [ -e /usr/src/googletest/CMakeLists.txt ] || _packages+=(googletest)
        _tool clang++ clang
        _tool ld.lld lld
        ;;
      tidy) # beside clang
        _tool clang-tidy clang-tidy
        ;;
    esac
  done
  if [ ${#_packages[@]} -gt 0 ]; then
    _get "${_packages[@]}"
  fi
  _boost
  for i in "${!_parts[@]}"; do # behind what all need: that may end the script
    # shellcheck disable=SC2086 # several packages
    _try "${_parts[$i]}" ${_parts_packages[$i]}
  done
  [[ " $* " != *" mingw "* ]] || _boost_for_mingw
  version=$(cmake --version | sed -n 's/^cmake version //p')
  _at_least "$version" 3.25 || _fail "needs CMake 3.25 or newer, and $version is installed"
  version=$(g++ -dumpfullversion)
  _at_least "$version" 12 || _fail "needs g++ 12 or newer, and $version is installed"
}
