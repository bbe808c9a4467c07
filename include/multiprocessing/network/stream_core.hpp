// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file stream_core.hpp
/// @brief An end of a stream behind a Connection.
#include <multiprocessing/connection.hpp>
#include <multiprocessing/heap.hpp>
#include <multiprocessing/os/child.hpp>
#include <multiprocessing/os/stream.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

namespace multiprocessing::detail {

/// @brief What lies in shared memory for one end of a stream.
struct StreamBlock {
  static constexpr std::uint64_t expected_magic = 0x316d727453706d21;  // "!mpStrm1"
  static constexpr const char* name = "a Connection";

  std::uint64_t magic;
  os::StreamState state;
};

/// @brief A socket that this process has alone, until it gives it to children that it forks later.
struct OwnSocket {
  os::UniqueHandle socket;
  std::optional<os::KeptFromChildren> kept;  // ends before the socket
};

/// @brief An end of a stream in this process.
class StreamCore final : public ConnectionCore, public std::enable_shared_from_this<StreamCore> {
 public:
  /// @throws std::system_error no handle or memory is left.
  static std::shared_ptr<StreamCore> create(OwnSocket own) {
    auto core = std::make_shared<StreamCore>(std::move(own.socket));
    core->kept_ = std::move(own.kept);
    core->block_.emplace(SharedObject<StreamBlock>::create());
    std::error_code ec;
    core->state().initialise(ec);
    if (ec) throw std::system_error{ec, "making a Connection"};
    core->stream().after_open();
    return core;
  }
  explicit StreamCore(os::UniqueHandle socket)
      : socket_{std::move(socket)},
        born_{process_state().forks.load()},
        forked_{process_state().forked.load()} {}
  ~StreamCore() override {
    if (!closed() && block_) before_close();
  }

  static std::shared_ptr<StreamCore> adopt(std::vector<os::UniqueHandle> handles) {
    if (handles.size() != 1) {
      throw SerializationError{"a Connection arrived without its handles"};
    }
    auto core = std::make_shared<StreamCore>(std::move(handles.front()));
    core->has_travelled_ = true;
    return core;
  }
  /// @brief Children that are forked from now on have it, too.
  void give_to_children() noexcept { kept_.reset(); }

  bool save(Encoder& encoder) override {
    encoder.write_number(kind);
    reduction::save_shared(encoder, shared_from_this(), StreamBlock::name);
    has_travelled_ = true;
    block_->save(encoder);
    return true;
  }
  static std::shared_ptr<ConnectionCore> load(Decoder& decoder) {
    auto core = reduction::load_shared<StreamCore>(decoder);
    auto block = SharedObject<StreamBlock>::load(decoder);
    if (!core->block_) {
      core->block_.emplace(std::move(block));
      core->stream().after_open();
    }
    return core;
  }

 protected:
  [[nodiscard]] native_handle_type handle() const noexcept override { return socket_.get(); }
  os::Outcome do_send(const os::OutgoingMessage& message,
                      const Deadline& deadline,
                      std::error_code& ec) override {
    const bool is_object = message.kind == static_cast<std::uint8_t>(MessageKind::object);
    const auto mark = std::as_bytes(std::span{&object_mark, is_object ? 1U : 0U});
    return stream().send(message.bytes, mark, interrupt(), deadline, ec);
  }
  os::Outcome do_receive(os::IncomingMessage& into,
                         const Deadline& deadline,
                         std::error_code& ec) override {
    return do_receive_at_most(no_limit, into, deadline, ec);
  }
  os::Outcome do_receive_at_most(std::size_t max,
                                 os::IncomingMessage& into,
                                 const Deadline& deadline,
                                 std::error_code& ec) override {
    return stream().receive(static_cast<std::uint8_t>(MessageKind::stream), max, into, interrupt(),
                            deadline, ec);
  }
  os::Outcome do_wait(const Deadline& deadline, std::error_code& ec) override {
    return stream().wait(interrupt(), deadline, ec);
  }
  void do_close() noexcept override {
    before_close();
    kept_.reset();  // the number may be another file's at once
    socket_.reset();
  }

 private:
  static constexpr std::uint8_t kind = 3;  // codec<Connection>::Kind::stream

  [[nodiscard]] os::StreamState& state() const noexcept { return (*block_)->state; }
  [[nodiscard]] os::Stream stream() const noexcept {
    return {socket_.get(), state(), &is_shared, this};
  }
  static bool is_shared(const void* owner) noexcept {
    const auto& core = *static_cast<const StreamCore*>(owner);
    return core.has_travelled_ || process_state().forks.load() != core.born_ ||
           process_state().forked.load() != core.forked_;
  }
  void before_close() const noexcept { stream().before_close(); }

  os::UniqueHandle socket_;
  std::optional<os::KeptFromChildren> kept_;  // ends before the socket
  std::optional<SharedObject<StreamBlock>> block_;
  std::uint32_t born_;    // how many forks lie between the first process and this one,
  std::uint32_t forked_;  // and how many this one had made
  std::atomic<bool> has_travelled_{false};
};

// Every module that can make a stream can also receive one.
[[maybe_unused]] inline const bool streams_can_arrive = [] {
  stream_loader.store(&StreamCore::load);
  return true;
}();

}  // namespace multiprocessing::detail
