// SPDX-License-Identifier: BSL-1.0
// Which exceptions come home from a worker as themselves: the standard library's that have no plain
// constructor, and a program's own that are no SendableErrors.
#include <multiprocessing.hpp>

#include <support/pool_tasks.hpp>

#include <gtest/gtest.h>

#include <exception>
#include <fstream>
#include <ios>
#include <stdexcept>
#include <string>
#include <typeinfo>

namespace mp = multiprocessing;

namespace {

// What `work` throws, here and in a worker, is the same to whoever catches an E.
template <class E>
E thrown_in_a_worker(void (*work)()) {
  mp::Pool pool{1};
  std::string text;
  try {
    work();
    ADD_FAILURE() << "nothing was thrown here";
  } catch (const E& error) {
    text = error.what();
  }
  try {
    pool.apply(work);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const E& error) {
    EXPECT_EQ(error.what(), text);
    try {
      std::rethrow_if_nested(error);
      ADD_FAILURE() << "nothing is nested";
    } catch (const mp::RemoteError& remote) {
      EXPECT_NE(remote.traceback.find(text), std::string::npos) << remote.traceback;
    }
    return error;
  }
  std::terminate();
}

void read_what_is_not_there() {
  std::ifstream file;
  file.exceptions(std::ios_base::failbit);
  file.open("/no/such/file");
}
void throw_failure() {
  throw std::ios_base::failure{"reading", std::make_error_code(std::io_errc::stream)};
}
void throw_plain() {
  throw std::exception{};
}

TEST(StandardError, OfAStreamComesHomeAsItself) {
  EXPECT_EQ(thrown_in_a_worker<std::ios_base::failure>(read_what_is_not_there).code(),
            std::io_errc::stream);
  EXPECT_EQ(thrown_in_a_worker<std::ios_base::failure>(throw_failure).code(), std::io_errc::stream);
}

TEST(StandardError, ThatIsNothingElseComesHomeAsItself) {
  thrown_in_a_worker<std::exception>(throw_plain);
  mp::Pool pool{1};
  EXPECT_THROW(pool.apply([] { throw std::exception{}; }), std::exception);
  try {
    pool.apply(throw_plain);
  } catch (const mp::RemoteError& error) {
    ADD_FAILURE() << error.what();
  } catch (const std::exception&) {
  }
}

// A worker's worker: what was made anew travels once more.
TEST(StandardError, ComesHomeFromAPoolInAPool) {
  mp::Pool pool{1};
  EXPECT_THROW(pool.apply([] { mp::Pool{1U}.apply(read_what_is_not_there); }),
               std::ios_base::failure);
}

// ---- a program's own ----

struct ParseError : std::runtime_error {
  ParseError(const std::string& text, int at) : std::runtime_error{text}, line{at} {}
  [[nodiscard]] auto reduce() const { return mp::arguments(std::string{what()}, line); }
  int line;
};
struct DerivedError : ParseError {
  using ParseError::ParseError;
};
struct NestingError : ParseError, std::nested_exception {
  using ParseError::ParseError;
};
struct Verdict {  // no std::exception
  int code = 0;
  std::string text;
};
const bool parse_error_is_known = mp::register_exception<ParseError>();
const bool verdict_is_known = mp::register_exception<Verdict>();

TEST(RegisteredException, ComesHomeAsItself) {
  EXPECT_TRUE(parse_error_is_known && verdict_is_known);
  EXPECT_TRUE(mp::register_exception<ParseError>());  // twice is fine
  mp::Pool pool{1};
  try {
    pool.apply([] { throw ParseError{"syntax", 7}; });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const ParseError& error) {
    EXPECT_STREQ(error.what(), "syntax");
    EXPECT_EQ(error.line, 7);
  }
  try {
    pool.apply([] { throw Verdict{3, "guilty"}; });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Verdict& verdict) {
    EXPECT_EQ(verdict.code, 3);
    EXPECT_EQ(verdict.text, "guilty");
  }
}

TEST(RegisteredException, ComesHomeWithWhatIsNestedInIt) {
  mp::Pool pool{1};
  try {
    pool.apply([] {
      try {
        throw std::out_of_range{"inner"};
      } catch (...) {
        std::throw_with_nested(ParseError{"outer", 1});
      }
    });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const ParseError& error) {
    EXPECT_EQ(error.line, 1);
    EXPECT_THROW(std::rethrow_if_nested(error), std::out_of_range);
  }
}

TEST(RegisteredException, IsNotTheOneThatIsDerivedFromIt) {
  mp::Pool pool{1};
  EXPECT_THROW(pool.apply([] { throw DerivedError{"more", 2}; }), mp::RemoteError);
  const auto nests = [] { std::throw_with_nested(DerivedError{"more", 2}); };
  EXPECT_THROW(pool.apply(nests), mp::RemoteError);
  EXPECT_THROW(pool.apply([] { throw NestingError{"more", 2}; }), mp::RemoteError);
}

}  // namespace
