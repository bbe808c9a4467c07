// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file socket_file.hpp
/// @brief Where a Listener listens when nobody says, and the file that an af_unix one makes.
#include <multiprocessing/detail/config.hpp>
#include <multiprocessing/network/address.hpp>
#include <multiprocessing/os/environment.hpp>
#include <multiprocessing/os/process_wide.hpp>
#include <multiprocessing/os/random.hpp>
#include <multiprocessing/os/socket.hpp>
#include <multiprocessing/os/tracker.hpp>
#include <multiprocessing/resource_tracker.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace multiprocessing::detail {

/// @brief A name for a socket that nobody has and nobody can guess.
inline std::string new_socket_name() {
  std::array<std::byte, 16> bytes{};
  std::error_code ec;
  os::random_bytes(bytes, ec);
  if (ec) throw std::system_error{ec, "Listener: cannot make a name"};
  std::string name = "multiprocessing-";
  for (const std::byte one : bytes) {
    constexpr const char* digits = "0123456789abcdef";
    name += digits[std::to_integer<unsigned>(one) >> 4U];
    name += digits[std::to_integer<unsigned>(one) & 15U];
  }
  return name;
}

/// @throws std::invalid_argument this system has no such places. @python{ValueError}
inline void require_family(const char* who, Family family) {
  if (os::has_family(family)) return;
  const std::string name = family == Family::af_pipe ? "AF_PIPE" : "AF_UNIX";
  throw std::invalid_argument{std::string{who} + ": the family " + name +
                              " is not recognized on this system"};
}

/// @throws std::invalid_argument the family does not fit the address, or is not this system's.
inline os::Endpoint place_to_listen(const std::optional<Address>& address,
                                    const std::optional<Family>& family) {
  if (!address) {
    const Family wanted = family.value_or(os::default_family());
    require_family("Listener", wanted);
    switch (wanted) {
      case Family::af_unix:
        return {Family::af_unix,
                (std::filesystem::temp_directory_path() / new_socket_name()).string(), 0, true};
      case Family::af_inet:
        return {Family::af_inet, "127.0.0.1", 0};
      case Family::af_inet6:
        return {Family::af_inet6, "::1", 0};
      case Family::af_pipe:
        return {Family::af_pipe, R"(\\.\pipe\)" + new_socket_name(), 0, true};
    }
  }
  os::Endpoint where = address->endpoint();
  require_family("Listener", where.family);
  if (!family || *family == where.family) return where;
  const bool is_other_internet =
      address->is_internet() && (*family == Family::af_inet || *family == Family::af_inet6);
  if (!is_other_internet || where.family == Family::af_inet6) {
    throw std::invalid_argument{"Listener: the address " + address->to_string() +
                                " is of another family"};
  }
  where.family = *family;
  return where;
}

/// @brief The file of an af_unix address: it goes with remove(), and when this process ends,
/// however it does. Of other addresses: nothing.
class SocketFile {
 public:
  /// @brief Before the file is made.
  /// @throws std::system_error there can be no tracker.
  explicit SocketFile(const os::Endpoint& where) {
    if (where.family != Family::af_unix || where.name.starts_with('\0')) return;
    path_ = std::filesystem::absolute(where.name).string();
    if (os::has_foreign_rights()) return;  // it has no tracker: what it leaves when killed, stays
    track(path_, os::unknown_file);
    is_announced_ = true;
  }
  SocketFile(SocketFile&& other) noexcept
      : path_{std::exchange(other.path_, {})},
        identity_{other.identity_},
        born_{other.born_},
        is_made_{other.is_made_},
        is_announced_{std::exchange(other.is_announced_, false)} {}
  SocketFile(const SocketFile&) = delete;
  SocketFile& operator=(const SocketFile&) = delete;
  SocketFile& operator=(SocketFile&&) = delete;
  ~SocketFile() { remove(); }

  /// @brief It is made now.
  /// @throws std::system_error somebody has taken it away; there can be no tracker.
  void is_there() {
    if (path_.empty()) return;
    is_made_ = true;
    MULTIPROCESSING_STOP_POINT("listener.listens");
    std::error_code ec;
    const os::MemoryIdentity identity = os::file_identity(path_, ec);
    if (ec) throw std::system_error{ec, "Listener: the file " + path_};
    if (!os::has_foreign_rights()) track(path_, identity);
    identity_ = identity;
    MULTIPROCESSING_STOP_POINT("listener.tracked");
    withdraw();
  }
  /// @brief Only in the process that made it, when its socket is closed.
  void remove() noexcept {
    if (path_.empty() || process_state().forks.load() != born_) return;
    std::error_code ignored;
    if (is_made_) os::remove_socket_file(path_, identity_.value_or(os::unknown_file), ignored);
    withdraw();
    if (identity_) untrack(path_, *identity_);
    path_.clear();
  }

 private:
  void withdraw() noexcept {
    if (std::exchange(is_announced_, false)) untrack(path_, os::unknown_file);
  }

  std::string path_;
  std::optional<os::MemoryIdentity> identity_;
  std::uint32_t born_ = process_state().forks.load();
  bool is_made_ = false;
  bool is_announced_ = false;  // to the tracker, as a file that may be made
};

}  // namespace multiprocessing::detail
