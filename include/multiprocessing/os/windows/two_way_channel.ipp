// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/two_way_channel.hpp>
#include <multiprocessing/os/windows/one_way_channel.ipp>
#include <multiprocessing/os/windows/process.ipp>

#include <cstdint>
#include <cstring>
#include <iterator>

namespace multiprocessing::os {

namespace windows {

// What travels before the bytes of a message with handles, and is followed by their numbers in that
// process: the sender, or who alone can receive it. There they are nobody's, until the receiver
// takes them away.
struct KeeperOfHandles {
  std::uint32_t pid;
  std::uint32_t created;  // the lower half of its creation time: ids are used again
};

MULTIPROCESSING_INLINE std::uint32_t creation_of_process(HANDLE process) noexcept {
  FILETIME created{};
  FILETIME others{};
  MULTIPROCESSING_SYSTEM(GetProcessTimes)(process, &created, &others, &others, &others);
  return created.dwLowDateTime;
}

// The handles of a message while it is being sent.
class DepartingHandles {
 public:
  // Throws std::bad_alloc.
  DepartingHandles(const OutgoingMessage& message, std::error_code& ec)
      : receiver_{message.receiver} {
    ec.clear();
    if (message.handles.empty()) return;
    const HANDLE process = keeping_process();
    const KeeperOfHandles keeper{MULTIPROCESSING_SYSTEM(GetProcessId)(process),
                                 creation_of_process(process)};
    copies_.reserve(message.handles.size());
    table_.reserve(sizeof keeper + message.handles.size() * sizeof(std::uint64_t));
    add(&keeper, sizeof keeper);
    for (const native_handle_type handle : message.handles) {
      const HANDLE there = copy(handle, ec);
      if (ec) return;
      copies_.push_back(there);
      const auto number = static_cast<std::uint64_t>(to_integer(there));
      add(&number, sizeof number);
    }
  }
  DepartingHandles(const DepartingHandles&) = delete;
  DepartingHandles& operator=(const DepartingHandles&) = delete;
  ~DepartingHandles() {
    for (const HANDLE copy : copies_) {
      MULTIPROCESSING_SYSTEM(DuplicateHandle)
      (keeping_process(), copy, nullptr, nullptr, 0, FALSE, DUPLICATE_CLOSE_SOURCE);
    }
  }
  [[nodiscard]] std::span<const std::byte> table() const noexcept { return table_; }
  // They are the message's now.
  void leave() noexcept { copies_.clear(); }

 private:
  [[nodiscard]] HANDLE keeping_process() const noexcept {
    return receiver_ == invalid_handle ? MULTIPROCESSING_SYSTEM(GetCurrentProcess)() : receiver_;
  }
  HANDLE copy(HANDLE handle, std::error_code& ec) const noexcept {
    if (receiver_ == invalid_handle) return duplicate_handle(handle, ec);
    HANDLE copy = nullptr;
    if (MULTIPROCESSING_SYSTEM(DuplicateHandle)(MULTIPROCESSING_SYSTEM(GetCurrentProcess)(), handle,
                                                receiver_, &copy, 0, FALSE,
                                                DUPLICATE_SAME_ACCESS) == 0) {
      const DWORD error = MULTIPROCESSING_SYSTEM(GetLastError)();
      // So the system says that the receiver has ended, or is about to.
      ec = as_error(error == ERROR_ACCESS_DENIED ? DWORD{ERROR_BROKEN_PIPE} : error);
    }
    return copy;
  }
  void add(const void* bytes, std::size_t size) {
    const auto* const begin = static_cast<const std::byte*>(bytes);
    table_.insert(table_.end(), begin, begin + size);
  }

  native_handle_type receiver_;
  std::vector<HANDLE> copies_;  // the keeper's
  std::vector<std::byte> table_;
};

// Gives up those that nobody will take any more.
MULTIPROCESSING_INLINE void drop_handles(HANDLE keeper,
                                         std::span<const std::byte> numbers) noexcept {
  for (; !numbers.empty(); numbers = numbers.subspan(sizeof(std::uint64_t))) {
    std::uint64_t number = 0;
    std::memcpy(&number, numbers.data(), sizeof number);
    MULTIPROCESSING_SYSTEM(DuplicateHandle)
    (keeper, to_handle(static_cast<std::intptr_t>(number)), nullptr, nullptr, 0, FALSE,
     DUPLICATE_CLOSE_SOURCE);
  }
}

// Takes the handles over from who keeps them. false: that process is gone, and they with it; or the
// system refuses, and says why. Throws std::bad_alloc.
MULTIPROCESSING_INLINE bool take_handles(std::span<const std::byte> table,
                                         std::vector<UniqueHandle>& into,
                                         std::error_code& ec) {
  KeeperOfHandles keeper{};
  std::memcpy(&keeper, table.data(), sizeof keeper);
  const UniqueHandle process = open_by_id(
      keeper.pid, PROCESS_DUP_HANDLE | PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE, ec);
  const bool has_gone = ec == std::errc::no_such_process;
  if (ec && !has_gone) return false;
  ec.clear();
  if (has_gone || creation_of_process(process.get()) != keeper.created) return false;
  table = table.subspan(sizeof keeper);
  into.reserve(table.size() / sizeof(std::uint64_t));
  for (; !table.empty(); table = table.subspan(sizeof(std::uint64_t))) {
    std::uint64_t number = 0;
    std::memcpy(&number, table.data(), sizeof number);
    HANDLE taken = nullptr;
    if (MULTIPROCESSING_SYSTEM(DuplicateHandle)(
            process.get(), to_handle(static_cast<std::intptr_t>(number)),
            MULTIPROCESSING_SYSTEM(GetCurrentProcess)(), &taken, 0, FALSE,
            DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE) == 0) {
      const auto error = last_error();
      if (error != std::errc::not_enough_memory && is_ending(process.get())) return false;
      // Others are to hear what was sent to them and is lost.
      ec = error;
      drop_handles(process.get(), table);
      return false;
    }
    into.emplace_back(taken);
  }
  return true;
}

}  // namespace windows

MULTIPROCESSING_INLINE TwoWayEnd::Ends TwoWayEnd::create(std::error_code& ec) noexcept {
  Ends made;
  auto there = OneWayEnd::create(ec);
  if (ec) return made;
  auto back = OneWayEnd::create(ec);
  if (ec) return made;
  made.first.in_ = std::move(back.first);
  made.first.out_ = std::move(there.second);
  made.second.in_ = std::move(there.first);
  made.second.out_ = std::move(back.second);
  return made;
}

MULTIPROCESSING_INLINE TwoWayEnd TwoWayEnd::adopt(std::vector<UniqueHandle> handles,
                                                  std::error_code& ec) noexcept try {
  TwoWayEnd adopted;
  const auto half = static_cast<std::ptrdiff_t>(handles.size() / 2);
  const auto take = [&](auto first, auto last) {
    return std::vector<UniqueHandle>(std::make_move_iterator(first), std::make_move_iterator(last));
  };
  adopted.in_ = OneWayEnd::adopt(take(handles.begin(), handles.begin() + half), ec);
  if (!ec) adopted.out_ = OneWayEnd::adopt(take(handles.begin() + half, handles.end()), ec);
  if (ec) return {};
  return adopted;
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return {};
}

MULTIPROCESSING_INLINE std::vector<native_handle_type> TwoWayEnd::handles() const {
  auto all = in_.handles();
  const auto more = out_.handles();
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

MULTIPROCESSING_INLINE native_handle_type TwoWayEnd::handle() const noexcept {
  return in_.handle();
}

MULTIPROCESSING_INLINE Outcome TwoWayEnd::send(const OutgoingMessage& message,
                                               const Interrupt& interrupt,
                                               const detail::Deadline& deadline,
                                               std::error_code& ec) const noexcept try {
  if (message.handles.size() > most_handles) {
    ec = std::make_error_code(std::errc::argument_list_too_long);
    return Outcome::timed_out;
  }
  windows::DepartingHandles departing{message, ec};
  if (ec) return Outcome::timed_out;
  const Outcome outcome =
      windows::send_run(out_.handle(), out_.shared(),
                        {message.kind, static_cast<std::uint16_t>(message.handles.size()),
                         departing.table(), message.bytes},
                        interrupt, deadline, ec);
  if (!ec && outcome == Outcome::done) departing.leave();
  return outcome;
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return Outcome::timed_out;
}

MULTIPROCESSING_INLINE Outcome TwoWayEnd::receive(IncomingMessage& into,
                                                  const Interrupt& interrupt,
                                                  const detail::Deadline& deadline,
                                                  std::error_code& ec) const noexcept try {
  for (;;) {
    IncomingMessage message;
    std::size_t count = 0;
    const Outcome outcome =
        windows::receive_run(in_.handle(), in_.shared(), message, count, interrupt, deadline, ec);
    if (ec || outcome != Outcome::done) return outcome;
    MULTIPROCESSING_STOP_POINT("channel.recv.taken");
    if (count != 0) {
      const std::size_t size = sizeof(windows::KeeperOfHandles) + count * sizeof(std::uint64_t);
      if (message.bytes().size() < size) {
        ec = std::make_error_code(std::errc::bad_message);
        return outcome;
      }
      std::vector<UniqueHandle> handles;
      // As if its sender had died before it was sent.
      if (!windows::take_handles(message.bytes().first(size), handles, ec)) {
        if (ec) return outcome;
        continue;
      }
      message.drop_front(size);
      message.handles = std::move(handles);
    }
    into = std::move(message);
    return outcome;
  }
} catch (const std::bad_alloc&) {
  ec = std::make_error_code(std::errc::not_enough_memory);
  return Outcome::timed_out;
}

MULTIPROCESSING_INLINE Outcome TwoWayEnd::wait(const Interrupt& interrupt,
                                               const detail::Deadline& deadline,
                                               std::error_code& ec) const noexcept {
  return in_.wait(interrupt, deadline, ec);
}

}  // namespace multiprocessing::os
