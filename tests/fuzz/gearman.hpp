// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file gearman.hpp
/// @brief What a Gearman server's bytes go through, for the fuzzer and for the tests that replay
/// its corpus: nothing may come of any bytes but packets or an error of ours.
#include <multiprocessing/distributed/gearman/client.hpp>
#include <multiprocessing/distributed/gearman/server_connection.hpp>
#include <multiprocessing/distributed/gearman/worker.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace fuzz {

namespace gearman = multiprocessing::detail::gearman;

/// @brief Gives what a client understands of it, and asks as a client would.
inline void gearman_client(gearman::ClientRole& role, gearman::Packet packet) {
  auto event = role.take(std::move(packet));
  if (!event) return;
  using Kind = gearman::ClientRole::Event::Kind;
  gearman::PacketWriter out;
  const bool is_over = event->kind != Kind::data && event->kind != Kind::status;
  if (role.ask_status(out, event->job) == is_over) std::abort();
}
/// @brief Holds the first job that comes, and gives back all others.
inline void gearman_worker(gearman::WorkerRole& role, gearman::Packet packet) {
  gearman::PacketWriter out;
  auto job = role.take(std::move(packet), out);
  if (role.held() > 2) std::abort();
  if (!job || role.held() == 1) return;
  if (!role.say(out, job->handle, job->packet.data())) std::abort();
  if (!role.complete(out, job->handle, {job->packet.data()})) std::abort();
  if (role.fail(out, job->handle)) std::abort();
}

/// @brief A server's bytes: the first says whose server it is, and in which pieces they come.
inline void gearman_packets(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const auto flags = std::to_integer<unsigned>(bytes.front());
  bytes = bytes.subspan(1);
  const std::size_t piece = (flags >> 1U) + 1;
  gearman::PacketReader reader{std::size_t{1} << 22U};
  gearman::ClientRole client;
  gearman::WorkerRole worker;
  gearman::PacketWriter out;
  for (std::uint64_t job = 0; job < 3; ++job) client.submit(out, job, "f", "u", {});
  client.forget(1);
  worker.set_room(out, 2);
  try {
    while (!bytes.empty()) {
      const auto room = reader.room();
      if (room.empty()) std::abort();
      const std::size_t size = std::min({room.size(), bytes.size(), piece});
      std::copy_n(bytes.begin(), size, room.begin());
      reader.took(size);
      bytes = bytes.subspan(size);
      while (auto packet = reader.next()) {
        if ((flags & 1U) == 0) {
          gearman_client(client, *std::move(packet));
        } else {
          gearman_worker(worker, *std::move(packet));
        }
      }
    }
  } catch (const multiprocessing::ConnectionError&) {
  }
}

/// @brief The same through a socket: what a server says from its first word on, and its end.
/// @param server the other end of `socket`; is closed.
inline void gearman_socket(multiprocessing::os::UniqueHandle server,
                           multiprocessing::os::UniqueHandle socket,
                           std::span<const std::byte> bytes) {
  namespace mp = multiprocessing;
  std::error_code ec;
  mp::os::send_now(server.get(), bytes, ec);
  server.reset();
  try {
    gearman::ServerConnection connection{std::move(socket), mp::Address{"fuzz"}, {}};
    for (;;) static_cast<void>(connection.receive(mp::detail::Deadline{mp::forever}));
  } catch (const mp::ConnectionError&) {
  }
}

}  // namespace fuzz
