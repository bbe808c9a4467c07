// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file ring_creation.ipp
/// @brief A ring's beginning, and its arrival in another process.
#include <multiprocessing/queues/ring.hpp>

namespace multiprocessing {

inline std::shared_ptr<Ring> Ring::create(std::size_t maxsize) {
  std::error_code ec;
  const auto check = [&ec](const char* what) {
    if (ec) throw std::system_error{ec, what};
  };
  std::uint64_t areas = detail::most_areas;
  os::SharedRegion region;
  do {  // address space may be limited: fewer areas, a smaller largest backlog
    region = os::SharedRegion::create(detail::reservation(areas), ec);
  } while (ec == std::errc::not_enough_memory && --areas > 2);
  check("cannot reserve shared memory for a queue");
  region.commit(0, sizeof(detail::RingMemory), ec);
  check("cannot get shared memory for a queue");
  auto space = os::Bell::create(ec);
  check("cannot create a queue's bell");
  auto items = os::Bell::create(ec);
  check("cannot create a queue's bell");

  std::shared_ptr<Ring> ring{new Ring{std::move(region), std::move(space), std::move(items)}};
  detail::RingMemory& shared = ring->memory();  // zero is every other field's first state
  shared.producer_lock.initialise(ec);
  check("cannot initialise a queue's lock");
  shared.consumer_lock.initialise(ec);
  check("cannot initialise a queue's lock");
  shared.producers.entered[0].store(1, std::memory_order_relaxed);
  shared.header = {detail::RingHeader::expected_magic, maxsize, areas};
  ring->maxsize_ = maxsize;
  ring->areas_ = static_cast<unsigned>(areas);
  return ring;
}

inline std::vector<os::UniqueHandle> Ring::duplicate_handles() {
  std::vector<os::UniqueHandle> all;
  use_handle([&] {
    std::vector<native_handle_type> own{region_.handle()};
    for (const os::Bell* bell : {&space_, &items_}) {
      const auto more = bell->handles();
      own.insert(own.end(), more.begin(), more.end());
    }
    all = reduction::duplicates(own);
  });
  check_open();
  return all;
}

inline std::shared_ptr<Ring> Ring::adopt(std::vector<os::UniqueHandle> handles) {
  if (handles.empty() || handles.size() % 2 == 0) {
    throw SerializationError{"a queue arrived without its handles"};
  }
  std::error_code ec;
  os::UniqueHandle memory = std::move(handles.front());
  const auto middle = handles.begin() + static_cast<std::ptrdiff_t>(handles.size() / 2) + 1;
  const auto bell = [](auto first, auto last) {
    return os::Bell::adopt({std::make_move_iterator(first), std::make_move_iterator(last)});
  };
  auto space = bell(handles.begin() + 1, middle);
  auto items = bell(middle, handles.end());

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
      header.areas > detail::most_areas) {
    throw SerializationError{"a queue's handle is not a queue's memory"};
  }
  auto region = os::SharedRegion::adopt(std::move(memory), detail::reservation(header.areas), ec);
  if (ec) throw std::system_error{ec, "cannot map a queue's memory"};
  std::shared_ptr<Ring> ring{new Ring{std::move(region), std::move(space), std::move(items)}};
  ring->maxsize_ = header.maxsize;
  ring->areas_ = static_cast<unsigned>(header.areas);
  return ring;
}

}  // namespace multiprocessing
