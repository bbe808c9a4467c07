// SPDX-License-Identifier: BSL-1.0
// A master's side, by itself, of a server that a test plays.
// Not on Windows: there is no Gearman server
#include <multiprocessing/distributed/gearman/engine.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <semaphore>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <distributed/fake_server.hpp>
#include <distributed/gearman_packet.hpp>

namespace {

namespace mp = multiprocessing;
namespace gearman = mp::detail::gearman;
using gearman::Command;
using gearman::JobHeader;
using mp::detail::EngineEvent;
using mp::detail::MessageTo;
using mp::detail::RequestFrame;
using mp::detail::ResultFrame;
using test::response;
using namespace std::chrono_literals;
using namespace std::string_literals;

/// What an agent says of a job: its end, or a word.
std::string of(const std::string& handle,
               Command command,
               JobHeader::What what,
               std::span<const std::byte> rest) {
  const auto head = gearman::bytes_of({.what = what, .session = 1, .agent = 5});
  return response(command, handle + '\0' + mp::detail::as_text(head) + mp::detail::as_text(rest));
}
std::string begun(const std::string& handle) {
  return of(handle, Command::work_data, JobHeader::begun, test::bytes_of("a host"));
}
std::string result(const std::string& handle, std::uint64_t task) {
  ResultFrame frame;
  frame.id = task;
  return of(handle, Command::work_complete, JobHeader::result,
            mp::detail::make_frame(MessageTo::result, frame));
}
std::vector<std::byte> task(std::uint64_t number) {
  mp::detail::TaskFrame frame;
  frame.id = number;
  return mp::detail::make_frame(MessageTo::task, frame, test::bytes_of("what is to be done"));
}

/// The server's part runs beside the test's, which is the fleet.
class GearmanMaster : public testing::Test {
 protected:
  /// A line, or a packet.
  struct Word {
    std::string line;
    Command command = Command::line;
    std::string body;
  };

  void TearDown() override {
    engine_.reset();
    finish();
  }
  void finish() {
    if (thread_.joinable()) thread_.join();
  }
  /// And the fleet's first words.
  void begin(std::function<void()> part) {
    thread_ = std::thread{[this, part = std::move(part)] {
      server_.welcome();
      part();
      while (hear()) {
      }
    }};
    engine_.emplace(server_.address(), gearman::ServerOptions{.silence = 3s});
    EXPECT_EQ(engine_->connect(), 1U);
    EXPECT_EQ(engine_->poll(mp::forever).kind, EngineEvent::Kind::joined);
    engine_->send(0, mp::detail::make_message(MessageTo::open, mp::detail::OpenMessage{}));
  }

  /// The server's ears. @returns none: the end.
  std::optional<Word> hear() {
    Word word;
    const std::string first = server_.hear(1);
    if (first.empty()) return std::nullopt;
    if (first.front() != '\0') {
      for (std::string next = first; next != "\n" && !next.empty(); next = server_.hear(1)) {
        word.line += next;
      }
      return word;
    }
    const std::string header = first + server_.hear(gearman::header_size - 1);
    const auto number = [&](std::size_t at) {
      return gearman::get_big_endian(test::bytes_of(header).subspan(at).first<4>());
    };
    word.command = static_cast<Command>(number(4));
    word.body = server_.hear(number(8));
    return word;
  }
  /// The next job, past the questions. @returns what it holds behind its header.
  std::string hear_job(const std::string& handle) {
    auto word = hear();
    while (word && word->command != Command::submit_job) word = hear();
    if (!word) return "the end";
    server_.say(response(Command::job_created, handle));
    std::string& body = word->body;
    for (int i = 0; i < 2; ++i) body.erase(0, body.find('\0') + 1);
    return body.substr(sizeof(JobHeader));
  }

  /// The fleet's ears. @returns what follows.
  std::vector<std::byte> hear_message(MessageTo what) {
    for (;;) {
      const EngineEvent event = engine_->poll(100ms);
      if (event.kind == EngineEvent::Kind::lost) {
        ADD_FAILURE() << event.text;
        return {};
      }
      if (event.kind != EngineEvent::Kind::message) continue;
      std::span<const std::byte> rest{event.message};
      if (mp::detail::take_header<MessageTo>(rest) == what) return {rest.begin(), rest.end()};
    }
  }
  ResultFrame hear_result() {
    const auto message = hear_message(MessageTo::result);
    std::span<const std::byte> rest{message};
    return mp::detail::take_header<ResultFrame>(rest);
  }
  bool ask(RequestFrame::What what, std::uint64_t number) {
    engine_->send(0, mp::detail::make_frame(MessageTo::request,
                                            RequestFrame{++last_request_, number, what, 0}));
    const auto message = hear_message(MessageTo::reply);
    std::span<const std::byte> rest{message};
    const auto frame = mp::detail::take_header<RequestFrame>(rest);
    EXPECT_EQ(frame.number, last_request_);
    return frame.answer == 1;
  }

  test::FakeServer server_;
  std::binary_semaphore is_back_{0};
  std::binary_semaphore has_said_{0};
  std::optional<mp::detail::GearmanEngine> engine_;

 private:
  std::thread thread_;
  std::uint64_t last_request_ = 0;
};

TEST_F(GearmanMaster, ReadsWhatAgentsSaidWhileItWasBusyBeforeItBelievesThemLost) {
  begin([this] {
    static_cast<void>(hear_job("H:1"));
    server_.say(begun("H:1"));
    is_back_.acquire();
    server_.say(begun("H:1") + result("H:1", 1));
    has_said_.release();
  });
  engine_->send(0, task(1));
  while (!ask(RequestFrame::is_running, 1)) static_cast<void>(engine_->poll(10ms));
  std::this_thread::sleep_for(3200ms);  // a callback that takes its time
  is_back_.release();
  has_said_.acquire();
  EXPECT_EQ(hear_result().outcome, ResultFrame::value);
}

TEST_F(GearmanMaster, KnowsWhichAnswerIsForWhichQuestionWhenATaskIsLost) {
  const std::string status =
      gearman::count_function(gearman::task_function(), 0) + "\t0\t0\t1\n.\n";
  begin([this, status] {
    static_cast<void>(hear_job("H:1"));
    server_.say(begun("H:1"));
    static_cast<void>(hear_job("H:2"));
    while (const auto word = hear()) {
      if (word->line == "status") server_.say(status);
      if (!word->line.starts_with("cancel job ")) continue;
      server_.say(response(Command::work_fail, word->line.substr(11)) + "OK\r\n");
    }
  });
  engine_->send(0, task(1));
  engine_->send(0, task(2));
  const ResultFrame lost = hear_result();
  EXPECT_EQ(lost.id, 1U);
  EXPECT_EQ(lost.outcome, ResultFrame::died) << "it is silent";
  EXPECT_TRUE(ask(RequestFrame::cancel, 2));
}

TEST_F(GearmanMaster, WaitsForTheNextAgentAsLongAsTheServerHasTheTask) {
  const std::string status =
      gearman::count_function(gearman::task_function(), 0) + "\t0\t0\t1\n.\n";
  begin([this, status] {
    static_cast<void>(hear_job("H:1"));
    const std::string waits = "H:1\0001\0000\0000\0000"s;
    server_.say(begun("H:1") + response(Command::status_res, waits));  // by an agent that dies
    int looks = 0;                                                     // one a second
    while (const auto word = hear()) {
      if (word->command == Command::get_status) server_.say(response(Command::status_res, waits));
      if (word->line != "status") continue;
      server_.say(status);
      if (++looks == 7) server_.say(begun("H:1") + result("H:1", 1));
    }
  });
  engine_->send(0, task(1));
  EXPECT_EQ(hear_result().outcome, ResultFrame::value);
}

TEST_F(GearmanMaster, SubmitsAgainWhatAnAgentGivesBack) {
  const std::string message = mp::detail::as_text(task(1));
  begin([this, message] {
    EXPECT_EQ(hear_job("H:1"), message);
    server_.say(of("H:1", Command::work_complete, JobHeader::asks, test::bytes_of(message)));
    EXPECT_EQ(hear_job("H:2"), message);
    server_.say(result("H:2", 1));
  });
  engine_->send(0, task(1));
  const ResultFrame done = hear_result();
  EXPECT_EQ(done.id, 1U);
  EXPECT_EQ(done.outcome, ResultFrame::value);
}

TEST_F(GearmanMaster, LeavesTheServerWhenItIsClosedAndNotOnlyWhenItEnds) {
  begin([] {});
  engine_->close();
  finish();
  engine_->wake();
  EXPECT_EQ(engine_->poll(mp::forever).kind, EngineEvent::Kind::none);
}

}  // namespace
