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
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

namespace multiprocessing::os {

// All of this but CrashRecorder runs in a signal handler, maybe in a process whose memory is
// damaged: no lock, no memory, and a crash in here still ends the process as the first one would.
namespace posix {

inline constexpr std::array crash_signals{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
inline constexpr std::size_t crash_stack_size = std::size_t{64} << 10U;
// Two seconds; of a process that stands still all that time it is one tick.
inline constexpr int most_ticks = 20;
inline constexpr suseconds_t tick_microseconds = 100'000;

struct Crashes {
  std::atomic<CrashRecord*> record{nullptr};
  std::atomic<int> process{0};  // whose record it is
  std::atomic<int> first{0};    // the signal that is being recorded, and its thread
  std::atomic<pthread_t> thread{};
  std::atomic<int> ticks_left{0};        // until the recording is given up
  std::atomic<pthread_t> maker{};        // who made the recorder, and how deep its stack was:
  std::atomic<std::uintptr_t> depth{0};  // what called that is of no interest
  std::atomic<void*> stack{nullptr};     // for signals; never given back
  std::atomic<bool> is_prepared{false};
};
inline constinit Crashes crashes;

MULTIPROCESSING_INLINE void note_module(CrashRecord::Module& module,
                                        const dl_find_object& found) noexcept {
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

MULTIPROCESSING_INLINE std::uint8_t module_number(CrashRecord& record,
                                                  const dl_find_object& found) noexcept {
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
MULTIPROCESSING_INLINE bool note_frame(CrashRecord& record, std::uintptr_t address) noexcept {
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

MULTIPROCESSING_INLINE _Unwind_Reason_Code on_frame(_Unwind_Context* context, void* data) noexcept {
  auto& walk = *static_cast<Walk*>(data);
  int is_interrupted = 0;  // else the address is the one behind a call
  const std::uintptr_t address = _Unwind_GetIPInfo(context, &is_interrupted);
  const std::uintptr_t frame = _Unwind_GetCFA(context);
  walk.is_outside |= is_interrupted != 0;
  if (walk.record == nullptr) return _URC_NORMAL_STOP;
  if (!walk.is_outside) return _URC_NO_REASON;
  if (address == 0 && is_interrupted == 0) return _URC_NORMAL_STOP;
  constexpr std::uintptr_t near = std::size_t{1} << 20U;  // else it is another stack
  if (crashes.maker == ::pthread_self() && frame - crashes.depth < near) {
    return _URC_NORMAL_STOP;
  }
  return note_frame(*walk.record, is_interrupted != 0 ? address : address - 1) ? _URC_NO_REASON
                                                                               : _URC_NORMAL_STOP;
}

[[nodiscard]] inline bool has_address(const siginfo_t& info) noexcept {
  return (info.si_signo == SIGSEGV || info.si_signo == SIGBUS) && info.si_code > 0 &&
         info.si_code != SI_KERNEL;
}

/// A jump to where no code can run, e.g. through a null pointer to a function: who jumped is known
/// from what the call left on the stack.
class JumpUndone {
 public:
  JumpUndone(CrashRecord& record, const siginfo_t& info, void* context) noexcept
      : place_{static_cast<ucontext_t*>(context)->uc_mcontext}, before_{place_} {
#if defined(__x86_64__)
    const auto to = static_cast<std::uintptr_t>(place_.gregs[REG_RIP]);
    const bool is_no_address = info.si_code == SI_KERNEL && to >> 47U != 0;
    const bool is_no_code =
        has_address(info) && reinterpret_cast<std::uintptr_t>(info.si_addr) == to;
    if (!is_no_address && !is_no_code) return;
    note_frame(record, to);
    std::uintptr_t from = 0;
    read_image(static_cast<std::uintptr_t>(place_.gregs[REG_RSP]), &from, sizeof from);
    place_.gregs[REG_RIP] = static_cast<greg_t>(from - 1);
    place_.gregs[REG_RSP] += greg_t{sizeof from};
#else
    static_cast<void>(record);
    static_cast<void>(info);
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

MULTIPROCESSING_INLINE void note_cause(CrashRecord& record, const siginfo_t& info) noexcept {
  if (has_address(info)) {
    record.subject = reinterpret_cast<std::uintptr_t>(info.si_addr);
    record.cause = CrashRecord::by_address;
  } else if (info.si_code == SI_USER || info.si_code == SI_TKILL || info.si_code == SI_QUEUE) {
    if (info.si_pid == crashes.process) return;
    record.subject = static_cast<std::uint64_t>(info.si_pid);
    record.cause = CrashRecord::by_process;
  }
}

MULTIPROCESSING_INLINE void record_crash(CrashRecord& record,
                                         const siginfo_t& info,
                                         void* context) noexcept {
  record.clear();
  record.code = -info.si_signo;
  note_cause(record, info);
  const JumpUndone jump{record, info, context};
  Walk walk{&record, false};
  _Unwind_Backtrace(&on_frame, &walk);
}

MULTIPROCESSING_INLINE void set_default(int signal) noexcept {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  MULTIPROCESSING_SYSTEM(sigaction)(signal, &action, nullptr);
}

MULTIPROCESSING_INLINE void change_mask(int how, int signal) noexcept {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, signal);
  MULTIPROCESSING_SYSTEM(pthread_sigmask)(how, &set, nullptr);
}

/// Ends the process, with the record as good as it got.
MULTIPROCESSING_INLINE void end_by(int signal) noexcept {
  set_default(signal);
  change_mask(SIG_UNBLOCK, signal);
  static_cast<void>(MULTIPROCESSING_SYSTEM(raise)(signal));
}

/// The unwinder asks for locks and memory where code was registered at run time; damaged memory may
/// make it run in circles.
MULTIPROCESSING_INLINE void limit_time() noexcept {
  crashes.ticks_left = most_ticks;
  struct sigaction action {};
  action.sa_handler = [](int) {
    if (--crashes.ticks_left == 0) end_by(crashes.first);
  };
  MULTIPROCESSING_SYSTEM(sigaction)(SIGALRM, &action, nullptr);
  change_mask(SIG_UNBLOCK, SIGALRM);
  constexpr itimerval each_tick{{0, tick_microseconds}, {0, tick_microseconds}};
  MULTIPROCESSING_SYSTEM(setitimer)(ITIMER_REAL, &each_tick, nullptr);
}

/// When the handler returns: to the interrupted instruction, with what the kernel said of it. The
/// instruction by itself might not do it again.
MULTIPROCESSING_INLINE void send_again(int signal, siginfo_t* info) noexcept {
  change_mask(SIG_BLOCK, signal);
  const long thread = MULTIPROCESSING_SYSTEM(syscall)(SYS_gettid);
  if (MULTIPROCESSING_SYSTEM(syscall)(SYS_rt_tgsigqueueinfo, MULTIPROCESSING_SYSTEM(getpid)(),
                                      thread, signal, info) != 0) {
    static_cast<void>(MULTIPROCESSING_SYSTEM(raise)(signal));
  }
}

MULTIPROCESSING_INLINE void on_crash(int signal, siginfo_t* info, void* context) noexcept {
  const int error = errno;
  int none = 0;
  const bool is_ours = crashes.process == MULTIPROCESSING_SYSTEM(getpid)();
  if (is_ours && crashes.first.compare_exchange_strong(none, signal)) {
    crashes.thread = ::pthread_self();
    limit_time();
    if (CrashRecord* const record = crashes.record) record_crash(*record, *info, context);
  } else if (is_ours && crashes.thread == ::pthread_self()) {
    end_by(none);
  } else if (is_ours) {  // another thread was first: it ends the process when it has said where
    for (;;) MULTIPROCESSING_SYSTEM(poll)(nullptr, 0, -1);
  }
  set_default(signal);
  send_again(signal, info);
  errno = error;
}

/// Where the action is `before`; another one stays.
MULTIPROCESSING_INLINE void replace_action(int signal,
                                           void (*before)(int, siginfo_t*, void*),
                                           const struct sigaction& action) noexcept {
  struct sigaction now {};
  if (MULTIPROCESSING_SYSTEM(sigaction)(signal, &action, &now) != 0) return;
  if (now.sa_sigaction != before) MULTIPROCESSING_SYSTEM(sigaction)(signal, &now, nullptr);
}

/// The stack's lowest page is nobody's: who needs more ends there, and writes over nothing.
MULTIPROCESSING_INLINE void make_crash_stack() noexcept {
  const std::size_t guard = std::size_t{4} << 10U;
  void* const memory = MULTIPROCESSING_SYSTEM(mmap)(nullptr, guard + crash_stack_size, PROT_NONE,
                                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return;
  void* const stack = MULTIPROCESSING_SYSTEM(mmap)(static_cast<std::byte*>(memory) + guard,
                                                   crash_stack_size, PROT_READ | PROT_WRITE,
                                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (stack != MAP_FAILED) crashes.stack = stack;
}

}  // namespace posix

// Not inline: the frame below it is the first that counts.
[[gnu::noinline]] MULTIPROCESSING_INLINE CrashRecorder::CrashRecorder(
    CrashRecord& record) noexcept {
  prepare();
  posix::crashes.first = 0;
  posix::crashes.record = &record;
  posix::crashes.process = MULTIPROCESSING_SYSTEM(getpid)();
  posix::crashes.maker = ::pthread_self();
  posix::crashes.depth = reinterpret_cast<std::uintptr_t>(__builtin_dwarf_cfa());
  stack_t stack{};
  if (posix::crashes.stack != nullptr &&
      MULTIPROCESSING_SYSTEM(sigaltstack)(nullptr, &stack) == 0 &&
      (stack.ss_flags & SS_DISABLE) != 0) {
    stack.ss_flags = 0;
    stack.ss_sp = posix::crashes.stack;
    stack.ss_size = posix::crash_stack_size;
    MULTIPROCESSING_SYSTEM(sigaltstack)(&stack, nullptr);
  }
  struct sigaction action {};
  action.sa_sigaction = &posix::on_crash;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  ::sigfillset(&action.sa_mask);
  ::sigdelset(&action.sa_mask, SIGALRM);
  for (const int signal : posix::crash_signals) ::sigdelset(&action.sa_mask, signal);
  for (const int signal : posix::crash_signals) posix::replace_action(signal, nullptr, action);
}

MULTIPROCESSING_INLINE CrashRecorder::~CrashRecorder() {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  for (const int signal : posix::crash_signals) {
    posix::replace_action(signal, &posix::on_crash, action);
  }
  stack_t stack{};
  if (MULTIPROCESSING_SYSTEM(sigaltstack)(nullptr, &stack) == 0 && stack.ss_sp != nullptr &&
      stack.ss_sp == posix::crashes.stack) {
    stack.ss_flags = SS_DISABLE;
    MULTIPROCESSING_SYSTEM(sigaltstack)(&stack, nullptr);
  }
  posix::crashes.record = nullptr;
}

MULTIPROCESSING_INLINE void CrashRecorder::prepare() noexcept {
  if (posix::crashes.is_prepared) return;
  posix::Walk walk{nullptr, false};
  _Unwind_Backtrace(&posix::on_frame, &walk);  // the loader looks it up now, not in the handler
  dl_find_object found{};
  ::_dl_find_object(reinterpret_cast<void*>(&posix::on_crash), &found);
  stack_t stack{};
  MULTIPROCESSING_SYSTEM(sigaltstack)(nullptr, &stack);
  struct sigaction action {};
  MULTIPROCESSING_SYSTEM(sigaction)(SIGSEGV, nullptr, &action);
  posix::make_crash_stack();
  posix::crashes.is_prepared = true;  // now: another thread may fork meanwhile
}

}  // namespace multiprocessing::os
