// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file readers.hpp
/// @brief What reads bytes that somebody else wrote, within one machine: for the fuzzers, and for
/// the test that replays their corpus. Nothing may come of any bytes but a value or an error of
/// ours.
#include <multiprocessing.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace fuzz {

namespace mp = multiprocessing;
using Input = std::span<const std::byte>;

/// @brief The next bytes, as a number; fewer are filled up with zeros.
template <class Number>
Number take(Input& input) {
  Number number{};
  const std::size_t size = std::min(input.size(), sizeof number);
  if (size != 0) std::memcpy(&number, input.data(), size);
  input = input.subspan(size);
  return number;
}
/// @brief The next piece: a length of 16 bits, and as many bytes.
inline Input take_piece(Input& input) {
  const std::size_t said = take<std::uint16_t>(input);
  const std::size_t size = std::min(said, input.size());
  const Input piece = input.first(size);
  input = input.subspan(size);
  return piece;
}

/// @brief Errors of ours, and of the system, are answers.
template <class Work>
void expect_answer(Work work) {
  try {
    work();
  } catch (const mp::ProcessError&) {
  } catch (const std::system_error&) {
  } catch (const std::invalid_argument&) {
  } catch (const std::out_of_range&) {
  } catch (const std::bad_alloc&) {
  }
}

/// @brief A queue whose memory anybody writes into, at any time: words at places, and in between
/// the calls of producers and consumers. What cannot be mended, the locks' page, is spared.
inline void ring(Input input) {
  namespace detail = mp::detail;
  const detail::Deadline now{std::chrono::seconds{0}};
  const auto one = mp::Ring::create(take<std::uint8_t>(input) % 4, true);
  std::error_code ec;
  auto handles = one->duplicate_handles();
  const auto seen =
      mp::os::SharedRegion::adopt(std::move(handles.front()), std::size_t{1} << 20U, ec);
  if (ec) return;
  const auto put = [&](std::size_t size) {
    one->put(
        size, [&](std::byte* to) { std::memset(to, 1, size); }, now);
  };
  put(8);
  put(3000);
  constexpr std::array begins{std::size_t{8192}, detail::task_book_begin, detail::loan_table_begin,
                              std::size_t{detail::smallest_area}};
  constexpr std::array sizes{sizeof(detail::ProducerSide) + sizeof(detail::ConsumerSide),
                             sizeof(detail::TaskBook), std::size_t{8192}, std::size_t{8192}};
  const auto read = [](Input message) {
    unsigned sum = 0;
    for (const std::byte byte : message) sum += std::to_integer<unsigned>(byte);
    return sum != 1;
  };
  for (int steps = 0; !input.empty() && steps < 40; ++steps) {
    const auto what = take<std::uint8_t>(input);
    if (what < 0xc0) {
      const std::size_t part = what % begins.size();
      const std::size_t at = begins[part] + take<std::uint16_t>(input) % (sizes[part] / 8) * 8;
      if (part == 2 && steps % 2 == 0) continue;  // before it is there
      const auto word = take<std::uint64_t>(input);
      std::memcpy(seen.data() + at, &word, sizeof word);
      continue;
    }
    expect_answer([&] {
      switch (what % 7) {
        case 0:
          return put(take<std::uint16_t>(input));
        case 1:
          one->get([&](Input message) { static_cast<void>(read(message)); }, now);
          return;
        case 2:
          one->get_batch(10, 10'000, read, now);
          return;
        case 3:
          return one->task_done();
        case 4:
          static_cast<void>(one->join_tasks(now));
          return;
        case 5:
          static_cast<void>(one->unfinished_tasks());
          return;
        default:
          return one->shutdown((what & 0x10U) != 0);
      }
    });
  }
}

/// @brief What a fork server, a fresh process, a starter and a pool are told.
inline void messages(Input input) {
  namespace detail = mp::detail;
  const auto which = take<std::uint8_t>(input);
  expect_answer([&] {
    switch (which % 6) {
      case 0: {  // a request's packets, each with some handles
        std::error_code ec;
        auto ends = mp::os::make_channel(ec);
        if (ec) return;
        detail::Arrival arrival;
        while (!input.empty() && !ec) {
          const auto kind = take<std::uint8_t>(input);
          const std::vector<int> handles(take<std::uint8_t>(input) % 5, STDERR_FILENO);
          detail::send_at_once(ends.first.get(), {kind, take_piece(input), handles}, ec);
        }
        arrival.answers = std::move(ends.second);
        ec.clear();
        detail::receive_arrival(arrival, ec);
        return;
      }
      case 1: {
        mp::Decoder decoder{input};
        static_cast<void>(detail::decode<detail::SpawnedState>(decoder));
        return;
      }
      case 2: {
        mp::Decoder decoder{input};
        static_cast<void>(detail::decode<detail::ServerState>(decoder));
        return;
      }
      case 3:
        static_cast<void>(mp::loads<detail::ServerAnswer>(input));
        return;
      case 4: {
        const detail::ChannelParts parts{input};
        mp::Decoder decoder{input.subspan(16 * (1 + parts.objects.size()))};
        static_cast<void>(detail::decode_exception(decoder));
        return;
      }
      default: {
        mp::Decoder decoder{input};
        static_cast<void>(mp::codec<mp::CodeReference>::decode(decoder));
      }
    }
  });
}

/// @brief What the resource tracker hears before the line ends. The names are nobody's.
inline void tracker(Input input) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return;
  const mp::os::UniqueHandle ours{ends[0]};
  {
    const mp::os::UniqueHandle theirs{ends[1]};
    for (int packets = 0; !input.empty() && packets < 20; ++packets) {
      const Input packet = take_piece(input);
      ::send(theirs.get(), packet.data(), packet.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
  }
  mp::os::posix::serve_as_tracker(ours.get(), "1");
}

/// @brief What a worker left that crashed.
inline void crash(Input input) {
  const bool wants_text = take<std::uint8_t>(input) % 8 == 0;
  const auto record = std::make_unique<mp::os::CrashRecord>();
  const std::size_t size = std::min(input.size(), sizeof *record);
  if (size != 0) std::memcpy(static_cast<void*>(record.get()), input.data(), size);
  const auto trace = mp::os::read_crash(*record, record->code);
  if (!trace) return;
  if (trace->frames.size() > mp::os::CrashRecord::most_frames) std::abort();
  if (wants_text && mp::detail::crash_text(*trace).empty()) std::abort();
}

/// @brief A segment that somebody made, for a list.
inline void shareable_list(Input input) {
  const mp::SharedMemory memory{
      {.create = true, .size = std::max<std::size_t>(input.size(), 1), .track = false}};
  mp::SharedMemory named{memory};
  std::copy(input.begin(), input.end(), named.buf().begin());
  expect_answer([&] {
    mp::ShareableList list{mp::ShareableListOptions{.name = named.name()}};
    for (std::size_t i = 0; i < list.size(); ++i) {
      expect_answer([&] { static_cast<void>(list[i]); });
      expect_answer([&] { list.set(i, std::string{"text"}); });
    }
    static_cast<void>(list.format());
    static_cast<void>(list.values());
  });
  named.unlink();
}

/// @brief Packets that are not a Connection's, on either kind of pipe.
inline void channel(Input input) {
  const auto kind = take<std::uint8_t>(input);
  std::error_code ec;
  const mp::detail::Deadline now{std::chrono::seconds{0}};
  if (kind % 2 == 0) {
    const auto ends = mp::os::make_channel(ec);
    if (ec) return;
    while (!input.empty()) {
      const Input packet = take_piece(input);
      ::send(ends.first.get(), packet.data(), packet.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      mp::os::IncomingMessage message;
      static_cast<void>(mp::os::receive_message(ends.second.get(), message, {}, now, ec));
    }
    return;
  }
  auto ends = mp::os::OneWayEnd::create(ec);
  if (ec) return;
  constexpr std::size_t before = mp::os::posix::page_size;
  auto memory = mp::os::SharedRegion::adopt(
      mp::os::UniqueHandle{mp::os::duplicate_handle(ends.second.handles()[1], ec)},
      before + mp::os::posix::ring_size, ec);
  if (!ec) memory.commit(before, mp::os::posix::ring_size, ec);
  if (ec) return;
  auto& shared = *reinterpret_cast<mp::os::OneWayEnd::Shared*>(memory.data());
  const Input parts = input.first(std::min(input.size(), mp::os::posix::ring_size));
  if (!parts.empty()) std::memcpy(memory.data() + before, parts.data(), parts.size());
  shared.written = parts.size();
  ends.second = {};
  for (int i = 0; i < 20; ++i) {
    mp::os::IncomingMessage message;
    static_cast<void>(ends.first.wait({}, now, ec));
    if (ends.first.receive(message, {}, now, ec) == mp::os::Outcome::ended) return;
  }
}

}  // namespace fuzz
