// SPDX-License-Identifier: BSL-1.0
// Packets and roles, without a socket.
#include <multiprocessing/distributed/gearman/client.hpp>
#include <multiprocessing/distributed/gearman/protocol.hpp>
#include <multiprocessing/distributed/gearman/worker.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <distributed/gearman_packet.hpp>
#include <fuzz/gearman.hpp>

namespace {

namespace mp = multiprocessing;
namespace gearman = mp::detail::gearman;
using gearman::ClientRole;
using gearman::Command;
using gearman::Packet;
using gearman::PacketReader;
using gearman::PacketWriter;
using gearman::WorkerRole;
using test::bytes_of;
using test::request;
using test::response;
using test::text_of;
using namespace std::literals;

std::string written(PacketWriter& writer) {
  return text_of(writer.take());
}
Packet packet(Command command, std::string_view body = {}) {
  const auto bytes = bytes_of(body);
  return {command, {bytes.begin(), bytes.end()}};
}
void feed(PacketReader& reader, std::string_view text) {
  const auto room = reader.room();
  ASSERT_GE(room.size(), text.size());
  std::ranges::copy(bytes_of(text), room.begin());
  reader.took(text.size());
}
std::string refusal_of(std::string_view text, std::size_t longest = gearman::longest_packet) {
  PacketReader reader{longest};
  feed(reader, text);
  try {
    static_cast<void>(reader.next());
    return "none";
  } catch (const mp::ConnectionError& error) {
    return error.what();
  }
}

TEST(GearmanPacketWriter, WritesWhatTheProtocolSays) {
  PacketWriter writer;
  writer.put(Command::pre_sleep);
  writer.put(Command::can_do, {"f"});
  writer.put(Command::submit_job, {"f", "u"}, {bytes_of("da"), bytes_of("ta")});
  writer.put(Command::work_complete, {"h"}, {std::span<const std::byte>{}});
  EXPECT_EQ(written(writer), request(Command::pre_sleep) + request(Command::can_do, "f") +
                                 request(Command::submit_job, "f\0u\0data"sv) +
                                 request(Command::work_complete, "h\0"sv));
  EXPECT_TRUE(writer.empty());
}

TEST(GearmanPacketReader, GivesWholePacketsOnlyHoweverTheyCome) {
  const std::string stream = response(Command::noop) + response(Command::job_created, "H:x:1") +
                             response(Command::work_complete, "H:x:1\0result"sv);
  for (std::size_t piece = 1; piece <= stream.size(); ++piece) {
    PacketReader reader;
    std::string kinds;
    for (std::size_t at = 0; at < stream.size(); at += piece) {
      feed(reader, std::string_view{stream}.substr(at, piece));
      while (auto each = reader.next()) {
        kinds += std::to_string(static_cast<int>(each->command())) + ":" +
                 std::to_string(each->data().size()) + " ";
      }
    }
    EXPECT_EQ(kinds, "6:0 8:5 13:12 ") << "in pieces of " << piece;
  }
}

TEST(GearmanPacketReader, GivesLargeOnesWholeAndTakesMemoryAsTheyCome) {
  std::string body(5'000'000, 'x');
  body[4'999'999] = 'y';
  const std::string stream =
      response(Command::work_data, body) + response(Command::noop) + response(Command::no_job);
  PacketReader reader;
  std::size_t at = 0;
  std::size_t most_room = 0;
  std::vector<Packet> all;
  while (at < stream.size()) {
    const auto room = reader.room();
    ASSERT_FALSE(room.empty());
    most_room = std::max(most_room, room.size());
    EXPECT_TRUE(at >= 100'000 || room.size() <= std::size_t{1} << 20U);
    const std::size_t size = std::min({room.size(), stream.size() - at, std::size_t{50'001}});
    std::ranges::copy(bytes_of(std::string_view{stream}.substr(at, size)), room.begin());
    reader.took(size);
    at += size;
    while (auto each = reader.next()) all.push_back(*std::move(each));
  }
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(text_of(all[0].data()), body);
  EXPECT_EQ(all[1].command(), Command::noop);
  EXPECT_EQ(all[2].command(), Command::no_job);
  EXPECT_LE(most_room, std::size_t{3} << 20U);
}

TEST(GearmanPacketReader, RefusesWhatIsNoPacket) {
  EXPECT_NE(refusal_of("HTTP/1.1 400 Bad").find("no packet"), std::string::npos);
  EXPECT_NE(refusal_of(request(Command::noop)).find("no packet"), std::string::npos);
  EXPECT_NE(refusal_of(response(static_cast<Command>(99))).find("kind 99"), std::string::npos);
  EXPECT_NE(refusal_of(response(Command::grab_job_uniq)).find("nobody asked"), std::string::npos);
  EXPECT_NE(refusal_of(response(Command::work_data, "12345"), 4).find("5 bytes"),
            std::string::npos);
  EXPECT_EQ(refusal_of(response(Command::work_data, "1234"), 4), "none");
}

TEST(GearmanPacketReader, TakesLinesBetweenPacketsWhereTheyAreExpected) {
  const std::string stream = "f\t1\t0\t2\r\n" + response(Command::noop) + ".\n\r\n" +
                             response(Command::job_created, "H:1");
  for (std::size_t piece = 1; piece <= stream.size(); ++piece) {
    PacketReader reader{gearman::longest_packet, true};
    std::string all;
    for (std::size_t at = 0; at < stream.size(); at += piece) {
      feed(reader, std::string_view{stream}.substr(at, piece));
      while (auto each = reader.next()) {
        all += std::to_string(static_cast<int>(each->command())) + text_of(each->data()) + "|";
      }
    }
    EXPECT_EQ(all, "0f\t1\t0\t2|6|0.|0|8H:1|") << "in pieces of " << piece;
  }
  PacketReader reader{gearman::longest_packet, true};
  feed(reader, std::string(5000, 'x'));
  EXPECT_THROW(static_cast<void>(reader.next()), mp::ConnectionError);
}

TEST(GearmanPacket, RefusesArgumentsThatDoNotEnd) {
  auto without_end = packet(Command::work_data, "abc");
  EXPECT_THROW(static_cast<void>(without_end.argument()), mp::ConnectionError);
  auto long_one = packet(Command::work_data, std::string(300, 'a') + '\0');
  EXPECT_THROW(static_cast<void>(long_one.argument()), mp::ConnectionError);
  auto two = packet(Command::work_data, "a\0\0rest"sv);
  EXPECT_EQ(two.argument(), "a");
  EXPECT_EQ(two.argument(), "");
  EXPECT_EQ(text_of(two.data()), "rest");
  EXPECT_THROW(static_cast<void>(two.argument()), mp::ConnectionError);
  auto none = packet(Command::job_created);
  EXPECT_THROW(static_cast<void>(none.last_argument()), mp::ConnectionError);
  auto with_nul = packet(Command::job_created, "a\0b"sv);
  EXPECT_THROW(static_cast<void>(with_nul.last_argument()), mp::ConnectionError);
}

class GearmanClientRole : public testing::Test {
 protected:
  void submit(std::uint64_t job) { client_.submit(out_, job, "f", "u", {bytes_of("d")}); }
  void created(const std::string& handle) {
    EXPECT_FALSE(client_.take(packet(Command::job_created, handle)));
  }
  ClientRole client_;
  PacketWriter out_;
};

TEST_F(GearmanClientRole, KnowsJobsByTheOrderInWhichTheyWereSubmitted) {
  submit(7);
  submit(8);
  created("H:1");
  created("H:2");
  EXPECT_EQ(client_.open(), 2U);
  const auto second = client_.take(packet(Command::work_complete, "H:2\0two"sv));
  ASSERT_TRUE(second);
  EXPECT_EQ(second->job, 8U);
  EXPECT_EQ(second->kind, ClientRole::Event::Kind::complete);
  EXPECT_EQ(text_of(second->packet.data()), "two");
  const auto first = client_.take(packet(Command::work_fail, "H:1"));
  ASSERT_TRUE(first);
  EXPECT_EQ(first->job, 7U);
  EXPECT_EQ(first->kind, ClientRole::Event::Kind::failed);
  EXPECT_EQ(client_.open(), 0U);
  EXPECT_FALSE(client_.take(packet(Command::work_complete, "H:1\0late"sv)));
}

TEST_F(GearmanClientRole, HearsNoMoreOfWhatItForgot) {
  submit(1);
  submit(2);
  client_.forget(1);  // not confirmed yet
  created("H:1");
  created("H:2");
  client_.forget(2);
  EXPECT_FALSE(client_.take(packet(Command::work_complete, "H:1\0x"sv)));
  EXPECT_FALSE(client_.take(packet(Command::work_data, "H:2\0x"sv)));
  EXPECT_FALSE(client_.ask_status(out_, 2));
  EXPECT_EQ(client_.open(), 0U);
}

TEST_F(GearmanClientRole, TellsWhichJobWasRefusedAndWhatItsStatusIs) {
  submit(1);
  submit(2);
  const auto refused = client_.take(packet(Command::error, "QUEUE_FULL\0no room"sv));
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->job, 1U);
  EXPECT_EQ(text_of(refused->packet.data()), "no room");
  created("H:2");
  out_ = {};
  EXPECT_TRUE(client_.ask_status(out_, 2));
  EXPECT_EQ(written(out_), request(Command::get_status, "H:2"));
  const auto status = client_.take(packet(Command::status_res, "H:2\0001\0000\0000\0000"sv));
  ASSERT_TRUE(status);
  EXPECT_TRUE(status->is_known);
  EXPECT_FALSE(status->is_running);
}

TEST_F(GearmanClientRole, RefusesWhatDoesNotFit) {
  EXPECT_THROW(created("H:1"), mp::ConnectionError);
  EXPECT_THROW(static_cast<void>(client_.take(packet(Command::error, "CODE\0text"sv))),
               mp::ConnectionError);
  EXPECT_THROW(static_cast<void>(client_.take(packet(Command::no_job))), mp::ConnectionError);
  submit(1);
  submit(2);
  created("H:1");
  EXPECT_THROW(created("H:1"), mp::ConnectionError);
  EXPECT_THROW(static_cast<void>(client_.take(packet(Command::work_data, "no end"))),
               mp::ConnectionError);
}

TEST(GearmanWorkerRole, TakesAsManyJobsAsItHasRoomForAndSleepsWhenThereIsNone) {
  WorkerRole worker;
  PacketWriter out;
  worker.begin(out, "me");
  worker.can_do(out, "f");
  worker.set_room(out, 2);
  EXPECT_EQ(written(out), request(Command::set_client_id, "me") + request(Command::can_do, "f") +
                              request(Command::grab_job_uniq));
  const auto first = worker.take(packet(Command::job_assign_uniq, "H:1\0f\0u1\0data"sv), out);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->handle + first->function + first->unique + text_of(first->packet.data()),
            "H:1fu1data");
  EXPECT_EQ(written(out), request(Command::grab_job_uniq));
  EXPECT_TRUE(worker.take(packet(Command::job_assign_uniq, "H:2\0f\0u2\0"sv), out));
  EXPECT_TRUE(out.empty()) << "it is full";
  EXPECT_TRUE(worker.say(out, "H:1", bytes_of("begun")));
  EXPECT_TRUE(worker.complete(out, "H:1", {bytes_of("re"), bytes_of("sult")}));
  EXPECT_EQ(written(out), request(Command::work_data, "H:1\0begun"sv) +
                              request(Command::work_complete, "H:1\0result"sv) +
                              request(Command::grab_job_uniq));
  EXPECT_FALSE(worker.take(packet(Command::no_job), out));
  EXPECT_EQ(written(out), request(Command::pre_sleep));
  EXPECT_TRUE(worker.fail(out, "H:2"));
  EXPECT_EQ(written(out), request(Command::work_fail, "H:2")) << "it sleeps, and grabs nothing";
  EXPECT_FALSE(worker.take(packet(Command::noop), out));
  EXPECT_EQ(written(out), request(Command::grab_job_uniq));
  EXPECT_EQ(worker.held(), 0U);
}

TEST(GearmanWorkerRole, KnowsWhatIsNotItsOwn) {
  WorkerRole worker;
  PacketWriter out;
  EXPECT_FALSE(worker.complete(out, "H:1", {}));
  EXPECT_FALSE(worker.fail(out, "H:1"));
  EXPECT_FALSE(worker.say(out, "H:1", {}));
  EXPECT_TRUE(out.empty());
  EXPECT_FALSE(worker.take(packet(Command::error, "JOB_NOT_FOUND\0gone"sv), out));
  EXPECT_THROW(static_cast<void>(worker.take(packet(Command::error, "OTHER\0x"sv), out)),
               mp::ConnectionError);
  EXPECT_THROW(static_cast<void>(worker.take(packet(Command::no_job), out)), mp::ConnectionError);
  EXPECT_THROW(static_cast<void>(worker.take(packet(Command::work_fail, "H:1"), out)),
               mp::ConnectionError);
  EXPECT_THROW(
      static_cast<void>(worker.take(packet(Command::job_assign_uniq, "H:1\0f\0u\0"sv), out)),
      mp::ConnectionError);
}

TEST(FuzzGearman, CorpusIsReplayedAlsoCutOffAndFlipped) {
  int files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator{MULTIPROCESSING_TEST_FUZZ "/gearman_corpus"}) {
    std::ifstream file{entry.path(), std::ios::binary};
    std::string whole{std::istreambuf_iterator<char>{file}, {}};
    for (std::size_t size = 0; size <= whole.size(); ++size) {
      fuzz::gearman_packets(bytes_of(std::string_view{whole}.substr(0, size)));
    }
    for (char& one : whole) {
      one = static_cast<char>(one ^ 0x41);
      fuzz::gearman_packets(bytes_of(whole));
      one = static_cast<char>(one ^ 0x41);
    }
    ++files;
  }
  EXPECT_GT(files, 10);
}

}  // namespace
