// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file client.hpp
/// @brief What a client of a Gearman server says and understands; no socket.
#include <multiprocessing/distributed/gearman/protocol.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace multiprocessing::detail::gearman {

/// @brief The client's side: jobs with numbers of ours, and what is said about them.
///
/// A server confirms jobs in the order in which they were submitted, and gives each a handle, by
/// which it calls them from then on. A job that is forgotten, or has come to its end, is nobody's:
/// what is still said about its handle is passed over.
/// @threads one at a time.
class ClientRole {
 public:
  /// @brief What a packet said.
  struct Event {
    enum class Kind {
      complete,  ///< The job's result is `packet`'s data; its end.
      failed,    ///< The server gave up, for workers died with it; its end.
      refused,   ///< The server did not take it, and `packet`'s data says why; its end.
      data,      ///< Its worker says `packet`'s data.
      status,    ///< `is_known`, `is_running`.
    };
    Kind kind;
    std::uint64_t job;
    Packet packet;
    bool is_known = false;    ///< The server has the job.
    bool is_running = false;  ///< A worker has it.
  };

  /// @brief Submits a job. @param unique tells it from all others of that function, or two become
  /// one.
  void submit(PacketWriter& out,
              std::uint64_t job,
              std::string_view function,
              std::string_view unique,
              std::initializer_list<std::span<const std::byte>> data) {
    out.put(Command::submit_job, {function, unique}, data);
    unconfirmed_.push_back(job);
  }
  /// @brief Asks for a status event. @returns false: the job has no handle yet, or no more.
  bool ask_status(PacketWriter& out, std::uint64_t job) {
    const auto found = handles_.find(job);
    if (found == handles_.end()) return false;
    out.put(Command::get_status, {found->second});
    return true;
  }
  /// @brief What the server calls a job; empty: it has not said yet, or says no more.
  [[nodiscard]] std::string_view handle_of(std::uint64_t job) const {
    const auto found = handles_.find(job);
    return found == handles_.end() ? std::string_view{} : found->second;
  }
  /// @brief No more events of that job.
  void forget(std::uint64_t job) {
    for (auto& each : unconfirmed_) {
      if (each == job) each = nobody;
    }
    const auto found = handles_.find(job);
    if (found == handles_.end()) return;
    jobs_.erase(found->second);
    handles_.erase(found);
  }
  [[nodiscard]] std::size_t open() const noexcept { return unconfirmed_.size() + jobs_.size(); }

  /// @returns none: nothing that anybody waits for.
  /// @throws ConnectionError it does not fit what was sent.
  [[nodiscard]] std::optional<Event> take(Packet packet) {
    switch (packet.command()) {
      case Command::job_created:
        confirm(packet.last_argument());
        return std::nullopt;
      case Command::error:
        return refused(std::move(packet));
      case Command::work_fail:
        return about(Event::Kind::failed, packet.last_argument(), std::move(packet));
      case Command::work_complete:
        return about(Event::Kind::complete, packet.argument(), std::move(packet));
      case Command::work_data:
        return about(Event::Kind::data, packet.argument(), std::move(packet));
      case Command::status_res:
        return status(std::move(packet));
      default:
        refuse("a packet for workers came to a client");
    }
  }

 private:
  static constexpr std::uint64_t nobody = ~std::uint64_t{0};

  std::uint64_t first_unconfirmed(const char* what) {
    if (unconfirmed_.empty()) refuse(what);
    const std::uint64_t job = unconfirmed_.front();
    unconfirmed_.pop_front();
    return job;
  }
  void confirm(std::string_view handle) {
    const std::uint64_t job = first_unconfirmed("it confirms a job that nobody submitted");
    if (job == nobody) return;
    if (!jobs_.emplace(handle, job).second) refuse("two jobs have one handle");
    handles_.emplace(job, handle);
  }
  std::optional<Event> refused(Packet packet) {
    const std::string code{packet.argument()};
    if (unconfirmed_.empty()) {
      const auto text = packet.data();
      refuse("error " + code + ", " +
             std::string{reinterpret_cast<const char*>(text.data()), text.size()});
    }
    const std::uint64_t job = first_unconfirmed("");
    if (job == nobody) return std::nullopt;
    return Event{Event::Kind::refused, job, std::move(packet)};
  }
  // The handle is a part of the packet, whose bytes stay where they are when it is moved.
  std::optional<Event> about(Event::Kind kind, std::string_view handle, Packet&& packet) {
    const auto found = jobs_.find(std::string{handle});
    if (found == jobs_.end()) return std::nullopt;
    const std::uint64_t job = found->second;
    if (kind == Event::Kind::complete || kind == Event::Kind::failed) {
      handles_.erase(job);
      jobs_.erase(found);
    }
    return Event{kind, job, std::move(packet)};
  }
  std::optional<Event> status(Packet packet) {
    const std::string_view handle = packet.argument();
    const bool is_known = packet.argument() == "1";
    const bool is_running = packet.argument() == "1";
    auto event = about(Event::Kind::status, handle, std::move(packet));
    if (event) {
      event->is_known = is_known;
      event->is_running = is_running;
    }
    return event;
  }

  std::deque<std::uint64_t> unconfirmed_;
  std::unordered_map<std::string, std::uint64_t> jobs_;
  std::unordered_map<std::uint64_t, std::string> handles_;
};

}  // namespace multiprocessing::detail::gearman
