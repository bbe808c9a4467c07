// SPDX-License-Identifier: BSL-1.0
// Not on Windows: a crash leaves no trace there.
// What crashes leave in a record that no worker has by itself, and that the process ends all the
// same: seen from a parent that has forked.
#include <multiprocessing/os/crash.hpp>
#include <multiprocessing/workers/crash_text.hpp>

#include <support/forked.hpp>

#include <gtest/gtest.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <new>
#include <string>
#include <thread>

#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <unistd.h>

namespace os = multiprocessing::os;

// NOLINTNEXTLINE(bugprone-reserved-identifier): libgcc's name
extern "C" void __register_frame(void* frames);

// With names, and not where the compiler may put them into others.
namespace crashes {

int data = 7;
void (*volatile target)() = nullptr;

[[gnu::noinline]] int jumps(int x) {
  target();
  return x + data;
}
[[gnu::noinline]] void is_never_called() {
  data = 8;
}
[[gnu::noinline]] int gives_up() {
  std::abort();
}
// Their frames have nothing but a return address.
[[gnu::noinline]] int calls_what_gives_up() {
  return gives_up() + 1;
}

// What a compiler of code at run time registers: the unwinder then asks for memory.
void register_frames() {
  void* frames = nullptr;
  ::dl_iterate_phdr(
      [](dl_phdr_info* image, std::size_t, void* found) {
        for (int i = 0; i < image->dlpi_phnum; ++i) {
          if (image->dlpi_phdr[i].p_type != PT_GNU_EH_FRAME) continue;
          auto* const header =
              reinterpret_cast<char*>(image->dlpi_addr) + image->dlpi_phdr[i].p_vaddr;
          std::int32_t offset = 0;
          std::memcpy(&offset, header + 4, sizeof offset);
          *static_cast<void**>(found) = header + 4 + offset;
        }
        return 1;
      },
      &frames);
  __register_frame(frames);
}
// malloc sees it, and gives up with its lock held.
void gives_up_in_malloc() {
  std::thread{[] { ::poll(nullptr, 0, -1); }}.detach();  // without threads it locks nothing
  auto* memory = static_cast<char*>(std::malloc(60'000));
  asm volatile("" : "+r"(memory));
  std::memset(memory + 60'000, 0x41, 64);
  for (int i = 0; i < 1000; ++i) {
    auto* more = std::malloc(50'000);
    asm volatile("" : "+r"(more));
  }
}

}  // namespace crashes

namespace {

struct Death {
  int code;
  std::string text;
};

class CrashRecord : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer handles these signals";
#endif
    void* const memory = ::mmap(nullptr, sizeof(os::CrashRecord), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    record = new (memory) os::CrashRecord{};
  }
  void TearDown() override {
    if (record != nullptr) ::munmap(record, sizeof *record);
  }

  template <class Crash>
  test::Forked start(Crash crash) {
    record->clear();
    os::CrashRecorder::prepare();
    return test::Forked{[&] {
      const os::CrashRecorder recorder{*record};
      crash();
    }};
  }
  Death end_of(test::Forked& child) {
    const int code = child.join();
    const auto trace = os::read_crash(*record, code);
    return {code, trace ? multiprocessing::detail::crash_text(*trace) : ""};
  }
  template <class Crash>
  Death death_by(Crash crash) {
    auto child = start(crash);
    return end_of(child);
  }

  os::CrashRecord* record = nullptr;
};

TEST_F(CrashRecord, BeginsWithWhatTheMakerCalled) {
  const Death death = death_by([] { crashes::calls_what_gives_up(); });
  EXPECT_EQ(death.code, -SIGABRT);
  EXPECT_NE(death.text.find("calls_what_gives_up"), std::string::npos) << death.text;
  EXPECT_NE(death_by(crashes::calls_what_gives_up).text.find("calls_what_gives_up"),
            std::string::npos);
}

TEST_F(CrashRecord, OfAJumpIntoDataNamesWhoJumped) {
  const Death death = death_by([] {
    crashes::target = reinterpret_cast<void (*)()>(&crashes::data);
    return crashes::jumps(1);
  });
  EXPECT_EQ(death.code, -SIGSEGV);
  EXPECT_NE(death.text.find("crashes::jumps(int)"), std::string::npos) << death.text;
}

TEST_F(CrashRecord, OfCodeWithoutAFileNamesNobodyElse) {
  const Death death = death_by([] {
    constexpr std::array<unsigned char, 5> code{0x57, 0x31, 0xC0, 0x8B, 0x00};  // push; read null
    void* const memory =
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    std::memcpy(memory, code.data(), code.size());
    ::mprotect(memory, 4096, PROT_READ | PROT_EXEC);
    reinterpret_cast<void (*)(char*)>(memory)(reinterpret_cast<char*>(&crashes::is_never_called) +
                                              1);
  });
  EXPECT_EQ(death.code, -SIGSEGV);
  EXPECT_NE(death.text.find("memory address 0x0,"), std::string::npos) << death.text;
  EXPECT_NE(death.text.find("  ? (0x"), std::string::npos) << death.text;
  EXPECT_EQ(death.text.find("is_never_called"), std::string::npos) << death.text;
}

// The kernel's word for it, and yet nothing that happens again by itself.
TEST_F(CrashRecord, OfASignalThatComesButOnceEndsTheProcess) {
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
    const Death death = death_by([&] {
      siginfo_t info{};
      info.si_signo = signal;
      info.si_code = 5;
      ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), ::getpid(), signal, &info);
    });
    EXPECT_EQ(death.code, -signal);
    EXPECT_NE(death.text, "");
  }
}

// A core dump shows the state in which the signal comes for the last time.
TEST_F(CrashRecord, IsMadeBeforeTheSignalComesAgainToTheSamePlace) {
  auto child = start([] {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0) crashes::gives_up();
  });
  std::array<user_regs_struct, 2> places{};
  std::array<siginfo_t, 2> infos{};
  for (std::size_t i = 0; i < 2; ++i) {
    int status = 0;
    ASSERT_EQ(::waitpid(child.pid(), &status, 0), child.pid());
    if (WIFEXITED(status)) GTEST_SKIP() << "nobody may be traced here";
    ASSERT_TRUE(WIFSTOPPED(status) && WSTOPSIG(status) == SIGABRT) << status;
    ::ptrace(PTRACE_GETREGS, child.pid(), nullptr, &places[i]);
    ::ptrace(PTRACE_GETSIGINFO, child.pid(), nullptr, &infos[i]);
    EXPECT_EQ(record->code, i == 0 ? 0 : -SIGABRT);
    ::ptrace(PTRACE_CONT, child.pid(), nullptr, SIGABRT);
  }
  EXPECT_EQ(places[0].rip, places[1].rip);
  EXPECT_EQ(places[0].rsp, places[1].rsp);
  EXPECT_EQ(infos[0].si_code, infos[1].si_code);
  EXPECT_EQ(infos[0].si_pid, infos[1].si_pid);
  EXPECT_EQ(end_of(child).code, -SIGABRT);
}

TEST_F(CrashRecord, OfASignalFromOutsideSaysWhoSentIt) {
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe2(ready.data(), O_CLOEXEC), 0);
  auto child = start([&] {
    static_cast<void>(!::write(ready[1], "r", 1));
    for (;;) ::pause();
  });
  char byte = 0;
  EXPECT_EQ(::read(ready[0], &byte, 1), 1);
  ::kill(child.pid(), SIGSEGV);
  const Death death = end_of(child);
  ::close(ready[0]);
  ::close(ready[1]);
  EXPECT_EQ(death.code, -SIGSEGV);
  EXPECT_TRUE(death.text.starts_with("Process " + std::to_string(::getpid()) +
                                     " sent the signal; it was at, most recent call first:\n"))
      << death.text;
}

TEST_F(CrashRecord, IsMadeWhereTheDefaultHasFlags) {
  auto child = test::Forked{[&] {
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGABRT, &action, nullptr);
    const os::CrashRecorder recorder{*record};
    crashes::gives_up();
  }};
  EXPECT_NE(end_of(child).text, "");
}

TEST_F(CrashRecord, GoesWithoutTheStackThatTheProgramSet) {
  auto child = test::Forked{[&] {
    std::array<std::byte, 16384> memory{};
    stack_t stack{};
    stack.ss_sp = memory.data();
    stack.ss_size = memory.size();
    {
      const os::CrashRecorder recorder{*record};
      ASSERT_EQ(::sigaltstack(&stack, nullptr), 0);
    }
    ASSERT_EQ(::sigaltstack(nullptr, &stack), 0);
    EXPECT_EQ(stack.ss_sp, memory.data());
    EXPECT_EQ(stack.ss_flags & SS_DISABLE, 0);
  }};
  EXPECT_EQ(child.join(), 0);
}

TEST_F(CrashRecord, DoesNotKeepAProcessThatWaitsForItsOwnLock) {
  const Death death = death_by([] {
    crashes::register_frames();
    crashes::gives_up_in_malloc();
  });
  EXPECT_EQ(death.code, -SIGABRT);
}

TEST(CrashText, WaitsForNoFileThatIsNone) {
  std::string folder = (std::filesystem::temp_directory_path() / "multiprocessing.XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const std::string text = "  ? (" + path + " + 0x1)\n";
  for (const os::ModuleId& id : {os::ModuleId{}, os::ModuleId{std::byte{'B'}, std::byte{1}}}) {
    const os::CrashTrace trace{{{path, id, false, 1}}};
    EXPECT_TRUE(multiprocessing::detail::crash_text(trace).ends_with(text));
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
