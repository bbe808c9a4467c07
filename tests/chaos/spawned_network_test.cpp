// SPDX-License-Identifier: BSL-1.0
// Spawned processes that share an end of a stream die at every step, with others asleep and at
// work: no message comes out torn, and where one is lost, those who share the end are told.
#include <multiprocessing.hpp>
#include <multiprocessing/network.hpp>

#include <support/spawned.hpp>

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;

namespace {

// The far end, and the one that the victim shares with the others.
struct Line {
  mp::Connection far;
  mp::Connection shared;
};
using LineCase = test::SpawnedCase<Line>;

Line line_of(mp::Family family) {
  mp::Listener listener{{.family = family}};
  auto client = mp::Client(listener.address());
  return {.far = listener.accept(), .shared = std::move(client)};
}
Line internet_line() {
  return line_of(mp::Family::af_inet);
}
Line local_line() {  // by a file's name, or a pipe's
  return line_of(MULTIPROCESSING_WINDOWS ? mp::Family::af_pipe : mp::Family::af_unix);
}

const std::string short_text = "short";
const std::string long_text(3'000'000, 'x');  // more than a socket holds

// @returns none: the end is broken, or at its end, or nothing comes.
std::optional<std::string> text_from(mp::Connection end, mp::Timeout timeout = mp::forever) {
  try {
    auto text = end.try_recv<std::string>(timeout);
    EXPECT_TRUE(!text || *text == short_text || *text == long_text || *text == "last")
        << "torn: " << text->size();
    return text;
  } catch (const mp::EOFError&) {
  } catch (const mp::ConnectionError&) {  // broken
  } catch (const std::system_error&) {    // reset
  }
  return std::nullopt;
}
// @returns whether it could be.
bool is_sent(mp::Connection end, const std::string& text) {
  try {
    end.send(text);
    return true;
  } catch (const mp::ConnectionError&) {
  } catch (const std::system_error&) {
  }
  return false;
}

void send_a_short_text(const Line& line) {
  is_sent(line.shared, short_text);
}
void send_a_long_text(const Line& line) {
  is_sent(line.shared, long_text);
}
void receive_far_away(const Line& line) {
  text_from(line.far);
}
void receive_a_text(const Line& line) {
  text_from(line.shared, 2s);
}
void send_a_short_text_here(const Line& line) {
  EXPECT_TRUE(is_sent(line.far, short_text));
}
void send_a_long_text_here(const Line& line) {
  is_sent(line.far, long_text);
}

// Whoever died in a message broke the end that it shared, for both directions and for good. Only
// when the last one closes it the others hear of it, over TCP.
void expect_broken(const Line& line) {
  mp::Connection shared{line.shared};
  for (int i = 0; i < 2; ++i) {
    EXPECT_THROW(shared.send(1), mp::ConnectionError);
    EXPECT_THROW(static_cast<void>(shared.recv_bytes()), mp::ConnectionError);
    EXPECT_THROW(static_cast<void>(shared.poll()), mp::ConnectionError);
  }
  shared.close();
}
void send_the_last(const Line& line) {
  if (!is_sent(line.shared, "last")) expect_broken(line);
}
void receive_what_is_left(const Line& line) {
  mp::Connection shared{line.shared};
  try {
    while (shared.poll(200ms)) EXPECT_EQ(shared.recv<std::string>().size(), long_text.size());
  } catch (const mp::ConnectionError&) {
    expect_broken(line);
  }
}
void expect_whole_texts(const Line& line) {
  if (line.shared.closed()) return;
  const auto pass_on = [](const mp::Connection& from, const mp::Connection& to) {
    std::thread sender{[&] { is_sent(from, "last"); }};
    bool has_come = false;
    while (!has_come) {
      const auto text = text_from(to);
      if (!text) break;
      has_come = *text == "last";
    }
    sender.join();
    return has_come;
  };
  if (!pass_on(line.far, line.shared)) return expect_broken(line);
  EXPECT_TRUE(pass_on(line.shared, line.far));
}

std::vector<LineCase> cases_of(const std::string& name, Line (*make)(), bool has_points_of_send) {
  const bool is_a_pipe = !has_points_of_send;
  std::vector<LineCase> all;
  if (has_points_of_send) {
    all.push_back({.name = "SendShortTextsOver" + name,
                   .make = make,
                   .operation = send_a_short_text,
                   .sleeper = receive_far_away,
                   .wake = send_the_last,
                   .check = expect_whole_texts,
                   .points = {"stream.send.inside", "stream.send.sent"}});
    all.push_back({.name = "SendLongTextsOver" + name,
                   .make = make,
                   .operation = send_a_long_text,
                   .sleeper = receive_far_away,
                   .wake = send_the_last,
                   .check = expect_whole_texts,
                   .points = {"stream.send.inside", "stream.send.sent"}});
  }
  const std::vector<std::string> points =
      is_a_pipe ? std::vector<std::string>{"stream.recv.taken"}
                : std::vector<std::string>{"stream.recv.begun", "stream.recv.whole"};
  all.push_back({.name = "ReceiveShortTextsOver" + name,
                 .make = make,
                 .prepare = send_a_short_text_here,
                 .operation = receive_a_text,
                 .check = expect_whole_texts,
                 .points = points});
  all.push_back({.name = "ReceiveLongTextsOver" + name,
                 .make = make,
                 .operation = receive_a_text,
                 .sleeper = send_a_long_text_here,
                 .wake = receive_what_is_left,
                 .check = expect_whole_texts,
                 .points = points});
  return all;
}

std::vector<LineCase> cases_of_lines() {
  auto all = cases_of("Internet", internet_line, true);
  // A message through a named pipe is one write: there is no step in it.
  const auto more = cases_of("LocalLines", local_line, MULTIPROCESSING_POSIX);
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

class SpawnedOnALine : public testing::TestWithParam<LineCase> {};
INSTANTIATE_TEST_SUITE_P(,
                         SpawnedOnALine,
                         testing::ValuesIn(cases_of_lines()),
                         [](const auto& one) { return one.param.name; });

}  // namespace

TEST_P(SpawnedOnALine, KilledAtAnyStepTearsNoText) {
  test::kill_at_every_step(GetParam());
}
