// SPDX-License-Identifier: BSL-1.0
// What stands in an arena's header was written by another process: it leads nowhere.
#include <multiprocessing/heap.hpp>
#include <multiprocessing/heap/waiting_room.hpp>

#include <support/child.hpp>
#include <support/threads.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using mp::detail::Arena;
using mp::detail::Block;

TEST(HeapDamage, OfTheWaitingRoomIsNeverASignal) {
  for (const std::uint32_t seats : {4'000'000U, 8192U, ~0U}) {
    test::Child process{[](std::uint32_t count) {
                          const Block block = Block::allocate(100, "a test");
                          auto& header = block.arena().header();
                          const mp::detail::WaitingRoom room{block.arena()};
                          const auto number = room.next_object();
                          header.seats = count;
                          room.call_all(number, 1);
                          room.call_for_the_dead(number);
                          try {
                            mp::detail::WaitingRoom::stand_up(room.take());
                          } catch (const std::system_error&) {
                          }
                        },
                        seats};
    EXPECT_EQ(process.join(), 0) << seats;
  }
}

TEST(HeapDamage, OfWhereTheBlocksEndIsNeverASignal) {
  test::Child process{[] {
    const Block block = Block::allocate(100, "a test");
    const mp::detail::WaitingRoom room{block.arena()};
    const auto number = room.next_object();
    block.arena().header().end = std::uint64_t{1} << 50U;
    auto& seat = room.take();
    mp::detail::WaitingRoom::sit(seat, number, 0, mp::detail::Sitting::waiting);
    room.call_all(number, 1);
    EXPECT_TRUE(mp::detail::WaitingRoom::stand_up(seat));
  }};
  EXPECT_EQ(process.join(), 0);
}

TEST(HeapDamage, OfWhatIsCommittedMakesNoBlock) {
  const Block block = Block::allocate(100, "a test");
  std::vector<std::byte> bytes;
  mp::Transit transit;
  mp::Encoder encoder{bytes, &transit};
  mp::reduction::save_shared(encoder, block.arena_shared(), "a test");
  encoder.write_number(std::uint64_t{48} << 10U);
  encoder.write_number(std::uint64_t{1024});
  auto& header = block.arena().header();
  const std::uint64_t honest = header.committed;
  for (const std::uint64_t committed : {header.end, ~std::uint64_t{0}}) {
    header.committed = committed;
    std::vector<mp::Transit::Object> objects;
    for (const auto& each : transit.objects()) objects.push_back({each.kind, each.handles, {}});
    mp::Transit back{objects, mp::reduction::duplicates(transit.departing())};
    mp::Decoder decoder{bytes, &back};
    EXPECT_THROW(Block::load(decoder, 100, "a test"), mp::SerializationError);
  }
  header.committed = honest;
}

TEST(HeapDamage, OfWhereADeathIsToldIsNeverASignal) {
  const Block block = Block::allocate(100, "a test");
  const mp::detail::WaitingRoom room{block.arena()};
  const auto number = room.next_object();
  auto& first = room.take();
  mp::detail::WaitingRoom::stand_up(first);
  auto* const deaths = reinterpret_cast<mp::detail::LatestDeath*>(block.data());
  for (const std::uint64_t where :
       {std::uint64_t{0}, std::uint64_t{8}, std::uint64_t{block.offset() + 1},
        std::uint64_t{48} << 10U, std::uint64_t{block.arena().end - 8},
        std::uint64_t{block.arena().end}, std::uint64_t{1} << 50U, ~std::uint64_t{7},
        std::uint64_t{block.offset()}}) {
    EXPECT_FALSE(deaths->has(7));
    test::in_a_thread([&] {  // and is gone
      auto& seat = room.take();
      EXPECT_EQ(&seat, &first);
      mp::detail::WaitingRoom::sit(seat, number, 7, mp::detail::Sitting::expected, where);
    });
    auto& seat = room.take();
    EXPECT_EQ(&seat, &first);
    mp::detail::WaitingRoom::stand_up(seat);
  }
  EXPECT_TRUE(deaths->has(7));
}

TEST(HeapDamage, OfAnIdThatTwoArenasHaveHoldsNobodyUp) {
  test::Child process{[] {
    const Block block = Block::allocate(100, "a test");
    const Block other = Block::allocate(100'000, "a test");
    ASSERT_NE(&block.arena(), &other.arena());
    std::vector<std::byte> bytes;
    mp::Transit transit;
    mp::Encoder encoder{bytes, &transit};
    block.save(encoder, "a test");
    other.arena().header().id = block.arena().header().id;
    std::vector<mp::Transit::Object> objects;
    for (const auto& each : transit.objects()) objects.push_back({each.kind, each.handles, {}});
    mp::Transit back{objects, mp::reduction::duplicates(transit.departing())};
    mp::Decoder decoder{bytes, &back};
    EXPECT_EQ(Block::load(decoder, 100, "a test").data(), block.data());
  }};
  EXPECT_EQ(process.join(), 0);
}

TEST(LatestDeath, IsTheLatestThoughTicketsGoRound) {
  alignas(8) std::array<std::byte, sizeof(mp::detail::LatestDeath)> memory{};
  auto& deaths = *reinterpret_cast<mp::detail::LatestDeath*>(memory.data());
  EXPECT_FALSE(deaths.has(0));
  deaths.note(0);
  EXPECT_TRUE(deaths.has(0));
  deaths.forget(0);
  EXPECT_FALSE(deaths.has(0));
  constexpr std::uint32_t last = ~0U;
  for (const std::uint32_t ticket : {last - 1, last, 0U, 1U}) {
    deaths.note(ticket);
    deaths.note(ticket - 5);
    EXPECT_TRUE(deaths.has(ticket));
    deaths.forget(ticket - 1);
    EXPECT_TRUE(deaths.has(ticket));
  }
  deaths.forget(3);
  EXPECT_FALSE(deaths.has(1));
  deaths.note(last);  // from a round that is long over, and then real news
  deaths.note(4);
  EXPECT_TRUE(deaths.has(4));
}
