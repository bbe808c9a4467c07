// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file worker.hpp
/// @brief What a worker of a Gearman server says and understands; no socket.
#include <multiprocessing/distributed/gearman/protocol.hpp>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

namespace multiprocessing::detail::gearman {

/// @brief The worker's side: takes as many jobs at once as it has room for.
///
/// The server gives a job to whoever asks. A worker that gets none says that it sleeps, and is told
/// when there is one; one that is full says nothing, and is asked nothing.
/// @threads one at a time.
class WorkerRole {
 public:
  /// @brief A job that is ours until complete() or fail(), or the end of the connection: then the
  /// server gives it to another.
  struct Job {
    std::string handle;
    std::string function;
    std::string unique;
    Packet packet;  ///< Its data is the job's.
  };

  /// @brief The first words. @param name for the administrator's eyes.
  void begin(PacketWriter& out, std::string_view name) { out.put(Command::set_client_id, {name}); }
  /// @brief Takes jobs of that function too.
  void can_do(PacketWriter& out, std::string_view function) {
    out.put(Command::can_do, {function});
  }
  /// @brief How many jobs it may have at once.
  void set_room(PacketWriter& out, std::size_t jobs) {
    room_ = jobs;
    grab_if_room(out);
  }
  /// @brief How many jobs it has.
  [[nodiscard]] std::size_t held() const noexcept { return held_.size(); }

  /// @brief Whether a job may be on its way.
  [[nodiscard]] bool is_asking() const noexcept { return state_ == State::grabbing; }

  /// @brief The end of a job. @returns false: it is not ours.
  bool complete(PacketWriter& out,
                std::string_view handle,
                std::initializer_list<std::span<const std::byte>> result) {
    if (!let_go(handle)) return false;
    out.put(Command::work_complete, {handle}, result);
    grab_if_room(out);
    return true;
  }
  /// @overload
  bool fail(PacketWriter& out, std::string_view handle) {
    if (!let_go(handle)) return false;
    out.put(Command::work_fail, {handle});
    grab_if_room(out);
    return true;
  }
  /// @brief Says something about a job to the client. @returns false: it is not ours.
  bool say(PacketWriter& out, std::string_view handle, std::span<const std::byte> data) {
    if (!held_.contains(std::string{handle})) return false;
    out.put(Command::work_data, {handle}, {data});
    return true;
  }

  /// @param out gets the answer. @returns a job, if one came.
  /// @throws ConnectionError it does not fit what was sent.
  [[nodiscard]] std::optional<Job> take(Packet packet, PacketWriter& out) {
    switch (packet.command()) {
      case Command::noop:
        if (state_ == State::asleep) state_ = State::idle;
        grab_if_room(out);
        return std::nullopt;
      case Command::no_job:
        if (state_ != State::grabbing) refuse("it has no job for who asked for none");
        out.put(Command::pre_sleep);
        state_ = State::asleep;
        return std::nullopt;
      case Command::job_assign_uniq:
        return assigned(std::move(packet), out);
      case Command::error: {
        const std::string code{packet.argument()};
        // It has given the job to another, or its client has gone: so is the result.
        if (code == "JOB_NOT_FOUND") return std::nullopt;
        const auto text = packet.data();
        refuse("error " + code + ", " +
               std::string{reinterpret_cast<const char*>(text.data()), text.size()});
      }
      default:
        refuse("a packet for clients came to a worker");
    }
  }

 private:
  enum class State { idle, grabbing, asleep };

  void grab_if_room(PacketWriter& out) {
    if (state_ != State::idle || held_.size() >= room_) return;
    out.put(Command::grab_job_uniq);
    state_ = State::grabbing;
  }
  bool let_go(std::string_view handle) { return held_.erase(std::string{handle}) != 0; }
  std::optional<Job> assigned(Packet packet, PacketWriter& out) {
    if (state_ != State::grabbing) refuse("a job came that nobody asked for");
    std::string handle{packet.argument()};
    std::string function{packet.argument()};
    std::string unique{packet.argument()};
    if (!held_.insert(handle).second) refuse("a job came twice");
    state_ = State::idle;
    grab_if_room(out);
    return Job{std::move(handle), std::move(function), std::move(unique), std::move(packet)};
  }

  State state_ = State::idle;
  std::size_t room_ = 0;
  std::unordered_set<std::string> held_;
};

}  // namespace multiprocessing::detail::gearman
