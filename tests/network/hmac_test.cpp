// SPDX-License-Identifier: BSL-1.0
// The HMAC of the handshake, against RFC 2202 and 4231.
#include <multiprocessing/os/hmac.hpp>

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <system_error>

namespace os = multiprocessing::os;

namespace {

std::string hex(std::string_view digest, std::string_view key, std::string_view message) {
  std::error_code ec;
  std::string text;
  for (const char one : os::hmac(digest, key, message, ec)) {
    constexpr std::string_view digits = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(one);
    text += digits[byte >> 4U];
    text += digits[byte & 15U];
  }
  return ec ? ec.message() : text;
}

}  // namespace

TEST(Hmac, IsThatOfTheStandards) {
  constexpr std::string_view message = "what do ya want for nothing?";
  EXPECT_EQ(hex("md5", "Jefe", message), "750c783e6ab0b503eaa86e310a5db738");
  EXPECT_EQ(hex("sha256", "Jefe", message),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hex("sha384", "Jefe", message),
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e"
            "8e2240ca5e69e2c78b3239ecfab21649");
  EXPECT_EQ(hex("sha256", "", ""),
            "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
  // A key that is longer than a block is hashed first.
  EXPECT_EQ(hex("sha256", std::string(131, '\xaa'),
                "Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(Hmac, KnowsNoOtherDigest) {
  std::error_code ec;
  EXPECT_EQ(os::hmac("sha1", "key", "message", ec), "");
  EXPECT_EQ(ec, std::errc::not_supported);
}

TEST(Hmac, ComparesAllBytes) {
  EXPECT_TRUE(os::equal_in_constant_time("", ""));
  EXPECT_TRUE(os::equal_in_constant_time("abc", "abc"));
  EXPECT_FALSE(os::equal_in_constant_time("abc", "abd"));
  EXPECT_FALSE(os::equal_in_constant_time("bbc", "abc"));
  EXPECT_FALSE(os::equal_in_constant_time("abc", "ab"));
}
