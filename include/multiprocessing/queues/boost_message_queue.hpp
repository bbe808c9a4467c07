// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file boost_message_queue.hpp
/// @brief A Queue over boost::interprocess::message_queue: priorities, and other programs' queues.
///
/// Not part of `<multiprocessing.hpp>`.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/os/bell.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/os/random.hpp>
#include <multiprocessing/queues/batch.hpp>
#include <multiprocessing/queues/queue.hpp>
#include <multiprocessing/queues/scratch.hpp>
#include <multiprocessing/timeout.hpp>

#include <boost/date_time/posix_time/posix_time_types.hpp>
#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/ipc/message_queue.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing {

/// @brief The transport of a Queue that is a boost::interprocess::message_queue.
/// @code
/// #include <multiprocessing/queues/boost_message_queue.hpp>
/// mp::Queue<int, mp::BoostMessageQueue> jobs{100};
/// jobs.put(1);
/// jobs.put(2, mp::Priority{9});   // comes out first
/// mp::Queue<int, mp::BoostMessageQueue> theirs{mp::BoostMessageQueue::open("their-queue")};
/// @endcode
/// What it lacks beside a Ring: **a process that dies inside it stops all others for ever**, for
/// its lock has no owner. Its memory is taken at once, for as many of the longest messages as it
/// has places. It has a name in /dev/shm, which goes with the object that made it, and stays when
/// that one's process is killed. It cannot be shut down, waited for with wait(), or counted as
/// tasks. It sleeps by the wall clock: if that is set back meanwhile, a wait without a message sees
/// its time limit and close() late by as much. A message of another size than a plain item is lost
/// when get_many() meets it behind others, with a warning in the log; a Ring leaves it inside.
/// @source Boost.Interprocess, `message_queue`.
/// @threads any, at once.
/// @processes any, at once; it travels by its name, so whoever made it must live until the others
/// have it.
class BoostMessageQueue {
 public:
  /// What Queue(maxsize) makes: so many places if maxsize is 0, for messages of so many bytes.
  static constexpr std::size_t default_messages = 1024;
  /// The longest message of such a queue. @units Bytes.
  static constexpr std::size_t default_message_size = 8192;

  /// @param maxsize places; 0: default_messages, for it has always a bound.
  /// @param message_size the longest message.
  /// @throws std::system_error the system refuses.
  static std::shared_ptr<BoostMessageQueue> create(
      std::size_t maxsize, std::size_t message_size = default_message_size) {
    const std::size_t places = maxsize == 0 ? default_messages : maxsize;
    return make([&](const std::string& name) {
      auto queue = std::make_unique<Boost>(boost::interprocess::create_only, name.c_str(), places,
                                           message_size);
      return std::shared_ptr<BoostMessageQueue>{
          new BoostMessageQueue{name, std::move(queue), os::process_id()}};
    });
  }
  /// @brief A queue that somebody has made, under its name there; it is not removed here.
  /// @throws std::system_error there is no such queue.
  static std::shared_ptr<BoostMessageQueue> open(const std::string& name) {
    return translated("opening a message_queue", [&] {
      auto queue = std::make_unique<Boost>(boost::interprocess::open_only, name.c_str());
      return std::shared_ptr<BoostMessageQueue>{new BoostMessageQueue{name, std::move(queue), 0}};
    });
  }
  BoostMessageQueue(const BoostMessageQueue&) = delete;
  BoostMessageQueue& operator=(const BoostMessageQueue&) = delete;
  ~BoostMessageQueue() {
    if (maker_ == os::process_id()) Boost::remove(name_.c_str());
  }

  /// @brief What open() needs.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  // ---- what a Queue asks of its transport; see Ring ----

  /// @brief As Ring::put, at its priority. @throws std::system_error the message is too long for
  /// this queue.
  template <class Write>
  bool put(std::size_t size,
           Write&& write,
           const detail::Deadline& deadline,
           Priority priority = {}) {
    if (size > queue_->get_max_msg_size()) {
      throw std::system_error{std::make_error_code(std::errc::message_size),
                              "the message_queue takes messages of " +
                                  std::to_string(queue_->get_max_msg_size()) + " bytes"};
    }
    detail::Scratch scratch;
    auto& bytes = scratch.buffer();
    bytes.resize(size);
    std::forward<Write>(write)(bytes.data());
    return in_slices(deadline, [&](const auto& end) {
      return queue_->timed_send(bytes.data(), size, priority.value, end);
    });
  }
  /// @brief As Ring::get. @throws std::system_error the system refuses.
  template <class Read>
  bool get(Read&& read, const detail::Deadline& deadline) {
    detail::Scratch scratch;
    auto& bytes = scratch.buffer();
    bytes.resize(queue_->get_max_msg_size());
    Boost::size_type size = 0;
    unsigned priority = 0;
    if (!in_slices(deadline, [&](const auto& end) {
          return queue_->timed_receive(bytes.data(), bytes.size(), size, priority, end);
        })) {
      return false;
    }
    std::forward<Read>(read)(std::span<const std::byte>{bytes}.first(size));
    return true;
  }
  /// @brief As Ring::put_batch, one message after the other.
  void put_batch(std::span<const std::byte> records,
                 std::size_t messages,
                 std::size_t& stored,
                 const detail::Deadline& deadline) {
    for (; messages > 0; --messages, ++stored) {
      const std::span<const std::byte> message = detail::Batch::first_of(records);
      const auto write = [&](std::byte* to) {
        if (!message.empty()) std::memcpy(to, message.data(), message.size());
      };
      if (!put(message.size(), write, deadline)) return;
      records = records.subspan(detail::Batch::length_of(records, 1));
    }
  }
  /// @brief As Ring::get_batch, one message after the other.
  template <class Read>
  std::size_t get_batch(std::size_t most_messages,
                        std::size_t most_bytes,
                        Read&& read,
                        const detail::Deadline& deadline) {
    std::size_t taken = 0;
    for (std::size_t bytes = 0; taken < most_messages && bytes < most_bytes; ++taken) {
      bool is_wanted = false;
      const auto take = [&](std::span<const std::byte> message) {
        bytes += message.size();
        is_wanted = read(message);
      };
      try {
        if (!get(take, taken == 0 ? deadline : detail::Deadline{std::chrono::seconds{0}})) break;
        if (!is_wanted) {  // where a Ring leaves it inside, it is out, and cannot be put back
          log(LogLevel::warning,
              "a message_queue had a message of another size than an item: it is lost");
          break;
        }
      } catch (...) {  // closed, say; those before it are out, and nobody can put them back
        if (taken == 0) throw;
        break;
      }
    }
    return taken;
  }
  /// @brief How many messages are inside.
  [[nodiscard]] std::size_t qsize() const { return queue_->get_num_msg(); }
  /// @brief How many find room.
  [[nodiscard]] std::size_t maxsize() const { return queue_->get_max_msg(); }
  /// @brief For this process: later calls throw.
  void close() noexcept { closed_ = true; }
  /// @throws std::invalid_argument closed in this process.
  void check_open() const {
    if (closed_) throw std::invalid_argument{"the queue is closed in this process"};
  }

 private:
  using Boost = boost::interprocess::message_queue;

  BoostMessageQueue(std::string name, std::unique_ptr<Boost> queue, int maker)
      : name_{std::move(name)}, queue_{std::move(queue)}, maker_{maker} {}

  template <class Make>
  static std::shared_ptr<BoostMessageQueue> make(const Make& make_it) {
    return translated("making a message_queue", [&] {
      std::uint64_t number = 0;
      std::error_code ec;
      os::random_bytes(std::as_writable_bytes(std::span{&number, 1}), ec);
      if (ec) throw std::system_error{ec, "making a message_queue's name"};
      return make_it("multiprocessing-" + std::to_string(os::process_id()) + "-" +
                     std::to_string(number));
    });
  }
  template <class Call>
  static decltype(std::declval<const Call&>()()) translated(const char* what, const Call& call) {
    try {
      return call();
    } catch (const boost::interprocess::interprocess_exception& error) {
      throw std::system_error{static_cast<int>(error.get_native_error()), std::system_category(),
                              what};
    }
  }

  // So that close() is noticed, and a wait lasts as long as by our clock while nobody sets the
  // other.
  template <class Try>
  bool in_slices(const detail::Deadline& deadline, const Try& attempt) {
    return translated("a message_queue", [&] {
      for (;;) {
        check_open();
        const auto left = deadline.left(os::Bell::longest_sleep);
        const auto end = boost::posix_time::microsec_clock::universal_time() +
                         boost::posix_time::microseconds{
                             std::chrono::duration_cast<std::chrono::microseconds>(left).count()};
        if (attempt(end)) return true;
        if (deadline.passed()) return false;
      }
    });
  }

  std::string name_;
  std::unique_ptr<Boost> queue_;
  int maker_;  // the process that removes the name; 0: none of ours
  std::atomic<bool> closed_{false};
};

}  // namespace multiprocessing
