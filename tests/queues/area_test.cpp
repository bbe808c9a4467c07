// SPDX-License-Identifier: BSL-1.0
// Which part of its memory a queue works in.
#include <multiprocessing/queues.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <system_error>
#include <utility>

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using mp::detail::Place;

namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20U;

// A ring that is used in this process, and where its producers are.
class Used {
 public:
  explicit Used(std::size_t maxsize = 0) : ring_{mp::Ring::create(maxsize)} {
    std::error_code ec;
    region_ = mp::os::SharedRegion::adopt(std::move(ring_->duplicate_handles().front()),
                                          sizeof(mp::detail::RingMemory), ec);
    if (ec) throw std::system_error{ec, "mapping"};
  }
  void put(std::size_t size, mp::Timeout timeout = mp::forever) {
    ring_->put(
        size,
        [&](std::byte* to) {
          if (size != 0) to[0] = to[size - 1] = static_cast<std::byte>(++number_);
        },
        mp::detail::Deadline{timeout});
  }
  void get(std::size_t size) {
    ring_->get(
        [&](std::span<const std::byte> bytes) {
          ++taken_;
          EXPECT_EQ(bytes.size(), size);
          EXPECT_EQ(bytes.front(), static_cast<std::byte>(taken_));
          EXPECT_EQ(bytes.back(), static_cast<std::byte>(taken_));
        },
        mp::detail::Deadline{0s});
  }
  void pass(int times, std::size_t size) {
    for (int i = 0; i < times; ++i) {
      put(size);
      get(size);
    }
  }
  [[nodiscard]] unsigned area() const {
    using Side = mp::detail::ProducerSide;
    const auto& shared = *reinterpret_cast<const mp::detail::RingMemory*>(region_.data());
    return Place::from_packed(shared.producers.tail.read()[Side::place]).area();
  }

 private:
  std::shared_ptr<mp::Ring> ring_;
  mp::os::SharedRegion region_;
  unsigned number_ = 0;
  unsigned taken_ = 0;
};

}  // namespace

TEST(QueueArea, IsTheSmallestOneForAFlowOfSmallMessages) {
  Used ring;
  ring.pass(10'000, 100);
  EXPECT_EQ(ring.area(), 0U);
}

TEST(QueueArea, IsLargeEnoughForTwoCachesWhereLargeMessagesFlow) {
  Used ring;
  ring.pass(70, 4096);
  EXPECT_EQ(mp::detail::area_size(ring.area()), 2 * mebibyte);
  ring.pass(2000, 4096);
  EXPECT_EQ(mp::detail::area_size(ring.area()), 2 * mebibyte);
  ring.pass(200, 8);
  EXPECT_EQ(ring.area(), 0U);
  ring.pass(100, mebibyte);
  EXPECT_EQ(mp::detail::area_size(ring.area()), 4 * mebibyte);
}

TEST(QueueArea, IsLeftForTheSmallerOneWhenAFlowIsNoLongerDeep) {
  for (const std::size_t maxsize : {std::size_t{0}, std::size_t{16}}) {
    Used ring{maxsize};
    for (int i = 0; i < 16; ++i) ring.put(mebibyte);
    EXPECT_GE(mp::detail::area_size(ring.area()), 16 * mebibyte);
    for (int i = 0; i < 15; ++i) ring.get(mebibyte);
    ring.pass(200, mebibyte);  // it is never empty
    EXPECT_EQ(mp::detail::area_size(ring.area()), 4 * mebibyte) << maxsize;
    ring.get(mebibyte);
  }
}

// A moment for consumers, and not more.
TEST(QueuePut, OfALargeMessageGoesOnWhereConsumersDoNotComeCloser) {
  Used ring;
  for (int i = 0; i < 40; ++i) {
    for (int k = 0; k < 3; ++k) ring.put(mebibyte);
    ring.get(mebibyte);
  }
  for (int i = 0; i < 80; ++i) ring.get(mebibyte);
  ring.pass(10, 100);
}
