#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Debian's MinGW g++ knows one linker, GNU ld, which takes half a minute for a test program where
# LLVM's takes a tenth of a second. So g++ is told to call this instead (-wrapper): another linker
# with the same arguments. Its release 14 leaves out the unwind tables of most of libstdc++'s own
# functions: no exception passes through one of them (operator new of a program's own that throws
# out of std::string). What does so is linked by GNU ld: -wrapper env.
shift # what would have been called
exec ld.lld "$@"
