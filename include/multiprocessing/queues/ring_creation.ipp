// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file ring_creation.ipp
/// @brief A ring's beginning, and its arrival in another process.
#include <multiprocessing/queues/ring.hpp>

#include <array>
#include <iterator>
#include <tuple>

namespace multiprocessing {

MULTIPROCESSING_INLINE std::shared_ptr<Ring> Ring::create(std::size_t maxsize, bool counts_tasks) {
  std::error_code ec;
  const auto check = [&ec](const char* what) {
    if (ec) throw std::system_error{ec, what};
  };
  std::uint64_t areas = detail::most_areas;
  os::SharedRegion region;
  do {  // address space may be limited: fewer areas, a smaller largest backlog
    const std::uint64_t size = detail::reservation(areas);
    region = os::SharedRegion::create(size, ec, size);  // loans lie behind
  } while (ec == std::errc::not_enough_memory && --areas > 2);
  check("cannot reserve shared memory for a queue");
  region.commit(0, sizeof(detail::RingMemory), ec);
  check("cannot get shared memory for a queue");
  if (counts_tasks) region.commit(detail::task_book_begin, sizeof(detail::TaskBook), ec);
  check("cannot get shared memory for a JoinableQueue");

  auto event = os::make_event(ec);
  check("cannot create a queue's event");

  std::shared_ptr<Ring> ring{new Ring{std::move(region), std::move(event)}};
  for (os::Bell* bell : ring->bells()) {
    *bell = os::Bell::create(ec);
    check("cannot create a queue's bell");
  }
  detail::RingMemory& shared = ring->memory();  // zero is every other field's first state
  shared.producer_lock.initialise(ec);
  check("cannot initialise a queue's lock");
  shared.consumer_lock.initialise(ec);
  check("cannot initialise a queue's lock");
  shared.producers.entered[0].store(1, std::memory_order_relaxed);
  shared.header = {detail::RingHeader::expected_magic, maxsize, areas, counts_tasks ? 1U : 0U};
  ring->use(shared.header);
  return ring;
}

MULTIPROCESSING_INLINE std::vector<os::UniqueHandle> Ring::duplicate_handles() {
  std::vector<os::UniqueHandle> all;
  use_handle([&] {
    std::vector<native_handle_type> own{region_.handle(), event_.get()};
    for (const os::Bell* bell : bells()) {
      const auto more = bell->handles();
      own.insert(own.end(), more.begin(), more.end());
    }
    all = reduction::duplicates(own);
  });
  check_open();
  return all;
}

MULTIPROCESSING_INLINE void Ring::use(const detail::RingHeader& header) noexcept {
  maxsize_ = header.maxsize;
  areas_ = static_cast<unsigned>(header.areas);
  counts_tasks_ = header.counts_tasks != 0;
}

MULTIPROCESSING_INLINE std::shared_ptr<Ring> Ring::adopt(std::vector<os::UniqueHandle> handles) {
  constexpr std::size_t all_bells = std::tuple_size_v<decltype(std::declval<Ring>().bells())>;
  constexpr std::size_t others = 2;
  if (handles.size() < others || (handles.size() - others) % all_bells != 0) {
    throw SerializationError{"a queue arrived without its handles"};
  }
  std::error_code ec;
  os::UniqueHandle memory = std::move(handles.front());

  // How much is to be mapped stands in the memory itself.
  const detail::RingHeader header = [&] {
    os::UniqueHandle second{os::duplicate_handle(memory.get(), ec)};
    if (ec) throw std::system_error{ec, "cannot duplicate a queue's handle"};
    auto front = os::SharedRegion::adopt(std::move(second), sizeof(detail::RingMemory), ec);
    if (!ec) front.commit(0, sizeof(detail::RingMemory), ec);  // it may be shorter than that
    if (ec) throw SerializationError{"a queue's handle is not a queue's memory: " + ec.message()};
    return reinterpret_cast<const detail::RingMemory*>(front.data())->header;
  }();
  if (header.magic != detail::RingHeader::expected_magic || header.areas == 0 ||
      header.areas > detail::most_areas || header.counts_tasks > 1) {
    throw SerializationError{"a queue's handle is not a queue's memory"};
  }
  auto region = os::SharedRegion::adopt(std::move(memory), detail::reservation(header.areas), ec);
  if (!ec && header.counts_tasks != 0) {
    region.commit(detail::task_book_begin, sizeof(detail::TaskBook), ec);
  }
  if (ec) throw std::system_error{ec, "cannot map a queue's memory"};
  std::shared_ptr<Ring> ring{new Ring{std::move(region), std::move(handles[1])}};
  auto next = std::make_move_iterator(handles.begin() + others);
  const auto each = static_cast<std::ptrdiff_t>((handles.size() - others) / all_bells);
  for (os::Bell* bell : ring->bells()) {
    *bell = os::Bell::adopt({next, next + each});
    next += each;
  }
  ring->use(header);
  return ring;
}

MULTIPROCESSING_INLINE void Ring::close() noexcept {
  if (handle_gate_.shut()) close_handles();
}

}  // namespace multiprocessing
