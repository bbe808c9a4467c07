// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file state.hpp
/// @brief A child's state as bytes and handles, for the methods whose children share no memory with
/// this process.
#include <multiprocessing/callable.hpp>
#include <multiprocessing/detail/type_name.hpp>
#include <multiprocessing/launch/authkey.hpp>
#include <multiprocessing/launch/entry.hpp>
#include <multiprocessing/launch/plan.hpp>
#include <multiprocessing/launch/server.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/process.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/surroundings.hpp>
#include <multiprocessing/reduction.hpp>
#include <multiprocessing/serialization.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief All that a child needs to know before its work, which follows it in the bytes.
struct SpawnedState {
  std::uint64_t magic = expected_magic();
  std::string name;
  std::vector<unsigned> path;
  bool daemon = false;
  int parent = 0;
  std::string parents_name;
  std::string authkey;
  std::optional<StartMethod> start_method;
  LogSettings log;
  ProgramFiles files;
  std::vector<std::byte> preload;
  bool has_forkserver = false;  ///< Its handle is the second, behind the lifeline.
  unsigned forkserver_number = 0;
  std::string forkserver_rights;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> objects;  ///< As Transit::Object.

  static constexpr std::uint64_t expected_magic() { return magic_of("multiprocessing child"); }
  // Written out, here and below: it costs every user's compiler less than finding the fields does.
  template <class Archive>
  void serialize(Archive& archive) {
    archive(magic, name, path, daemon, parent, parents_name, authkey, start_method, log.level,
            log.to_stderr, files.executable, files.program, preload, has_forkserver,
            forkserver_number, forkserver_rights, objects);
  }
};

/// @brief A child's state on its way.
class DepartingState {
 public:
  /// @param is_served by a fork server, which handles() is told.
  /// @throws SerializationError its work cannot travel. std::system_error no handles left.
  explicit DepartingState(const ChildPlan& plan, bool is_served = false) {
    os::install_fork_handlers();
    std::vector<std::byte> work;
    Encoder encoder{work, &transit_};
    plan.reduce(encoder);
    const SpawnedState state = state_for(plan.identity, is_served);
    Encoder head{bytes_};
    encode(head, state);
    bytes_.insert(bytes_.end(), work.begin(), work.end());
  }

  [[nodiscard]] const std::vector<std::byte>& bytes() const noexcept { return bytes_; }
  /// @brief Borrowed.
  [[nodiscard]] std::vector<native_handle_type> handles(
      native_handle_type lifeline, native_handle_type server = os::invalid_handle) const {
    std::vector<native_handle_type> all{lifeline};
    if (server != os::invalid_handle) all.push_back(server);
    all.insert(all.end(), forkserver_.get().begin(), forkserver_.get().end());
    all.insert(all.end(), transit_.departing().begin(), transit_.departing().end());
    return all;
  }

 private:
  [[nodiscard]] SpawnedState state_for(const ChildIdentity& identity, bool is_served) {
    SpawnedState made;
    made.name = identity.name;
    made.path = identity.path;
    made.daemon = identity.daemon;
    made.parent = os::process_id();
    made.authkey = authkey();
    for (const auto& object : transit_.objects()) {
      made.objects.emplace_back(object.kind, object.handles);
    }
    made.files = program_files();
    const ProcessState& state = process_state();
    const std::lock_guard lock{process_state().mutex};
    made.parents_name = state.name;
    made.start_method = state.start_method;
    made.log = state.log;
    made.preload = state.preload;
    made.has_forkserver = is_served || state.forkserver != -1;
    // The child tells its servers apart by it, and 0 is none.
    made.forkserver_number = std::max(1U, state.forkserver_number);
    made.forkserver_rights = is_served ? os::rights() : state.forkserver_rights;
    if (is_served || state.forkserver == -1) return made;
    std::error_code ec;
    forkserver_.add_one([&] {
      return os::UniqueHandle{os::duplicate_handle(os::to_handle(state.forkserver), ec)};
    });
    if (ec) throw std::system_error{ec, "cannot duplicate the fork server's handle"};
    return made;
  }

  std::vector<std::byte> bytes_;
  Transit transit_;
  os::PassingHandles forkserver_;  // none, or one
};

/// @brief Takes a child's state over: this process becomes that child.
class ArrivedState {
 public:
  /// @param bytes live as long as this.
  /// @throws SerializationError another version of the library wrote it.
  ArrivedState(std::span<const std::byte> bytes, std::vector<os::UniqueHandle> handles)
      : decoder_{bytes}, handles_{std::move(handles)} {
    auto state = decode<SpawnedState>(decoder_);
    if (state.magic != SpawnedState::expected_magic() ||
        handles_.size() < (state.has_forkserver ? 2U : 1U)) {
      throw SerializationError{
          "this program was built with another version of the library than the "
          "one that started it"};
    }
    for (const auto& [kind, count] : state.objects) objects_.push_back({kind, count, nullptr});
    {
      ProcessState& ours = process_state();
      const std::lock_guard lock{ours.mutex};
      ours.authkey = std::move(state.authkey);
      ours.start_method = state.start_method;
      ours.preload = std::move(state.preload);
      ours.forkserver_number = state.forkserver_number;
      ours.forkserver_rights = std::move(state.forkserver_rights);
      if (state.has_forkserver) ours.forkserver = os::to_integer(handles_[1].release());
    }
    use_log_settings(state.log);
    use_program_files(std::move(state.files));
    become_child(
        {std::move(state.name), std::move(state.path), state.daemon},
        {state.parent, std::move(state.parents_name), os::to_integer(handles_[0].release()), 0});
    handles_.erase(handles_.begin(), handles_.begin() + (state.has_forkserver ? 2 : 1));
  }

  /// @brief Does the child's work.
  void run() && {
    Transit transit{std::move(objects_), std::move(handles_)};
    const auto work = decoder_.take(decoder_.remaining());
    Decoder decoder{work, &transit};
    log_run();
    run_call(decoder);
  }

 private:
  Decoder decoder_;
  std::vector<os::UniqueHandle> handles_;
  std::vector<Transit::Object> objects_;
};

}  // namespace multiprocessing::detail
