// SPDX-License-Identifier: BSL-1.0
// Bytes of a queue's memory are changed under it. What comes of that may be an error, an item that
// nobody put, or a queue that seems empty or full: never a signal, and never an access outside.
#include <multiprocessing/queues.hpp>

#include <support/child.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <random>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using namespace std::chrono_literals;

namespace {

using mp::detail::Place;
using mp::detail::Record;
using mp::detail::RingMemory;

// A ring, and its memory as another program would see it.
class Damaged {
 public:
  static constexpr std::size_t seen = std::size_t{1} << 20U;

  explicit Damaged(std::size_t maxsize, bool counts_tasks)
      : ring{mp::Ring::create(maxsize, counts_tasks)} {
    std::error_code ec;
    seen_ = mp::os::SharedRegion::adopt(std::move(ring->duplicate_handles().front()), seen, ec);
    if (ec) throw std::system_error{ec, "mapping"};
    bytes = seen_.data();
  }
  Damaged(const Damaged&) = delete;
  Damaged& operator=(const Damaged&) = delete;
  ~Damaged() = default;

  [[nodiscard]] RingMemory& memory() const { return *reinterpret_cast<RingMemory*>(bytes); }
  bool put(std::size_t size) const {
    return ring->put(
        size, [&](std::byte* to) { std::memset(to, 1, size); }, mp::detail::Deadline{patience});
  }
  bool get() const {
    return ring->get([](std::span<const std::byte> message) { touch(message); },
                     mp::detail::Deadline{patience});
  }
  std::size_t get_batch() const {
    return ring->get_batch(
        20, 10'000,
        [](std::span<const std::byte> message) {
          touch(message);
          return true;
        },
        mp::detail::Deadline{patience});
  }

  mp::Timeout patience = 0s;
  std::shared_ptr<mp::Ring> ring;
  std::byte* bytes = nullptr;

 private:
  static void touch(std::span<const std::byte> message) {
    unsigned sum = 0;  // every page, and the end
    for (std::size_t i = 0; i < message.size(); i += 4096) {
      sum += std::to_integer<unsigned>(message[i]);
    }
    if (!message.empty()) sum += std::to_integer<unsigned>(message.back());
    static std::atomic<unsigned> all{0};
    all += sum;
  }
  mp::os::SharedRegion seen_;
};

// Everything that one can do to a queue. What it throws does not matter.
void use(const Damaged& damaged, std::mt19937& random, int times) {
  const auto attempt = [](const auto& call) {
    try {
      static_cast<void>(call());
    } catch (const std::exception&) {
    }
  };
  for (int i = 0; i < times; ++i) {
    attempt([&] { return damaged.put(random() % 3000); });
    attempt([&] { return damaged.put(random() % 400'000); });
    attempt([&] { return damaged.get(); });
    attempt([&] { return damaged.get_batch(); });
    attempt([&] {
      mp::detail::Batch batch;
      for (int message = 0; message < 9; ++message) batch.add("x", 1);
      std::size_t stored = 0;
      damaged.ring->put_batch(batch.records(), 9, stored, mp::detail::Deadline{damaged.patience});
      return stored;
    });
    attempt([&] { return damaged.ring->qsize(); });
    if (!damaged.ring->counts_tasks()) continue;
    attempt([&] { return damaged.ring->unfinished_tasks(); });
    attempt([&] { return damaged.ring->join_tasks(mp::detail::Deadline{0s}); });
    attempt([&] { return damaged.ring->task_done(), 0; });
  }
  attempt([&] { return damaged.ring->shutdown(true), 0; });
}

void prepare(const Damaged& damaged, std::mt19937& random) {
  damaged.put(1);  // now there is memory
  for (auto i = random() % 20; i > 0; --i) damaged.put(random() % 60'000);
  for (auto i = random() % 20; i > 0; --i) damaged.get();
}

// Where it hurts: the sides' words, the book, records; not the locks, which are trusted.
std::size_t tender_place(std::mt19937& random, bool counts_tasks) {
  const std::size_t sides = offsetof(RingMemory, producers);
  switch (random() % (counts_tasks ? 4U : 3U)) {
    case 0:
      return sides + random() % (sizeof(RingMemory) - sides);
    case 1:
      return mp::detail::smallest_area + random() % 60'000;
    case 2:
      return mp::detail::smallest_area + random() % 64;
    default:
      return mp::detail::task_book_begin + random() % 1000;
  }
}

}  // namespace

TEST(QueueDamage, OfAnyBytesIsNeverASignal) {
  constexpr int children = 24;
  static constexpr int each = 25;
  for (int child = 0; child < children; ++child) {
    test::Child process{[](int number) {
                          for (int i = 0; i < each; ++i) {
                            std::mt19937 random{static_cast<unsigned>(number * each + i)};
                            Damaged damaged{random() % 2 == 0 ? 0U : 9U, random() % 2 == 0};
                            prepare(damaged, random);
                            if (i % 8 == 0) damaged.patience = 100us;
                            for (auto flips = 1 + random() % 8; flips > 0; --flips) {
                              damaged.bytes[tender_place(random, damaged.ring->counts_tasks())] ^=
                                  static_cast<std::byte>(1U << random() % 8);
                            }
                            use(damaged, random, 12);
                          }
                        },
                        child};
    ASSERT_EQ(process.join(), 0) << "seeds from " << child * each;
  }
}

TEST(QueueDamage, OfAWholeWordIsNeverASignal) {
  test::Child process{[] {
    const std::array<std::uint64_t, 8> words{0,
                                             ~std::uint64_t{0},
                                             Place{0, 4}.packed(),
                                             Place{17, std::uint64_t{1} << 35U}.packed(),
                                             Place{5, 0}.packed(),
                                             Place{40, 8}.packed(),
                                             Place{0, std::uint64_t{1} << 55U}.packed(),
                                             std::uint64_t{1} << 63U};
    constexpr std::size_t sides = offsetof(RingMemory, producers);
    constexpr std::size_t step = sizeof(std::uint64_t);
    for (std::size_t place = sides; place < sizeof(RingMemory); place += step) {
      if (place - sides > 320 && place - sides < sizeof(mp::detail::ProducerSide)) continue;
      for (const std::uint64_t word : words) {
        std::mt19937 random{static_cast<unsigned>(place)};
        const Damaged damaged{place % 16 == 0 ? 0U : 9U, true};
        prepare(damaged, random);
        std::memcpy(damaged.bytes + place, &word, sizeof word);
        use(damaged, random, 3);
      }
    }
  }};
  EXPECT_EQ(process.join(), 0);
}

TEST(QueueDamage, OfARecordIsAnErrorOfGet) {
  const auto with_header = [](std::uint64_t header) {
    const Damaged damaged{0, false};
    damaged.put(10);
    std::memcpy(damaged.bytes + mp::detail::smallest_area, &header, sizeof header);
    EXPECT_THROW(damaged.get(), mp::ProcessError) << header;
    EXPECT_THROW(damaged.get_batch(), mp::ProcessError) << header;
  };
  with_header(0);
  with_header(Record::pack(Record::message, mp::detail::smallest_area));
  with_header(Record::pack(Record::message, ~std::uint64_t{0} >> 2U));
  with_header(Record::pack(Record::jump, 18));
  with_header(Record::pack(Record::jump, 12));  // where no memory was ever committed
  with_header(Record::pack(Record::padding, 3));
}
