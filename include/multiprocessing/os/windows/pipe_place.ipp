// SPDX-License-Identifier: BSL-1.0
#pragma once
// Named pipes as places to listen at and to connect to, as CPython's PipeListener and PipeClient.
#include <multiprocessing/os/message.hpp>
#include <multiprocessing/os/windows/wait.ipp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace multiprocessing::os {

namespace windows {

// Lets nobody in but this user; by default everybody may read.
class OwnersAlone {
 public:
  explicit OwnersAlone(std::error_code& ec) noexcept {
    ec.clear();
    HANDLE opened = nullptr;
    DWORD unused = 0;
    if (MULTIPROCESSING_SYSTEM(OpenProcessToken)(MULTIPROCESSING_SYSTEM(GetCurrentProcess)(),
                                                 TOKEN_QUERY, &opened) == 0) {
      ec = last_error();
      return;
    }
    const UniqueHandle token{opened};
    auto* const list = reinterpret_cast<ACL*>(list_.data());
    if (MULTIPROCESSING_SYSTEM(GetTokenInformation)(
            opened, TokenUser, user_.data(), static_cast<DWORD>(user_.size()), &unused) == 0 ||
        MULTIPROCESSING_SYSTEM(InitializeAcl)(list, static_cast<DWORD>(list_.size()),
                                              ACL_REVISION) == 0 ||
        MULTIPROCESSING_SYSTEM(AddAccessAllowedAce)(
            list, ACL_REVISION, FILE_ALL_ACCESS,
            reinterpret_cast<const TOKEN_USER*>(user_.data())->User.Sid) == 0 ||
        MULTIPROCESSING_SYSTEM(InitializeSecurityDescriptor)(&descriptor_,
                                                             SECURITY_DESCRIPTOR_REVISION) == 0 ||
        MULTIPROCESSING_SYSTEM(SetSecurityDescriptorDacl)(&descriptor_, TRUE, list, FALSE) == 0) {
      ec = last_error();
    }
  }
  [[nodiscard]] SECURITY_ATTRIBUTES attributes() noexcept {
    return {sizeof(SECURITY_ATTRIBUTES), &descriptor_, FALSE};
  }

 private:
  static constexpr std::size_t enough = 256;
  alignas(16) std::array<std::byte, enough> user_{};
  alignas(16) std::array<std::byte, enough> list_{};
  SECURITY_DESCRIPTOR descriptor_{};
};

// An instance of a pipe, to which a client can connect from now on.
MULTIPROCESSING_INLINE UniqueHandle make_instance(const std::wstring& name,
                                                  bool is_first,
                                                  bool is_private,
                                                  std::error_code& ec) noexcept {
  constexpr DWORD size = 1U << 16U;
  std::optional<OwnersAlone> owner;
  SECURITY_ATTRIBUTES attributes{};
  if (is_private) {
    attributes = owner.emplace(ec).attributes();
    if (ec) return {};
  }
  return owned(MULTIPROCESSING_SYSTEM(CreateNamedPipeW)(
                   name.c_str(),
                   PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED |
                       (is_first ? static_cast<DWORD>(FILE_FLAG_FIRST_PIPE_INSTANCE) : 0U),
                   PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_REJECT_REMOTE_CLIENTS,
                   PIPE_UNLIMITED_INSTANCES, size, size, 0, is_private ? &attributes : nullptr),
               ec);
}

// Instances that wait for a client each. The system gives a client the oldest, so that one alone is
// asked about. It forgets what a thread asked when that thread ends, and sets the event.
class PipePlace {
 public:
  PipePlace(std::wstring name, bool is_private, UniqueHandle event)
      : name_{std::move(name)}, is_private_{is_private}, event_{std::move(event)} {}
  PipePlace(const PipePlace&) = delete;
  PipePlace& operator=(const PipePlace&) = delete;
  // The system writes to connect_ as long as it is asked; others may have set the event.
  ~PipePlace() {
    if (!is_pending()) return;
    const HANDLE asked = instances_.front().get();
    reset_event(event_.get());
    MULTIPROCESSING_SYSTEM(CancelIoEx)(asked, &connect_);
    DWORD unused = 0;
    do {
      MULTIPROCESSING_SYSTEM(GetOverlappedResult)(asked, &connect_, &unused, TRUE);
    } while (is_pending());
  }

  // May throw std::bad_alloc.
  void listen(int backlog, std::error_code& ec) {
    constexpr int most = 255;
    for (int i = 0; i <= std::min(backlog, most); ++i) {
      instances_.push_back(make_instance(name_, i == 0, is_private_, ec));
      if (!ec && i == 0 && !is_alone()) ec = as_error(ERROR_PIPE_BUSY);
      if (!ec) continue;
      instances_.pop_back();
      const bool is_taken = ec.value() == ERROR_ACCESS_DENIED || ec.value() == ERROR_PIPE_BUSY;
      if (i == 0 && is_taken) ec = std::make_error_code(std::errc::address_in_use);
      if (i == 0) return;
      break;  // as many as there are handles for
    }
    ask(ec);
  }
  // None: nobody has come. There is never a moment without an instance, or the name would be gone.
  UniqueHandle accept(std::error_code& ec) {
    const std::lock_guard lock{mutex_};
    if (!is_connected(ec)) return {};
    UniqueHandle next = make_instance(name_, false, is_private_, ec);
    if (ec) return {};
    instances_.push_back(std::move(next));
    UniqueHandle taken = std::move(instances_.front());
    instances_.pop_front();
    std::error_code told_by_the_next_call;
    ask(told_by_the_next_call);
    return taken;
  }

 private:
  enum class State { unasked, asked, connected };
  static constexpr ULONG_PTR still_pending = 0x103;

  // Wine lets in a second who wants to be the first.
  [[nodiscard]] bool is_alone() const noexcept {
    DWORD instances = 0;
    return MULTIPROCESSING_SYSTEM(GetNamedPipeHandleStateW)(
               instances_.front().get(), nullptr, &instances, nullptr, nullptr, nullptr, 0) == 0 ||
           instances <= 1;
  }
  [[nodiscard]] ULONG_PTR status() noexcept { return std::atomic_ref{connect_.Internal}.load(); }
  [[nodiscard]] bool is_pending() noexcept {
    return state_ == State::asked && status() == still_pending;
  }
  // Asks again where the answer was none.
  [[nodiscard]] bool is_connected(std::error_code& ec) noexcept {
    ec.clear();
    if (is_pending()) return false;
    if (state_ == State::asked) state_ = status() == 0 ? State::connected : State::unasked;
    if (state_ == State::unasked) ask(ec);
    return state_ == State::connected;
  }
  // A client that has come already, and may be gone again, has left its messages.
  void ask(std::error_code& ec) noexcept {
    ec.clear();
    connect_ = {};
    connect_.hEvent = event_.get();
    DWORD error = ERROR_PIPE_CONNECTED;
    if (MULTIPROCESSING_SYSTEM(ConnectNamedPipe)(instances_.front().get(), &connect_) == 0) {
      error = MULTIPROCESSING_SYSTEM(GetLastError)();
    }
    state_ = State::asked;
    if (error == ERROR_IO_PENDING) return;
    const bool is_here = error == ERROR_PIPE_CONNECTED || error == ERROR_NO_DATA;
    state_ = is_here ? State::connected : State::unasked;
    if (!is_here) ec = as_error(error);
    set_event(event_.get());  // whoever waits is to look
  }

  std::mutex mutex_;
  std::wstring name_;
  bool is_private_;
  UniqueHandle event_;
  OVERLAPPED connect_{};
  State state_ = State::unasked;
  std::deque<UniqueHandle> instances_;
};

MULTIPROCESSING_INLINE UniqueHandle connect_to_pipe(const std::string& path,
                                                    const Interrupt& interrupt,
                                                    const detail::Deadline& deadline,
                                                    Outcome& outcome,
                                                    std::error_code& ec) {
  outcome = Outcome::done;
  ec.clear();
  if (path.find('\0') != std::string::npos) {  // the system would look for what stands before it
    ec = std::make_error_code(std::errc::invalid_argument);
    return {};
  }
  const std::wstring name = to_wide(path);
  for (;;) {
    outcome = Outcome::done;
    UniqueHandle pipe =
        owned(MULTIPROCESSING_SYSTEM(CreateFileW)(
                  name.c_str(), GENERIC_READ | GENERIC_WRITE, 0, nullptr, OPEN_EXISTING,
                  FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, nullptr),
              ec);
    if (!ec) {
      DWORD mode = PIPE_READMODE_MESSAGE;
      if (MULTIPROCESSING_SYSTEM(SetNamedPipeHandleState)(pipe.get(), &mode, nullptr, nullptr) ==
          0) {
        ec = last_error();
        pipe.reset();
      }
      return pipe;
    }
    if (ec.value() == ERROR_FILE_NOT_FOUND || ec.value() == ERROR_PATH_NOT_FOUND) {
      ec = std::make_error_code(std::errc::no_such_file_or_directory);
    }
    if (ec.value() != ERROR_PIPE_BUSY) return {};
    ec.clear();
    outcome = interrupt.is_raised() ? Outcome::interrupted : Outcome::timed_out;
    if (interrupt.is_raised() || deadline.passed()) return {};
    const auto nap = deadline.left(Interrupt::longest_blind_wait);
    MULTIPROCESSING_SYSTEM(WaitNamedPipeW)
    (name.c_str(), std::max<DWORD>(as_milliseconds(nap), 1));
  }
}

// One message, if one is there. None without an error: none is, or, in `ended`, none ever.
MULTIPROCESSING_INLINE std::optional<std::size_t> read_message_now(HANDLE pipe,
                                                                   std::span<std::byte> into,
                                                                   bool& has_more,
                                                                   bool& ended,
                                                                   std::error_code& ec) noexcept {
  ended = false;
  has_more = false;
  Operation read{pipe, ec};
  if (ec) return std::nullopt;
  DWORD error = 0;
  if (MULTIPROCESSING_SYSTEM(ReadFile)(pipe, into.data(), static_cast<DWORD>(into.size()), nullptr,
                                       read.get()) == 0) {
    error = MULTIPROCESSING_SYSTEM(GetLastError)();
  }
  Operation::End end{error, 0};
  if (error == 0 || error == ERROR_IO_PENDING || error == ERROR_MORE_DATA) {
    read.begun();
    end = read.finish();
  }
  has_more = end.error == ERROR_MORE_DATA;
  if (end.error == 0 || has_more) return end.bytes;
  ended = end.error == ERROR_BROKEN_PIPE || end.error == ERROR_PIPE_NOT_CONNECTED;
  if (!ended && end.error != ERROR_OPERATION_ABORTED) ec = as_error(end.error);
  return std::nullopt;
}

}  // namespace windows
}  // namespace multiprocessing::os
