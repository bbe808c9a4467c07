// SPDX-License-Identifier: BSL-1.0
// What a machine has that has an old Boost.
#define BOOST_VERSION 107400
