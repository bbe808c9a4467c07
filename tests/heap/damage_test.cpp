// SPDX-License-Identifier: BSL-1.0
// What stands in an arena's header was written by another process: it leads nowhere.
#include <multiprocessing/heap.hpp>
#include <multiprocessing/heap/waiting_room.hpp>

#include <support/child.hpp>

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
