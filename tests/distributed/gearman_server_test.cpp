// SPDX-License-Identifier: BSL-1.0
// Our two roles against a real server.
// Not on Windows: there is no Gearman server
#include <multiprocessing/distributed/gearman/client.hpp>
#include <multiprocessing/distributed/gearman/server_connection.hpp>
#include <multiprocessing/distributed/gearman/worker.hpp>

#include <gtest/gtest.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <distributed/gearman_packet.hpp>
#include <distributed/gearmand.hpp>

namespace {

namespace mp = multiprocessing;
namespace gearman = mp::detail::gearman;
using gearman::ClientRole;
using test::bytes_of;
using test::text_of;

const mp::detail::Deadline endless{mp::forever};

/// A client and its connection.
struct Client {
  explicit Client(const test::Gearmand& server) : connection{server.address(), {}} {}
  void submit(std::uint64_t job, std::string_view function, std::string_view data) {
    gearman::PacketWriter out;
    role.submit(out, job, function, std::to_string(job), {bytes_of(data)});
    connection.send(out);
  }
  ClientRole::Event hear() {
    for (;;) {
      auto packet = connection.receive(endless);
      if (!packet) continue;
      if (auto event = role.take(*std::move(packet))) return *std::move(event);
    }
  }
  gearman::ServerConnection connection;
  ClientRole role;
};

/// A worker and its connection.
struct Worker {
  Worker(const test::Gearmand& server, std::string_view function, std::size_t room)
      : connection{server.address(), {}} {
    gearman::PacketWriter out;
    role.begin(out, "worker of a test");
    role.can_do(out, function);
    role.set_room(out, room);
    connection.send(out);
  }
  gearman::WorkerRole::Job hear() {
    for (;;) {
      auto packet = connection.receive(endless);
      if (!packet) continue;
      gearman::PacketWriter out;
      auto job = role.take(*std::move(packet), out);
      connection.send(out);
      if (job) return *std::move(job);
    }
  }
  void complete(const gearman::WorkerRole::Job& job, std::string_view result) {
    gearman::PacketWriter out;
    EXPECT_TRUE(role.complete(out, job.handle, {bytes_of(result)}));
    connection.send(out);
  }
  gearman::ServerConnection connection;
  gearman::WorkerRole role;
};

class GearmanServer : public testing::Test {
 protected:
  void SetUp() override { MULTIPROCESSING_NEEDS_GEARMAND(); }
};

TEST_F(GearmanServer, CarriesJobsThereAndResultsBack) {
  const test::Gearmand server;
  Client client{server};
  Worker worker{server, "f", 2};
  EXPECT_EQ(client.connection.version().substr(0, 2), "1.");
  client.submit(1, "f", "one");
  const auto job = worker.hear();
  EXPECT_EQ(job.function, "f");
  EXPECT_EQ(job.unique, "1");
  EXPECT_EQ(text_of(job.packet.data()), "one");
  gearman::PacketWriter out;
  EXPECT_TRUE(worker.role.say(out, job.handle, bytes_of("begun")));
  worker.connection.send(out);
  auto event = client.hear();
  EXPECT_EQ(event.kind, ClientRole::Event::Kind::data);
  EXPECT_EQ(text_of(event.packet.data()), "begun");
  worker.complete(job, "result");
  event = client.hear();
  EXPECT_EQ(event.kind, ClientRole::Event::Kind::complete);
  EXPECT_EQ(event.job, 1U);
  EXPECT_EQ(text_of(event.packet.data()), "result");
}

TEST_F(GearmanServer, CarriesLargeAndEmptyPayloads) {
  const test::Gearmand server;
  constexpr std::array<std::size_t, 5> sizes{0, 1, 65'524, 65'525, 10'000'000};
  std::thread worker{[&] {
    Worker at_work{server, "f", 1};
    for (const std::size_t size : sizes) {
      const auto job = at_work.hear();
      EXPECT_EQ(job.packet.data().size(), size);
      at_work.complete(job, text_of(job.packet.data()));
    }
    while (at_work.connection.unsent() != 0) {
      static_cast<void>(at_work.connection.receive(endless));
    }
  }};
  Client client{server};
  for (const std::size_t size : sizes) {
    const std::string payload(size, 'p');
    client.submit(size, "f", payload);
    const auto event = client.hear();
    EXPECT_EQ(event.job, size);
    EXPECT_TRUE(text_of(event.packet.data()) == payload);
  }
  worker.join();
}

TEST_F(GearmanServer, GivesTheJobOfAWorkerThatLeftToAnother) {
  const test::Gearmand server;
  Client client{server};
  auto first = std::make_unique<Worker>(server, "f", 1);
  client.submit(1, "f", "x");
  static_cast<void>(first->hear());
  Worker second{server, "f", 1};
  first.reset();
  second.complete(second.hear(), "from the second");
  const auto event = client.hear();
  EXPECT_EQ(event.kind, ClientRole::Event::Kind::complete);
  EXPECT_EQ(text_of(event.packet.data()), "from the second");
}

TEST_F(GearmanServer, SaysWhenItGaveUpAJob) {
  const test::Gearmand server{{"--job-retries", "1"}};
  Client client{server};
  auto worker = std::make_unique<Worker>(server, "f", 1);
  client.submit(1, "f", "x");
  static_cast<void>(worker->hear());
  worker.reset();
  EXPECT_EQ(client.hear().kind, ClientRole::Event::Kind::failed);
}

TEST_F(GearmanServer, TellsWhetherSomebodyHasAJob) {
  const test::Gearmand server;
  Client client{server};
  client.submit(1, "f", "x");
  const auto status = [&] {
    for (;;) {
      gearman::PacketWriter out;
      if (client.role.ask_status(out, 1)) {
        client.connection.send(out);
        return client.hear();
      }
      if (auto packet = client.connection.receive(endless)) {
        EXPECT_FALSE(client.role.take(*std::move(packet)));
      }
    }
  };
  auto event = status();
  EXPECT_EQ(event.kind, ClientRole::Event::Kind::status);
  EXPECT_TRUE(event.is_known && !event.is_running);
  Worker worker{server, "f", 1};
  const auto job = worker.hear();
  event = status();
  EXPECT_TRUE(event.is_known && event.is_running);
}

TEST_F(GearmanServer, PassesOverAResultWhoseClientHasLeft) {
  const test::Gearmand server;
  auto client = std::make_unique<Client>(server);
  Worker worker{server, "f", 1};
  client->submit(1, "f", "x");
  const auto job = worker.hear();
  client.reset();
  worker.complete(job, "for nobody");
  worker.complete(
      [&] {
        client = std::make_unique<Client>(server);
        client->submit(2, "f", "y");
        return worker.hear();
      }(),
      "for somebody");
  EXPECT_EQ(text_of(client->hear().packet.data()), "for somebody");
}

TEST_F(GearmanServer, ThatIsKilledIsNoticed) {
  test::Gearmand server;
  Client client{server};
  server.kill();
  EXPECT_THROW(static_cast<void>(client.hear()), mp::ConnectionError);
}

}  // namespace
