# SPDX-License-Identifier: BSL-1.0
# For people who work on the library; nobody else sees any of this.
option(MULTIPROCESSING_BUILD_BENCHMARKS "Build the benchmarks." ON)
option(MULTIPROCESSING_VERIFY_PARTS "Compile each header alone that the public ones include, too." OFF)
set(_verified HEADERS)
if(MULTIPROCESSING_VERIFY_PARTS)
  list(APPEND _verified parts)
endif()
if(TARGET multiprocessing::network)
  list(APPEND _verified network_headers)  # which find OpenSSL's where every compiler looks
endif()
if(NOT WIN32)
  list(APPEND _verified distributed_headers)
endif()
set_target_properties(multiprocessing PROPERTIES
  VERIFY_INTERFACE_HEADER_SETS ON
  INTERFACE_HEADER_SETS_TO_VERIFY "${_verified}")

# There are no C++ modules here; CMake 3.28 and newer would look for them in every file, and need
# clang-scan-deps for it.
set(CMAKE_CXX_SCAN_FOR_MODULES OFF)

add_library(multiprocessing_warnings INTERFACE)
if(MSVC)  # or clang-cl, which takes the same options
  # Warnings are no errors before somebody has seen them. What is padded is meant to be (C4324).
  target_compile_options(multiprocessing_warnings INTERFACE
    /W4 /wd4324 /permissive- /bigobj /utf-8)
  target_compile_definitions(multiprocessing_warnings INTERFACE _CRT_SECURE_NO_WARNINGS)
else()
  target_compile_options(multiprocessing_warnings INTERFACE
    -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wold-style-cast
    -Wnon-virtual-dtor -Woverloaded-virtual -Wundef -Werror)
endif()

if(NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(CCACHE ccache)
  if(CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  endif()
endif()

set(MULTIPROCESSING_TEST_TIMEOUT_SCALE 1 CACHE STRING
  "What a test's time limits are multiplied by: more than 1 under a sanitizer or an emulator.")
math(EXPR MULTIPROCESSING_TEST_TIMEOUT "240 * ${MULTIPROCESSING_TEST_TIMEOUT_SCALE}")

find_package(Python3 3.8 REQUIRED COMPONENTS Interpreter)

enable_testing()
add_subdirectory(tests)
add_subdirectory(examples)
if(MULTIPROCESSING_BUILD_BENCHMARKS AND NOT WIN32)  # their peers are POSIX's
  add_subdirectory(benchmarks)
endif()
