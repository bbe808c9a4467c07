// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/context.hpp>

#include <support/line.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

namespace mp = multiprocessing;
using test::Line;

namespace {

class Context : public testing::Test {
 protected:
  void SetUp() override { forget(); }
  void TearDown() override { forget(); }
  static void forget() {
    const std::lock_guard lock{mp::detail::process_state().mutex};
    mp::detail::process_state().start_method.reset();
  }
};

std::string how_it_was_started(mp::Process<> process, const Line& line) {
  process.start();
  const std::string answer = line.hear();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  return answer;
}

int in_main = 0;
// Only fork brings the variable along.
void say(const Line& line) {
  line.say(in_main == 0 ? "fresh" : "copy");
}

TEST_F(Context, StartsByItsMethodAndFixesNoDefault) {
  in_main = 1;
  for (const auto method : mp::get_all_start_methods()) {
    const auto context = mp::get_context(method);
    EXPECT_EQ(context.get_start_method(), method);
    const bool copies = method == mp::StartMethod::fork;
    const Line line;
    EXPECT_EQ(how_it_was_started(context.Process(say, line), line), copies ? "copy" : "fresh");
    auto named = context.Process({.name = "n", .start_method = mp::StartMethod::fork}, say, line);
    EXPECT_EQ(named.name(), "n");
    EXPECT_EQ(how_it_was_started(std::move(named), line), copies ? "copy" : "fresh");
    EXPECT_EQ(mp::get_start_method(true), std::nullopt);
  }
  in_main = 0;
}

TEST_F(Context, MakesPoolsByItsMethod) {
  in_main = 1;
  const auto look = [] { return in_main; };
  for (const auto method : mp::get_all_start_methods()) {
    const auto context = mp::get_context(method);
    const int expected = method == mp::StartMethod::fork ? 1 : 0;
    auto pool = context.Pool(1U);
    EXPECT_EQ(pool.apply(look), expected);
    auto executor = context.ProcessPoolExecutor({.max_workers = 1});
    EXPECT_EQ(executor.submit(look).result(), expected);
  }
  EXPECT_EQ(mp::get_start_method(true), std::nullopt);
  in_main = 0;
}

TEST_F(Context, WithoutAMethodIsThatOfTheDefaultWhichStaysOpen) {
  EXPECT_EQ(mp::get_context().get_start_method(), mp::get_all_start_methods().front());
  EXPECT_EQ(mp::get_start_method(true), std::nullopt);
  mp::set_start_method(mp::StartMethod::spawn);
  const auto context = mp::get_context();
  EXPECT_EQ(context.get_start_method(), mp::StartMethod::spawn);
  mp::set_start_method(mp::get_all_start_methods().front(), true);
  EXPECT_EQ(context.get_start_method(), mp::StartMethod::spawn);
}

TEST_F(Context, KeepsItsMethod) {
  const auto context = mp::get_context(mp::StartMethod::spawn);
  EXPECT_THROW(context.set_start_method(mp::StartMethod::fork), std::invalid_argument);
  EXPECT_THROW(context.set_start_method(mp::StartMethod::fork, true), std::invalid_argument);
  EXPECT_EQ(context.get_context().get_start_method(), mp::StartMethod::spawn);
  const auto other = mp::get_all_start_methods().front();
  EXPECT_EQ(context.get_context(other).get_start_method(), other);
}

TEST_F(Context, OfAMethodThatIsNotHereIsRefusedAndNamesThoseThatAre) {
  const std::string all = MULTIPROCESSING_WINDOWS ? "only spawn" : "fork spawn forkserver";
  try {
    static_cast<void>(mp::get_context(static_cast<mp::StartMethod>(9)));
    ADD_FAILURE() << "made";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string{error.what()}.find(all), std::string::npos) << error.what();
  }
}

TEST_F(Context, AsksTheSameOfTheSystem) {
  const auto context = mp::get_context(mp::StartMethod::spawn);
  EXPECT_EQ(context.cpu_count(), mp::cpu_count());
  EXPECT_EQ(context.process_cpu_count(), mp::process_cpu_count());
  EXPECT_EQ(context.current_process().pid(), mp::current_process().pid());
  EXPECT_FALSE(context.parent_process().has_value());
  EXPECT_TRUE(context.active_children().empty());
  EXPECT_EQ(context.get_all_start_methods(), mp::get_all_start_methods());
}

class Named : public mp::Process<Named> {
 public:
  Named(mp::ProcessOptions options, Line line)
      : mp::Process<Named>{std::move(options)}, line_{std::move(line)} {}
  explicit Named(Line line) : line_{std::move(line)} {}
  void run() override { line_.say(name()); }
  auto reduce() const { return mp::arguments(line_); }

 private:
  Line line_;
};

TEST_F(Context, GivesOptionsToAProcessClass) {
  for (const auto method : mp::get_all_start_methods()) {
    const Line line;
    Named process{mp::get_context(method).options({.name = "w"}), line};
    process.start();
    EXPECT_EQ(line.hear(), "w");
    process.join();
  }
}

// What is made under one method is used by processes of another.
class ContextPair : public testing::TestWithParam<std::tuple<mp::StartMethod, mp::StartMethod>> {};

TEST_P(ContextPair, ObjectsOfOneServeProcessesOfTheOther) {
  const auto maker = mp::get_context(std::get<0>(GetParam()));
  const auto user = mp::get_context(std::get<1>(GetParam()));
  auto queue = maker.Queue<int>(4);
  auto [ours, theirs] = maker.Pipe();
  auto lock = maker.Lock();
  auto event = maker.Event();
  const auto work = [](mp::Queue<int> in, mp::Connection out, mp::Lock guard, mp::Event go) {
    go.wait();
    const std::lock_guard held{guard};
    out.send(in.get() + 1);
  };
  auto first = maker.Process(work, queue, theirs, lock, event);
  auto second = user.Process(work, queue, theirs, lock, event);
  first.start();
  second.start();
  queue.put(1);
  queue.put(1);
  event.set();
  EXPECT_EQ(ours.recv<int>(), 2);
  EXPECT_EQ(ours.recv<int>(), 2);
  first.join();
  second.join();
  EXPECT_EQ(first.exitcode(), 0);
  EXPECT_EQ(second.exitcode(), 0);
}

INSTANTIATE_TEST_SUITE_P(Of,
                         ContextPair,
                         testing::Combine(testing::ValuesIn(mp::get_all_start_methods()),
                                          testing::ValuesIn(mp::get_all_start_methods())));

}  // namespace
