// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file engine.hpp
/// @brief A master's side of a Gearman server: tasks become jobs.
#include <multiprocessing/distributed/engine.hpp>
#include <multiprocessing/distributed/gearman/client.hpp>
#include <multiprocessing/distributed/gearman/job.hpp>
#include <multiprocessing/distributed/gearman/server_connection.hpp>
#include <multiprocessing/distributed/message.hpp>
#include <multiprocessing/network/address.hpp>
#include <multiprocessing/timeout.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief One peer, the server, which has all the workers of all agents.
///
/// A task that the fleet hands out is a job there, and the server gives it to an agent that has
/// room; when that one's connection ends, to another. What an agent says of a job tells that it
/// lives; when nothing was heard for the time of silence, the job counts as lost, whether the
/// server has noticed or not.
class GearmanEngine final : public Engine {
 public:
  GearmanEngine(Address server, gearman::ServerOptions options)
      : server_{std::move(server)}, options_{options} {
    options_.takes_lines = true;
    options_.silence = std::max(options_.silence, least_silence);
  }

  inline std::uint32_t connect() override;
  [[nodiscard]] bool answers_when_it_likes() const noexcept override { return true; }
  inline void send(std::uint32_t peer, std::vector<std::byte> message) override;
  inline EngineEvent poll(Timeout timeout) override;
  void wake() noexcept override { connection_->wake(); }
  void drop(std::uint32_t /*peer*/) noexcept override { is_dropped_ = true; }
  inline void close() noexcept override;

 private:
  using Clock = std::chrono::steady_clock;
  /// How long the server has been listened to: a clock that stands still while the fleet is in a
  /// callback, or this process is stopped. What agents say then lies unread, and is no silence.
  using Listened = std::chrono::nanoseconds;

  struct Job {
    std::uint64_t task = 0;   // 0: to an agent itself
    std::uint64_t agent = 0;  // that has it, or that it is for
    std::string host;         // of that agent; empty: it has not said that it has it
    Listened heard_at{0};     // of the job
    Listened asked_at{0};     // the server, whether somebody has it
    bool is_running = false;  // the server says so, since
    Listened running_since{0};
    bool is_cancelled = false;            // we asked for it
    std::optional<RequestFrame> request;  // to be answered
  };
  // What the server answers in lines, in the order in which it was asked.
  struct Question {
    bool is_status = false;
    std::optional<RequestFrame> request;
  };

  [[nodiscard]] bool is_over() const noexcept { return is_lost_ || is_dropped_; }
  void submit_task(std::span<const std::byte> rest, std::span<const std::byte> message);
  void submit_control(std::uint64_t agent,
                      std::span<const std::byte> message,
                      std::optional<RequestFrame> request = std::nullopt);
  void request(const RequestFrame& frame, std::span<const std::byte> message);
  void leave(std::span<const std::byte> message);
  void cancel(std::uint64_t number, std::optional<RequestFrame> request);
  void cancel_early_ones();

  std::optional<gearman::Packet> listen(Clock::duration longest);
  void handle(gearman::Packet packet);
  void handle_line(std::string_view line);
  void handle_status(std::string_view line);
  void handle_event(gearman::ClientRole::Event event);
  void handle_data(std::uint64_t number, Job& job, std::span<const std::byte> data);
  void complete(std::uint64_t number, std::span<const std::byte> data);
  void submit_again(const Job& job, std::span<const std::byte> message);
  void give_up(std::uint64_t number, const std::string& why);

  void tell(std::vector<std::byte> message);
  void tell_ready();
  void answer(RequestFrame frame, bool yes);
  void tell_outcome(std::uint64_t task, ResultFrame::Outcome outcome, std::string_view words);
  Job take(std::uint64_t number);
  void look_at_clock();
  void watch(std::uint64_t number, Job& job, gearman::PacketWriter& out);
  void lose(const std::string& why);

  static constexpr std::chrono::milliseconds look_for_first{100};
  static constexpr std::chrono::milliseconds look{1000};
  static constexpr std::chrono::seconds look_idle{5};
  static constexpr std::chrono::seconds least_silence{3};  // agents speak every second
  static constexpr std::chrono::seconds unsure{2};         // then the server is asked about a job
  static constexpr std::size_t most_asked = 64;            // jobs, each time
  static constexpr std::chrono::seconds longest_leave{1};

  const Address server_;
  gearman::ServerOptions options_;
  std::optional<gearman::ServerConnection> connection_;
  std::string function_;
  std::uint64_t session_ = 0;
  gearman::ClientRole client_;
  std::uint64_t last_job_ = 0;
  std::map<std::uint64_t, Job> jobs_;
  std::unordered_map<std::uint64_t, std::uint64_t> by_task_;
  std::set<std::uint64_t> agents_;  // that know the session
  std::vector<std::byte> open_message_;
  std::deque<EngineEvent> events_;
  std::deque<Question> questions_;
  std::vector<std::pair<std::uint64_t, RequestFrame>> early_cancels_;  // of jobs without handles

  std::uint32_t counted_ = 0;  // workers, while a status comes
  std::uint32_t workers_ = 0;
  std::uint32_t told_workers_ = 0;
  bool has_workers_ = false;  // it had, once
  bool asks_status_ = false;
  Clock::time_point next_look_;
  Listened listened_{0};
  std::uint64_t watched_to_ = 0;

  bool is_lost_ = false;
  bool is_dropped_ = false;
  std::optional<Clock::time_point> leaves_until_;
  std::vector<std::byte> left_message_;
};

}  // namespace multiprocessing::detail

#include <multiprocessing/distributed/gearman/engine.ipp>
