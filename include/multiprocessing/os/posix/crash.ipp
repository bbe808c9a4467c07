// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/crash.hpp>
#include <multiprocessing/os/posix/elf.ipp>

#include <cerrno>
#include <csignal>
#include <cstring>

#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

namespace multiprocessing::os {

// All of this but CrashRecorder runs in a signal handler, maybe in a process whose memory is
// damaged: no lock, no memory, and a crash in here still ends the process as the first one would.
namespace posix {

inline constexpr std::array crash_signals{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

struct Crashes {
  std::atomic<CrashRecord*> record{nullptr};
  std::atomic<int> process{0};  // whose record it is
  std::atomic<int> first{0};    // the signal that is being recorded, and its thread
  std::atomic<pthread_t> thread{};
  std::atomic<pthread_t> maker{};        // who made the recorder, and how deep its stack was:
  std::atomic<std::uintptr_t> depth{0};  // what called that is of no interest
  std::atomic<bool> has_stack{false};
  std::atomic<bool> is_prepared{false};
};
inline constinit Crashes crashes;
// Without initializer, so that it takes no room in the file.
alignas(16) inline std::array<std::byte, std::size_t{64} << 10U> crash_stack;

inline void note_module(CrashRecord::Module& module, const dl_find_object& found) noexcept {
  module.begin = reinterpret_cast<std::uintptr_t>(found.dlfo_map_start);
  module.id_size = 0;
  const char* const name = found.dlfo_link_map->l_name;
  const std::size_t size = name == nullptr ? 0 : std::strlen(name);
  module.path_size = static_cast<std::uint8_t>(std::min(size, module.path.size()));
  if (size != 0) std::memcpy(module.path.data(), name, module.path_size);
  ElfW(Ehdr) header;
  std::memcpy(&header, found.dlfo_map_start, sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return;
  dl_phdr_info image{};
  image.dlpi_addr = found.dlfo_link_map->l_addr;
  image.dlpi_phdr = reinterpret_cast<const ElfW(Phdr)*>(module.begin + header.e_phoff);
  image.dlpi_phnum = header.e_phnum;
  elf::each_note(image, [&](const elf::Note& note) {
    if (note.owner != "GNU" || note.type != NT_GNU_BUILD_ID) return;
    if (note.descriptor.empty() || note.descriptor.size() >= module.id.size()) return;
    module.id[0] = elf::kind_build_id;
    std::memcpy(&module.id[1], note.descriptor.data(), note.descriptor.size());
    module.id_size = static_cast<std::uint8_t>(1 + note.descriptor.size());
  });
}

inline std::uint8_t module_number(CrashRecord& record, const dl_find_object& found) noexcept {
  const std::uint32_t known = record.modules;
  for (std::uint32_t i = 0; i < known; ++i) {
    if (record.module[i].begin == reinterpret_cast<std::uintptr_t>(found.dlfo_map_start)) {
      return static_cast<std::uint8_t>(i);
    }
  }
  if (known == CrashRecord::most_modules) return CrashRecord::nowhere;
  note_module(record.module[known], found);
  record.modules = known + 1;
  return static_cast<std::uint8_t>(known);
}

/// @returns whether there is room for more.
inline bool note_frame(CrashRecord& record, std::uintptr_t address) noexcept {
  const std::uint32_t at = record.frames;
  if (at >= CrashRecord::most_frames) return false;
  record.offsets[at] = address;
  record.modules_of[at] = CrashRecord::nowhere;
  dl_find_object found{};
  if (::_dl_find_object(reinterpret_cast<void*>(address), &found) == 0) {
    record.modules_of[at] = module_number(record, found);
    if (record.modules_of[at] != CrashRecord::nowhere) {
      record.offsets[at] -= found.dlfo_link_map->l_addr;
    }
  }
  record.frames = at + 1;
  return at + 1 < CrashRecord::most_frames;
}

struct Walk {
  CrashRecord* record;
  bool is_outside;  // of this handler
};

inline _Unwind_Reason_Code on_frame(_Unwind_Context* context, void* data) noexcept {
  auto& walk = *static_cast<Walk*>(data);
  int is_interrupted = 0;  // else the address is the one behind a call
  const std::uintptr_t address = _Unwind_GetIPInfo(context, &is_interrupted);
  walk.is_outside |= is_interrupted != 0;
  if (walk.record == nullptr) return _URC_NORMAL_STOP;
  if (!walk.is_outside) return _URC_NO_REASON;
  if (address == 0 && is_interrupted == 0) return _URC_NORMAL_STOP;
  constexpr std::uintptr_t near = std::size_t{1} << 20U;  // else it is another stack
  if (crashes.maker == ::pthread_self() && _Unwind_GetCFA(context) - crashes.depth < near) {
    return _URC_NORMAL_STOP;
  }
  return note_frame(*walk.record, is_interrupted != 0 ? address : address - 1) ? _URC_NO_REASON
                                                                               : _URC_NORMAL_STOP;
}

/// A jump to where no code is, e.g. through a null pointer to a function: who jumped is known from
/// what the call left on the stack.
class JumpUndone {
 public:
  JumpUndone(CrashRecord& record, void* context) noexcept
      : place_{static_cast<ucontext_t*>(context)->uc_mcontext}, before_{place_} {
#if defined(__x86_64__)
    dl_find_object found{};
    const auto to = static_cast<std::uintptr_t>(place_.gregs[REG_RIP]);
    if (::_dl_find_object(reinterpret_cast<void*>(to), &found) == 0) return;
    note_frame(record, to);
    std::uintptr_t from = 0;
    read_image(static_cast<std::uintptr_t>(place_.gregs[REG_RSP]), &from, sizeof from);
    place_.gregs[REG_RIP] = static_cast<greg_t>(from - 1);
    place_.gregs[REG_RSP] += greg_t{sizeof from};
#else
    static_cast<void>(record);
#endif
  }
  JumpUndone(const JumpUndone&) = delete;
  JumpUndone& operator=(const JumpUndone&) = delete;
  ~JumpUndone() {
    place_ = before_;
  }

 private:
  mcontext_t& place_;
  mcontext_t before_;
};

inline void record_crash(CrashRecord& record, const siginfo_t& info, void* context) noexcept {
  record.clear();
  record.code = -info.si_signo;
  if (info.si_code > 0 && info.si_code != SI_KERNEL &&
      (info.si_signo == SIGSEGV || info.si_signo == SIGBUS)) {
    record.address = reinterpret_cast<std::uintptr_t>(info.si_addr);
    record.has_address = true;
  }
  const JumpUndone jump{record, context};
  Walk walk{&record, false};
  _Unwind_Backtrace(&on_frame, &walk);
}

inline void set_default(int signal) noexcept {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  MULTIPROCESSING_SYSTEM(sigaction)(signal, &action, nullptr);
}

inline void on_crash(int signal, siginfo_t* info, void* context) noexcept {
  const int error = errno;
  int none = 0;
  const bool is_ours = crashes.process == MULTIPROCESSING_SYSTEM(getpid)();
  if (is_ours && crashes.first.compare_exchange_strong(none, signal)) {
    crashes.thread = ::pthread_self();
    if (CrashRecord* const record = crashes.record) record_crash(*record, *info, context);
  } else if (is_ours && crashes.thread == ::pthread_self()) {  // the record is as good as it gets
    set_default(none);
    MULTIPROCESSING_SYSTEM(raise)(none);
  } else if (is_ours) {  // another thread was first: it ends the process when it has said where
    constexpr int moments = 1000;
    for (int i = 0; i < moments; ++i) MULTIPROCESSING_SYSTEM(poll)(nullptr, 0, 1);
  }
  set_default(signal);
  // What the kernel found wrong it finds wrong again; what was sent comes but once.
  if (info->si_code <= 0) MULTIPROCESSING_SYSTEM(raise)(signal);
  errno = error;
}

[[nodiscard]] inline bool has_handler(int signal,
                                      void (*handler)(int, siginfo_t*, void*)) noexcept {
  struct sigaction now {};
  if (MULTIPROCESSING_SYSTEM(sigaction)(signal, nullptr, &now) != 0) return false;
  if (handler == nullptr) return (now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == SIG_DFL;
  return (now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == handler;
}

}  // namespace posix

inline CrashRecorder::CrashRecorder(CrashRecord& record) noexcept {
  prepare();
  posix::crashes.first = 0;
  posix::crashes.record = &record;
  posix::crashes.process = MULTIPROCESSING_SYSTEM(getpid)();
  posix::crashes.maker = ::pthread_self();
  posix::crashes.depth = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  stack_t stack{};
  if (MULTIPROCESSING_SYSTEM(sigaltstack)(nullptr, &stack) == 0 &&
      (stack.ss_flags & SS_DISABLE) != 0) {
    stack.ss_flags = 0;
    stack.ss_sp = posix::crash_stack.data();
    stack.ss_size = posix::crash_stack.size();
    posix::crashes.has_stack = MULTIPROCESSING_SYSTEM(sigaltstack)(&stack, nullptr) == 0;
  }
  struct sigaction action {};
  action.sa_sigaction = &posix::on_crash;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (const int signal : posix::crash_signals) {  // a forked worker's worker has ours already
    if (!posix::has_handler(signal, nullptr)) continue;
    MULTIPROCESSING_SYSTEM(sigaction)(signal, &action, nullptr);
  }
}

inline CrashRecorder::~CrashRecorder() {
  for (const int signal : posix::crash_signals) {
    if (posix::has_handler(signal, &posix::on_crash)) posix::set_default(signal);
  }
  if (posix::crashes.has_stack.exchange(false)) {
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    MULTIPROCESSING_SYSTEM(sigaltstack)(&none, nullptr);
  }
  posix::crashes.record = nullptr;
}

inline void CrashRecorder::prepare() noexcept {
  if (posix::crashes.is_prepared.exchange(true)) return;
  posix::Walk walk{nullptr, false};
  _Unwind_Backtrace(&posix::on_frame, &walk);  // the loader looks it up now, not in the handler
  dl_find_object found{};
  ::_dl_find_object(reinterpret_cast<void*>(&posix::on_crash), &found);
  stack_t stack{};
  MULTIPROCESSING_SYSTEM(sigaltstack)(nullptr, &stack);
  static_cast<void>(posix::has_handler(SIGSEGV, nullptr));
}

}  // namespace multiprocessing::os
