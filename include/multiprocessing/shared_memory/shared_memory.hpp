// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file shared_memory.hpp
/// @brief A segment of shared memory with a name.
#include <multiprocessing/exceptions.hpp>
#include <multiprocessing/logging.hpp>
#include <multiprocessing/os/named_memory.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/random.hpp>
#include <multiprocessing/resource_tracker.hpp>
#include <multiprocessing/serialization.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace multiprocessing {

/// @brief What a SharedMemory is made of.
struct SharedMemoryOptions {
  std::optional<std::string> name = {};  ///< None: one that nobody has, "psm_" and eight digits.
  bool create = false;                   ///< Else it must be there.
  std::size_t size = 0;  ///< In bytes, when it is created; else it is not looked at.
  /// Whether the name goes with its creator. False: it stays until somebody calls unlink().
  bool track = true;
};

namespace detail {

/// @brief What all copies of a segment in one process share.
class SharedMemoryCore {
 public:
  static std::shared_ptr<SharedMemoryCore> create(const SharedMemoryOptions& options);
  static std::shared_ptr<SharedMemoryCore> attach(const std::string& name);
  SharedMemoryCore(const SharedMemoryCore&) = delete;
  SharedMemoryCore& operator=(const SharedMemoryCore&) = delete;
  ~SharedMemoryCore() {
    if (!is_owner()) return;
    std::error_code ignored;  // somebody else removed it
    remove(ignored);
  }

  [[nodiscard]] std::span<std::byte> buf() const {
    if (!memory_) {
      throw std::invalid_argument{"the shared memory \"" + name_ + "\" is closed in this process"};
    }
    return {memory_->data(), memory_->size()};
  }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  void close() noexcept { memory_.reset(); }
  void unlink() {
    std::error_code ec;
    remove(ec);
    if (ec) throw std::system_error{ec, "cannot remove the shared memory \"" + name_ + "\""};
  }

 private:
  SharedMemoryCore(std::string name, os::NamedMemory memory, bool owns)
      : name_{std::move(name)},
        memory_{std::move(memory)},
        size_{memory_->size()},
        identity_{memory_->identity()},
        owns_{owns},
        forks_{process_state().forks} {}

  static std::string checked(std::string name) {
    name.erase(0, name.find_first_not_of('/'));  // Python's names on POSIX begin with one
    if (name.find('\0') == std::string::npos) return name;
    throw std::invalid_argument{"the name of a shared memory contains a NUL"};
  }
  static std::string random_name();
  static os::NamedMemory create_named(const std::string& name,
                                      const SharedMemoryOptions& options,
                                      std::error_code& ec);

  // A copy that a fork made owns nothing.
  [[nodiscard]] bool is_owner() const noexcept { return owns_ && forks_ == process_state().forks; }
  void remove(std::error_code& ec) noexcept {
    os::remove_named_memory(name_, identity_, ec);
    if (ec && ec != std::errc::no_such_file_or_directory) return;  // it is there still, and tracked
    if (is_owner()) untrack(name_, identity_);
    owns_ = false;
  }

  std::string name_;
  std::optional<os::NamedMemory> memory_;
  std::size_t size_;
  os::MemoryIdentity identity_;
  std::atomic<bool> owns_;
  std::uint32_t forks_;
};

inline std::string SharedMemoryCore::random_name() {
  std::array<std::byte, 4> bytes{};
  std::error_code ec;
  os::random_bytes(bytes, ec);
  if (ec) throw std::system_error{ec, "cannot find a name for shared memory"};
  std::string name = "psm_";
  for (const std::byte byte : bytes) {
    for (const auto digit : {byte >> 4U, byte & std::byte{15}}) {
      name += "0123456789abcdef"[std::to_integer<unsigned>(digit)];
    }
  }
  return name;
}

inline os::NamedMemory SharedMemoryCore::create_named(const std::string& name,
                                                      const SharedMemoryOptions& options,
                                                      std::error_code& ec) {
  std::optional<os::MemoryIdentity> announced;
  bool had_died = false;
  auto made = os::NamedMemory::create(
      name, options.size,
      [&](const os::MemoryIdentity& identity) {
        if (options.track) had_died = track(name, identity);
        announced = identity;
      },
      ec);
  if (ec && announced && options.track) untrack(name, *announced);
  if (had_died) {
    log(LogLevel::warning,
        "the resource tracker died unexpectedly, and was started again: names may have stayed");
  }
  return made;
}

inline std::shared_ptr<SharedMemoryCore> SharedMemoryCore::create(
    const SharedMemoryOptions& options) {
  if (options.size == 0) throw std::invalid_argument{"shared memory is created with a size"};
  if (options.size > std::numeric_limits<std::size_t>::max() / 2) {
    throw std::invalid_argument{"the size of shared memory is negative, or beyond all memory"};
  }
  const bool has_name = options.name.has_value();
  std::string name = has_name ? checked(*options.name) : random_name();
  std::error_code ec;
  auto made = create_named(name, options, ec);
  while (ec == std::errc::file_exists && !has_name) {
    name = random_name();
    made = create_named(name, options, ec);
  }
  if (ec)
    throw std::system_error{
        ec, "cannot create the shared memory \"" + name + "\" in " + os::place_of_named_memory()};
  return std::shared_ptr<SharedMemoryCore>{
      new SharedMemoryCore{std::move(name), std::move(made), options.track}};
}

inline std::shared_ptr<SharedMemoryCore> SharedMemoryCore::attach(const std::string& name) {
  std::string its_name = checked(name);
  std::error_code ec;
  auto opened = os::NamedMemory::open(its_name, ec);
  if (ec)
    throw std::system_error{ec, "cannot attach to the shared memory \"" + its_name + "\" in " +
                                    os::place_of_named_memory()};
  if (opened.size() == 0) {
    throw std::invalid_argument{"the shared memory \"" + its_name + "\" in " +
                                os::place_of_named_memory() + " is empty"};
  }
  return std::shared_ptr<SharedMemoryCore>{
      new SharedMemoryCore{std::move(its_name), std::move(opened), false}};
}

}  // namespace detail

/// @brief A segment of shared memory that any process of this user finds by its name, also one
/// that runs Python: CPython's SharedMemory of that name is the same memory.
/// @python{multiprocessing.shared_memory.SharedMemory(name=None, create=False, size=0)}
///
/// A handle: copies in this process are the same segment; sent to another process, it attaches
/// there. The process that creates it owns the name: that goes by unlink(), with the last copy
/// there, or, within a second, when that process dies, with a line on its error output that says
/// so. Who attaches owns nothing. The memory itself lives as long as somebody has it.
///
/// On POSIX it is for its creator's user alone (mode 0600), but who attaches takes what has the
/// name: where users distrust each other, another one may have taken the name first, and may read,
/// write and cut that memory. A name that is made up is not guessed.
/// @code
/// mp::SharedMemory shared{{.create = true, .size = 1024}};
/// shared.buf()[0] = std::byte{5};
/// // elsewhere, knowing shared.name():
/// mp::SharedMemory same{{.name = name}};
/// @endcode
/// Differences from Python: there a segment stays until somebody calls unlink(); an attaching
/// process used to remove it, too, at its end; creating commits no memory, so that an access may be
/// killed by SIGBUS. Where nothing but processes of this program share, RawArray needs no name.
/// @shape POSIX: `size()` is what was asked for; a file in /dev/shm. Windows: whole pages.
/// @threads any, at once, but not beside close().
/// @processes any, at once.
class SharedMemory {
 public:
  /// @throws std::invalid_argument to be created without a size, or to be attached to without a
  /// name, or while it is empty; a NUL in the name. std::system_error: EEXIST, the name is taken;
  /// ENOENT, there is no such segment; what the system says: ENOSPC, ENOMEM, EACCES, EINVAL,
  /// ENAMETOOLONG.
  explicit SharedMemory(const SharedMemoryOptions& options) {
    if (!options.create && !options.name) {
      throw std::invalid_argument{"shared memory is created, or attached to by its name"};
    }
    core_ = options.create ? detail::SharedMemoryCore::create(options)
                           : detail::SharedMemoryCore::attach(*options.name);
  }
  SharedMemory(const SharedMemory&) = default;
  SharedMemory& operator=(const SharedMemory&) = default;
  ~SharedMemory() = default;

  /// @brief The memory itself, until close() or the end of the last copy.
  /// @throws std::invalid_argument closed.
  [[nodiscard]] std::span<std::byte> buf() const { return core_->buf(); }
  /// @brief By which others find it, without a slash in front.
  [[nodiscard]] const std::string& name() const noexcept { return core_->name(); }
  /// @brief How long buf() is. @units Bytes; as it was asked for on Linux.
  [[nodiscard]] std::size_t size() const noexcept { return core_->size(); }
  /// @brief Unmaps it here, for all copies in this process; what buf() gave is gone. The name
  /// stays.
  void close() noexcept { core_->close(); }
  /// @brief Takes the name away, also if another process made it. Windows: nothing happens; the
  /// name goes with the last copy in any process.
  /// @throws std::system_error ENOENT: there is no such segment any more.
  void unlink() { core_->unlink(); }

 private:
  std::shared_ptr<detail::SharedMemoryCore> core_;
};

/// @brief A segment travels as its name.
template <>
struct codec<SharedMemory> {
  static void encode(Encoder& encoder, const SharedMemory& memory) {
    detail::encode<std::string>(encoder, memory.name());
  }
  /// @throws std::system_error ENOENT: it has been unlinked meanwhile.
  static SharedMemory decode(Decoder& decoder) {
    return SharedMemory{{.name = detail::decode<std::string>(decoder)}};
  }
};

}  // namespace multiprocessing
