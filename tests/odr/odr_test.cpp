// SPDX-License-Identifier: BSL-1.0
// Two files that include everything, in one program: what is not `inline` does not link.
#include <multiprocessing.hpp>

#include <gtest/gtest.h>

#include <odr/every_header.hpp>

void throw_what_another_file_catches();  // other.cpp

TEST(OneDefinition, TwoFilesThatIncludeEverythingAreOneProgram) {
  EXPECT_THROW(throw_what_another_file_catches(), multiprocessing::Empty);
}
