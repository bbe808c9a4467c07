// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/serialization/aggregate.hpp>

#include <gtest/gtest.h>

#include <any>
#include <array>
#include <bitset>
#include <chrono>
#include <complex>
#include <deque>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <queue>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

namespace {

using multiprocessing::detail::shape;
using multiprocessing::detail::with_fields;

template <class Field>
struct Alone {
  Field field;
};
template <class Field>
struct Between {
  int before;
  Field field;
  double after;
};
class NoDefault {
 public:
  explicit NoDefault(int) {}
};
class TwoArguments {
 public:
  TwoArguments(std::string, int) {}
};
class TakesAnything {
 public:
  TakesAnything() = default;
  template <class T>
  explicit(false) TakesAnything(T&&) {}
};

template <class... Field>
constexpr bool are_counted_as_one() {
  return ((shape<Alone<Field>>.known && shape<Alone<Field>>.fields == 1 &&
           shape<Between<Field>>.known && shape<Between<Field>>.fields == 3) &&
          ...);
}

static_assert(are_counted_as_one<int, bool, void*, const char*, NoDefault, TwoArguments>());
static_assert(are_counted_as_one<std::string, std::string_view, std::filesystem::path>());
static_assert(are_counted_as_one<std::optional<int>, std::optional<std::optional<int>>>());
static_assert(
    are_counted_as_one<std::optional<std::string>, std::optional<std::unique_ptr<int>>>());
static_assert(are_counted_as_one<std::optional<std::chrono::seconds>, std::chrono::seconds>());
static_assert(are_counted_as_one<std::variant<int, std::string>, std::complex<double>>());
static_assert(are_counted_as_one<std::variant<std::monostate, std::unique_ptr<int>>>());
static_assert(are_counted_as_one<std::vector<bool>, std::vector<std::unique_ptr<int>>>());
static_assert(are_counted_as_one<std::map<int, std::unique_ptr<int>>, std::priority_queue<int>>());
static_assert(are_counted_as_one<std::deque<std::unique_ptr<int>>, std::shared_ptr<const int>>());
static_assert(are_counted_as_one<std::tuple<int, std::string>, std::tuple<int>, std::tuple<>>());
static_assert(are_counted_as_one<std::pair<int, std::unique_ptr<int>>, std::bitset<9>>());
static_assert(are_counted_as_one<std::any, std::function<void()>, std::mutex, std::thread>());
static_assert(are_counted_as_one<std::span<int>, std::initializer_list<int>, TakesAnything>());
static_assert(are_counted_as_one<std::array<int, 3>, std::array<std::array<int, 2>, 3>>());
static_assert(are_counted_as_one<Alone<int>, Between<std::string>>());
// C arrays, whose braces may be left out.
static_assert(are_counted_as_one<int[3], int[2][3], bool[1], char[100], std::string[3]>());
static_assert(are_counted_as_one<std::unique_ptr<int>[3], NoDefault[2], TwoArguments[2]>());
static_assert(are_counted_as_one<Alone<int>[3], Between<int>[3], std::array<int, 2>[2]>());
static_assert(shape<Alone<int[3]>>.arrays && !shape<Alone<std::array<int, 3>>>.arrays);

struct Empty {};
struct Defaults {
  int number = 3;
  std::string text = "text";
  std::vector<int> numbers = {1, 2};
};
struct WithEmpty {
  [[no_unique_address]] Empty empty;
  int number;
};
static_assert(shape<Empty>.known && shape<Empty>.fields == 0);
static_assert(shape<Defaults>.fields == 3 && shape<WithEmpty>.fields == 2);

struct Base {
  int number;
};
struct OnEmpty : Empty {
  int number;
};
struct OnBase : Base {};
struct OnBoth : Base, Empty {};
struct Long {
  int number;
  char text[5000];
};
static_assert(!shape<OnEmpty>.known && !shape<OnBase>.known && !shape<OnBoth>.known);
static_assert(!shape<Long>.known && !shape<NoDefault>.known && !shape<int>.known);

TEST(Aggregate, GivesReferencesToItsFields) {
  Between<int[2]> value{1, {2, 3}, 4.5};
  with_fields(value, [&](int& before, int(&field)[2], double& after) {
    EXPECT_EQ(&before, &value.before);
    EXPECT_EQ(&field, &value.field);
    EXPECT_EQ(&after, &value.after);
  });
  const auto& constant = value;
  with_fields(constant,
              [](const int&, const int(&)[2], const double& after) { EXPECT_EQ(after, 4.5); });
}

}  // namespace
