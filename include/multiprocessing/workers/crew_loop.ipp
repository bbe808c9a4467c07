// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file crew_loop.ipp
/// @brief The loop, and who drives it.
#include <multiprocessing/workers/crew.hpp>

namespace multiprocessing::detail {

MULTIPROCESSING_INLINE bool Crew::wait(const Receiver* of,
                                       const std::function<bool()>& done,
                                       const Deadline& deadline,
                                       const std::stop_token& stop) {
  if (done()) return true;
  check_process();
  std::unique_lock lock{mutex_};
  const auto me = std::this_thread::get_id();
  const bool is_nested = driver_ == me;  // inside a callback
  bool drives = is_nested;
  while (!done() && !deadline.passed() && !stop.stop_requested()) {
    if (driver_ == std::thread::id{}) {
      driver_ = me;
      drives = true;
    }
    if (drives) {
      lock.unlock();
      try {
        step(deadline);
      } catch (...) {
        lock.lock();
        if (!is_nested) leave_loop();
        throw;
      }
      lock.lock();
      continue;
    }
    Follower self;
    self.of = of;
    const auto place = followers_.insert(followers_.end(), &self);
    const auto limit = deadline.left(stop.stop_possible() ? std::chrono::nanoseconds{tick}
                                                          : std::chrono::hours{1});
    self.bell.wait_for(lock, limit, [&] { return self.is_called; });
    followers_.erase(place);
  }
  if (drives ? !is_nested : driver_ == std::thread::id{}) {
    const auto left_at = left_at_;
    leave_loop();
    if (!drives) left_at_ = left_at;  // it may ask again and again without waiting
  }
  lock.unlock();
  return done();
}

MULTIPROCESSING_INLINE bool Crew::poll() {
  check_process();
  std::unique_lock lock{mutex_};
  if (driver_ != std::thread::id{}) return false;
  driver_ = std::this_thread::get_id();
  lock.unlock();
  bool got = false;
  try {
    got = step(Deadline{std::chrono::seconds{0}});
  } catch (...) {
    lock.lock();
    leave_loop();
    throw;
  }
  lock.lock();
  leave_loop();
  return got;
}

/// The mutex is held. Somebody else drives now, if anybody needs it.
MULTIPROCESSING_INLINE void Crew::leave_loop() {
  driver_ = {};
  if (has_background_) left_at_ = Clock::now();
  for (Follower* const follower : followers_) {
    if (follower->is_called) continue;
    follower->is_called = true;
    follower->bell.notify_one();
    return;
  }
  if (background_sleeps_ && !table_.empty()) background_bell_.notify_one();
}

/// @param of whose results have come; null: all are to look.
MULTIPROCESSING_INLINE void Crew::call_followers(const Receiver* of) {
  const Locked lock{mutex_};
  for (Follower* const follower : followers_) {
    if (of != nullptr && follower->of != nullptr && follower->of != of) continue;
    follower->is_called = true;
    follower->bell.notify_one();
  }
}

/// One message, or a look at the workers. Driver only.
/// @returns whether there was a message.
MULTIPROCESSING_INLINE bool Crew::step(const Deadline& deadline) {
  std::vector<std::byte> message = std::exchange(message_, {});
  ResultHeader header;
  bool got = take_result(header, message, Deadline{std::chrono::seconds{0}});
  if (!got && !deadline.is_now()) {
    got = take_result(header, message, Deadline{deadline.left(tick)});
  }
  // Not when this result was made: behind slow callbacks that was long ago.
  const std::int64_t now = now_in_nanoseconds();
  if (message.capacity() <= most_kept_for_messages) message_ = std::move(message);
  if (now - looked_ > std::chrono::nanoseconds{tick}.count()) {
    looked_ = now;
    look_after_workers();
  }
  resolve_failed();
  return got;
}

/// Takes a result and handles it. One that there is no memory for leaves the ring all the same,
/// else nothing behind it would ever arrive; its task fails.
/// @returns false: there was none until the deadline.
MULTIPROCESSING_INLINE bool Crew::take_result(ResultHeader& header,
                                              std::vector<std::byte>& buffer,
                                              const Deadline& deadline) {
  std::exception_ptr failure;
  std::span<const std::byte> value;
  const auto read = [&](std::span<const std::byte> bytes) {
    header = take_header<ResultHeader>(bytes);
    value = bytes;
    if (results_->is_in_block(bytes)) return;
    try {
      buffer.assign(bytes.begin(), bytes.end());
    } catch (const std::bad_alloc&) {
      failure = std::current_exception();
    }
    value = buffer;
  };
  std::optional<std::size_t> number;
  if (!results_->get(read, deadline, &number)) return false;
  BorrowedBlock block;
  if (number) {
    block = BorrowedBlock{results_, *number};
  } else if (value.size() >= large_message) {
    take_next_from_block(header.place);
  }
  handle(header, value, failure);
  return true;
}

/// A worker that has large results may leave them beside the ring, once this process can take them
/// there.
MULTIPROCESSING_INLINE void Crew::take_next_from_block(std::uint32_t place) {
  if (place >= workers()) return;
  auto& maps = board_->slot(place).maps_results;
  if (maps.load(std::memory_order_relaxed) == 0 &&
      results_->prepare_loans(Deadline{std::chrono::seconds{0}})) {
    maps.store(1, std::memory_order_relaxed);
  }
}

/// @param no_value why the value did not come along; none: it did.
MULTIPROCESSING_INLINE void Crew::handle(const ResultHeader& header,
                                         std::span<const std::byte> value,
                                         const std::exception_ptr& no_value) {
  if (header.kind == ResultHeader::initializer_failed) {
    std::exception_ptr why = no_value;
    try {  // what makes the exception anew is the program's, and throws what it likes
      Decoder decoder{value};
      if (!why) why = decode_exception(decoder);
    } catch (...) {
      why = std::current_exception();
    }
    break_down("a worker's initializer threw", why);
    return;
  }
  Transit transit;
  std::exception_ptr failure = no_value;
  try {
    if (header.in_channel != 0 && !take_handles(header, transit)) return;
  } catch (...) {  // no descriptor is left, no memory
    failure = std::current_exception();
  }
  TaskTable::Entry entry;
  {
    const Locked lock{mutex_};
    if (header.place >= places_.size()) return;
    Place& place = *places_[header.place];
    entry = table_.take(header.id);
    const auto sent = std::find_if(place.sent.begin(), place.sent.end(),
                                   [&](const auto& each) { return each.id == header.id; });
    if (sent != place.sent.end()) {
      place.sent_bytes -= sent->size;
      place.sent.erase(sent);
    }
    ++place.stats.done;
    place.has_begun = true;
    place.failures = 0;
    place.stats.busy += std::chrono::nanoseconds{header.ended - header.begun};
    try {
      if (place.sent.empty()) {
        balance(place);
      } else if (!waiting_.empty() && place.sent.size() <= ahead / 2) {
        refill(place);
      }
      if (trace_.is_on() && entry.id != 0) {
        trace_.task(codes_[entry.code].name, header.id, place.stats.pid.value_or(0), header.place,
                    header.begun, header.ended,
                    header.kind == ResultHeader::value ? "returned" : "threw");
      }
    } catch (const std::exception& error) {  // no memory; it is tried again
      log(LogLevel::error, error.what());
    }
  }
  if (entry.id == 0) return;
  if (failure) return fail(std::move(entry), failure);
  deliver(std::move(entry), header, value, transit);
}

/// What came beside a result's bytes.
/// @returns false: it went with its worker, which has ended (see os::handles_go_with_sender). The
/// task is still among what was sent there, so bury() finds it.
MULTIPROCESSING_INLINE bool Crew::take_handles(const ResultHeader& header, Transit& transit) {
  // The reason to pass over the check: its one object is const and of this scope, and never copied.
  struct Received {  // NOLINT(*-special-member-functions): const, and of this scope only
    std::atomic<std::uint32_t>& count;
    ~Received() { ++count; }
  };
  std::shared_ptr<DuplexCore> channel;
  std::shared_ptr<PoolWorker> worker;
  {
    const Locked lock{mutex_};
    if (header.place >= places_.size()) return false;
    channel = places_[header.place]->channel;
    worker = places_[header.place]->process;
  }
  if (!channel || !worker) return false;  // all have been ended, and no task is left
  const Received received{board_->slot(header.place).received};
  const auto has_ended = [&](const Deadline& deadline) {
    return os::wait_ready(worker->sentinel(), deadline);
  };
  // It was sent before the result: only who lives may be slow.
  const Deadline deadline{
      std::chrono::seconds{has_ended(Deadline{std::chrono::seconds{0}}) ? 0 : 1}};
  try {
    while (auto message = channel->receive(deadline)) {
      ChannelParts parts{message->bytes()};
      if (parts.id != header.id) continue;
      transit = Transit{std::move(parts.objects), std::move(message->handles)};
      return true;
    }
  } catch (const EOFError&) {  // it ends
  }
  if (has_ended(deadline)) return false;
  throw SerializationError{"a result's handles did not arrive"};
}

/// Tells the receiver. Nothing that it does, or that the bytes are, comes out of here.
MULTIPROCESSING_INLINE void Crew::deliver(TaskTable::Entry entry,
                                          const ResultHeader& header,
                                          std::span<const std::byte> value,
                                          Transit& transit) {
  std::exception_ptr error;
  bool returned = false;
  try {
    const Telling telling{*this};
    Decoder decoder{value, &transit};
    if (header.kind == ResultHeader::value) {
      entry.receiver->on_value(entry.part, decoder);
      returned = true;
    } else if (!entry.receiver->on_encoded_error(entry.part, decoder)) {
      error = decode_exception(decoder);
    }
  } catch (...) {
    error = std::current_exception();
  }
  if (error) return fail(std::move(entry), std::move(error));
  finish(entry, returned);
}

MULTIPROCESSING_INLINE void Crew::fail(TaskTable::Entry entry, std::exception_ptr error) {
  {
    const Telling telling{*this};
    entry.receiver->on_error(entry.part, std::move(error));
  }
  finish(entry, false);
}

/// The receiver has been told.
MULTIPROCESSING_INLINE void Crew::finish(TaskTable::Entry& entry, bool returned) {
  const Receiver* const receiver = entry.receiver.get();
  entry.receiver.reset();
  bool is_over = false;
  {
    const Locked lock{mutex_};
    ++(returned ? done_ : failures_);
    is_over = open_.fetch_sub(1) == 1;
    if (is_over && state_ == State::closed) {
      for (const auto& place : places_) tell_to_end(*place);
    }
    if (followers_.empty()) return;
  }
  call_followers(is_over ? nullptr : receiver);
}

/// @returns false: it is none.
MULTIPROCESSING_INLINE bool Crew::resolve(Failed one) {
  if (one.entry.id == 0) return false;
  if (!one.is_cancelled) {
    fail(std::move(one.entry), std::move(one.error));
    return true;
  }
  {
    const Telling telling{*this};
    one.entry.receiver->on_cancelled(one.entry.part, std::move(one.error));
  }
  finish(one.entry, false);
  return true;
}

MULTIPROCESSING_INLINE void Crew::resolve_failed() {
  std::size_t looked_through = 0;
  while (has_failed_) {
    Failed one;
    {
      const Locked lock{mutex_};
      if (!failed_.empty()) {
        one = std::move(failed_.back());
        failed_.pop_back();
      } else if (!table_.empty() && (state_ == State::broken || state_ == State::terminated)) {
        // There was no memory to take them all at once.
        one = {table_.take_next(looked_through), why_ended(), state_ == State::terminated};
      } else {
        has_failed_ = false;
      }
    }
    resolve(std::move(one));
  }
}

/// In a handler.
MULTIPROCESSING_INLINE void Crew::log_current_exception() noexcept {
  try {
    throw;
  } catch (const std::exception& error) {
    log(LogLevel::error, error.what());
  } catch (...) {
    log(LogLevel::error, "a pool: an exception that is no std::exception");
  }
}

// ---- the background thread ----

MULTIPROCESSING_INLINE void Crew::work_in_background() {
  check_process();
  const Locked lock{mutex_};
  if (background_.joinable() || background_ends_) return;
  background_ = std::thread{[self = shared_from_this()] { self->run_in_background(); }};
  has_background_ = true;
}

MULTIPROCESSING_INLINE void Crew::run_in_background() {
  constexpr std::chrono::milliseconds moment{1};  // how long users may leave the loop alone
  constexpr int most_moments = 8;
  int moments = 0;
  std::unique_lock lock{mutex_};
  const auto sleep = [&](std::chrono::nanoseconds limit) {
    background_sleeps_ = true;
    background_bell_.wait_for(lock, limit);
    background_sleeps_ = false;
  };
  while (!background_ends_) {
    if (open_.load() == 0) {
      if (is_retired_) break;
      background_sleeps_ = true;
      background_bell_.wait(lock);
      background_sleeps_ = false;
      continue;
    }
    if (driver_ != std::thread::id{} || Clock::now() - left_at_ < moment) {
      if (moments++ < most_moments) {
        background_bell_.wait_for(lock, moment);
      } else {
        sleep(tick);
        moments = 0;
      }
      continue;
    }
    moments = 0;
    driver_ = std::this_thread::get_id();
    while (!background_ends_ && followers_.empty() && open_.load() != 0) {
      lock.unlock();
      try {
        step(Deadline{tick});
      } catch (...) {  // no memory: later there may be
        log_current_exception();
        std::this_thread::sleep_for(tick);
      }
      lock.lock();
    }
    const auto left_at = left_at_;
    leave_loop();
    if (followers_.empty()) left_at_ = left_at;  // this thread need not make way for itself
  }
  const bool finishes = is_retired_ && !background_ends_;
  lock.unlock();
  try {
    if (finishes) join_workers();
  } catch (...) {  // they end with their parent
    log_current_exception();
  }
  lock.lock();
  has_background_ = false;
  background_gone_.notify_all();
}

}  // namespace multiprocessing::detail
