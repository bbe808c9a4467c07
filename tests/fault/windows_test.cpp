// SPDX-License-Identifier: BSL-1.0
// What Windows refuses, call by call: an operation says so, or does without, leaves nothing behind,
// and works the next time. every_call_test.cpp is its like for POSIX. And who sleeps is woken by
// the system, not by his own next look; while nobody sleeps, nobody calls the system.
// wakeup_test.cpp is the like of that.
#if defined(_WIN32)
#  include <support/eventually.hpp>
#  include <support/main.hpp>
#  include <support/windows/system.hpp>

#  include <gtest/gtest.h>

#  include <algorithm>
#  include <atomic>
#  include <cstdlib>
#  include <map>
#  include <mutex>
#  include <new>
#  include <set>
#  include <string>
#  include <system_error>
#  include <thread>
#  include <vector>

#  include <psapi.h>

namespace fault {

// Those of which nobody could tell, or which do not leave the process.
using ::GetCurrentProcess, ::GetCurrentProcessId, ::GetCurrentThread, ::GetCurrentThreadId;
using ::GetLastError, ::SetLastError, ::_putenv_s;

std::mutex guard;
std::map<std::string, int> calls;         // how often each was called that may fail,
std::map<std::string, int> steady_calls;  // and each that cannot, or whose failure is its answer
std::string failing;                      // which call fails,
int failing_turn = 0;                     // at which of its turns,
DWORD failing_with = 0;                   // and how

bool fails(const char* call) {
  const std::lock_guard lock{guard};
  if (++calls[call] != failing_turn || failing != call) return false;
  ::SetLastError(failing_with);
  return true;
}
void count(const char* call) {
  const DWORD error = ::GetLastError();  // which memory's management may change
  {
    const std::lock_guard lock{guard};
    ++steady_calls[call];
  }
  ::SetLastError(error);
}

// A sleep of a thread that says so lasts until it is woken, or so long that nobody would look.
constexpr DWORD no_second_look = 20'000;
thread_local bool sleeps_long = false;
thread_local int woken = 0;      // of this thread's sleeps: by the event,
thread_local int timed_out = 0;  // and by themselves
std::atomic<int> sleepers{0};    // of those that sleep long

DWORD WaitForSingleObject(HANDLE handle, DWORD time) {
  count("WaitForSingleObject");
  if (time == 0 || !sleeps_long) return ::WaitForSingleObject(handle, time);
  ++sleepers;
  const DWORD result = ::WaitForSingleObject(handle, no_second_look);
  --sleepers;
  ++(result == WAIT_OBJECT_0 ? woken : timed_out);
  return result;
}
DWORD WaitForMultipleObjects(DWORD number, const HANDLE* handles, BOOL all, DWORD time) {
  count("WaitForMultipleObjects");
  if (time == 0 || !sleeps_long) return ::WaitForMultipleObjects(number, handles, all, time);
  ++sleepers;
  const DWORD result = ::WaitForMultipleObjects(number, handles, all, no_second_look);
  --sleepers;
  ++(result == WAIT_TIMEOUT ? timed_out : woken);
  return result;
}
void Sleep(DWORD time) {
  count("Sleep");
  if (sleeps_long) ++timed_out;
  ::Sleep(time);
}

// The arguments' types get lost on the way.
#  pragma GCC diagnostic push
#  pragma GCC diagnostic ignored "-Wconversion"
#  pragma GCC diagnostic ignored "-Wsign-conversion"
#  define FAULT_ZERO(name)                           \
    template <class... Argument>                     \
    auto name(Argument... arguments) {               \
      using Result = decltype(::name(arguments...)); \
      if (fails(#name)) return Result{};             \
      return ::name(arguments...);                   \
    }
#  define FAULT_INVALID(name)                        \
    template <class... Argument>                     \
    HANDLE name(Argument... arguments) {             \
      if (fails(#name)) return INVALID_HANDLE_VALUE; \
      return ::name(arguments...);                   \
    }
FAULT_ZERO(CreateEventW)
FAULT_ZERO(CreateFileMappingW)
FAULT_ZERO(CreateJobObjectW)
FAULT_ZERO(CreateProcessW)
FAULT_ZERO(DuplicateHandle)
FAULT_ZERO(GetEnvironmentStringsW)
FAULT_ZERO(InitializeProcThreadAttributeList)
FAULT_ZERO(LoadLibraryExW)
FAULT_ZERO(MapViewOfFile)
FAULT_ZERO(OpenEventW)
FAULT_ZERO(OpenFileMappingW)
FAULT_ZERO(OpenProcess)
FAULT_ZERO(OpenThread)
FAULT_ZERO(SetHandleInformation)
FAULT_ZERO(UpdateProcThreadAttribute)
FAULT_ZERO(VirtualAlloc)
FAULT_ZERO(VirtualQuery)
FAULT_INVALID(CreateFileW)
FAULT_INVALID(CreateNamedPipeW)
#  define FAULT_NONE(name)             \
    template <class... Argument>       \
    auto name(Argument... arguments) { \
      count(#name);                    \
      return ::name(arguments...);     \
    }
FAULT_NONE(CancelIoEx)
FAULT_NONE(CloseHandle)
FAULT_NONE(DeleteProcThreadAttributeList)
FAULT_NONE(FreeEnvironmentStringsW)
FAULT_NONE(FreeLibrary)
FAULT_NONE(GetActiveProcessorCount)
FAULT_NONE(GetConsoleCP)
FAULT_NONE(GetEnvironmentVariableW)
FAULT_NONE(GetExitCodeProcess)
FAULT_NONE(GetFileType)
FAULT_NONE(GetModuleFileNameW)
FAULT_NONE(GetModuleHandleExW)
FAULT_NONE(GetOverlappedResult)
FAULT_NONE(GetProcAddress)
FAULT_NONE(GetProcessAffinityMask)
FAULT_NONE(GetProcessId)
FAULT_NONE(GetProcessTimes)
FAULT_NONE(GetThreadTimes)
FAULT_NONE(K32EnumProcessModules)
FAULT_NONE(MultiByteToWideChar)
FAULT_NONE(PeekNamedPipe)
FAULT_NONE(QueryInformationJobObject)
FAULT_NONE(ReadFile)
FAULT_NONE(ResetEvent)
FAULT_NONE(SetConsoleCtrlHandler)
FAULT_NONE(SetEvent)
FAULT_NONE(SetInformationJobObject)
FAULT_NONE(SwitchToThread)
FAULT_NONE(TerminateProcess)
FAULT_NONE(UnmapViewOfFile)
FAULT_NONE(WideCharToMultiByte)
FAULT_NONE(WriteFile)
#  undef FAULT_NONE
#  undef FAULT_ZERO
#  undef FAULT_INVALID
#  pragma GCC diagnostic pop

}  // namespace fault

#  define MULTIPROCESSING_SYSTEM(call) fault::call
#  include <multiprocessing.hpp>

namespace mp = multiprocessing;
using namespace std::chrono_literals;

void test::start_of_main() {
  mp::freeze_support();
}

namespace {

void use_queue() {
  mp::Queue<int> queue;
  queue.put(1);
  if (queue.get() != 1 || queue.try_get(1ms)) throw std::runtime_error{"another item"};
}
void use_loan() {
  mp::Queue<char> queue;
  auto loan = queue.loan(100'000);
  loan.span()[99'999] = 'x';
  loan.commit();
  if (queue.get_view().span()[99'999] != 'x') throw std::runtime_error{"another item"};
}
void use_locks() {
  mp::RLock lock;
  mp::Semaphore semaphore;
  mp::Condition condition;
  mp::Barrier barrier{1};
  mp::Value<int> value{1};
  const std::scoped_lock guards{lock, semaphore, condition};
  if (condition.wait(1ms) || barrier.wait() != 0U) throw std::runtime_error{"woken"};
  if (value.update([](int& x) { ++x; }) != 2) throw std::runtime_error{"another value"};
}
void use_pipe(bool duplex, std::size_t size) {
  mp::Pipe pipe{duplex};
  pipe.second.send_bytes(std::string(size, 'x'));
  if (!pipe.first.poll() || pipe.first.recv_bytes().size() != size) {
    throw std::runtime_error{"another message"};
  }
}
void send_a_queue() {
  mp::Pipe pipe;
  pipe.first.send(mp::Queue<int>{});
  auto queue = pipe.second.recv<mp::Queue<int>>();
  queue.put(1);
}
void share_memory() {
  mp::SharedMemory memory{{.create = true, .size = 100}};
  mp::SharedMemory{{.name = memory.name()}}.buf()[0] = std::byte{1};
  if (memory.buf()[0] != std::byte{1}) throw std::runtime_error{"another memory"};
}
void run_a_process() {
  mp::Queue<int> queue;
  mp::Process process{[](mp::Queue<int> to) { to.put(7); }, queue};
  process.start();
  process.join();
  if (process.exitcode() != 0 || queue.get() != 7) throw std::runtime_error{"another process"};
}

struct Operation {
  const char* name;
  void (*run)();
  int most_turns = 6;  // what is repeated more often is repeated in the same way
  std::set<std::string> left_out = {};
};
const std::vector<Operation> operations{
    {"Queue", use_queue},
    {"Loan", use_loan},
    {"Locks", use_locks},
    {"OneWayPipe", [] { use_pipe(false, 100); }},
    {"DuplexPipe", [] { use_pipe(true, 100'000); }},
    // Handles that cannot be taken from their sender, or whose message is not read, stay there
    // until it ends.
    {"SendAQueue", send_a_queue, 6, {"CreateEventW", "DuplicateHandle", "OpenProcess"}},
    {"SharedMemory", share_memory},
    {"Process", run_a_process, 1},
};

// Whether it works; not, when it says why.
bool works(const Operation& operation) {
  try {
    operation.run();
    return true;
  } catch (const std::system_error& error) {
    EXPECT_TRUE(error.code()) << error.what();
    return false;
  } catch (const std::bad_alloc&) {
    return false;
  } catch (const mp::ProcessError&) {
    return false;
  }
}

class EveryCall : public testing::TestWithParam<Operation> {
 protected:
  void TearDown() override { fault::failing.clear(); }
};
INSTANTIATE_TEST_SUITE_P(Of, EveryCall, testing::ValuesIn(operations), [](const auto& one) {
  return std::string{one.param.name};
});

TEST_P(EveryCall, ThatWindowsRefusesIsToldAndLeavesNothing) {
  ASSERT_TRUE(works(GetParam()));  // what is made once, is made
  fault::calls.clear();
  ASSERT_TRUE(works(GetParam()));
  int refused = 0;
  for (const auto& [call, made] : std::map<std::string, int>{fault::calls}) {
    if (GetParam().left_out.contains(call)) continue;
    for (int turn = 1; turn <= std::min(made, GetParam().most_turns); ++turn) {
      SCOPED_TRACE(call + ", turn " + std::to_string(turn));
      fault::calls.clear();
      fault::failing = call;
      fault::failing_turn = turn;
      fault::failing_with = ERROR_NOT_ENOUGH_MEMORY;
      refused += works(GetParam()) ? 0 : 1;
      fault::failing.clear();
      EXPECT_TRUE(works(GetParam())) << "the next time";
    }
  }
  EXPECT_GT(refused, 0);
}

// ---- waking ----

// The calls of `act()`, by name.
template <class Act>
std::string calls_of(Act act) {
  fault::calls.clear();
  fault::steady_calls.clear();
  act();
  std::string names;
  for (const auto* all : {&fault::calls, &fault::steady_calls}) {
    for (const auto& [name, number] : *all) names += name + " ";
  }
  return names;
}

// Whether a thread that sleeps in `sleep()` is woken by `act()`, each time that it sleeps.
template <class Sleep, class Act>
void expect_woken(Sleep sleep, Act act) {
  std::thread sleeper{[&] {
    fault::sleeps_long = true;
    sleep();
    fault::sleeps_long = false;
    EXPECT_GT(fault::woken, 0);
    EXPECT_EQ(fault::timed_out, 0);
  }};
  test::eventually([] { return fault::sleepers == 1; });
  act();
  sleeper.join();
}

TEST(WindowsCalls, AreNoneOfALockThatIsFree) {
  mp::Lock lock;
  mp::RLock recursive;
  const auto use = [&] {
    for (const mp::Timeout timeout : {mp::forever, mp::Timeout{1h}, mp::Timeout{0s}}) {
      lock.acquire(timeout);
      static_cast<void>(lock.locked());
      lock.release();
      recursive.acquire(timeout);
      recursive.release();
    }
  };
  use();  // this thread asks once who it is
  EXPECT_EQ(calls_of(use), "");
}

TEST(WindowsCalls, AreNoneOfAnEventThatNobodyWaitsForOrThatIsSet) {
  mp::Event event;
  EXPECT_EQ(calls_of([&] {
              static_cast<void>(event.wait(0s));
              event.set();
              for (const mp::Timeout timeout : {mp::forever, mp::Timeout{1h}, mp::Timeout{0s}}) {
                event.wait(timeout);
              }
              event.clear();
            }),
            "");
}

TEST(WindowsCalls, AreNoneOfASemaphoreThatHasUnits) {
  mp::Semaphore semaphore{2};
  mp::BoundedSemaphore bounded{1};
  const auto use = [&] {
    semaphore.acquire();
    semaphore.release();
    bounded.acquire();
    bounded.release();
    static_cast<void>(semaphore.acquire(0s));
    semaphore.release();
  };
  use();
  EXPECT_EQ(calls_of(use), "");
}

TEST(WindowsCalls, AreNoneOfAQueueThatNobodyWaitsFor) {
  mp::Queue<int> queue{2};
  const auto use = [&] {
    for (int i = 0; i < 100; ++i) {
      queue.put(i);
      EXPECT_EQ(queue.get(), i);
    }
  };
  use();  // pages are committed
  EXPECT_EQ(calls_of(use), "");
}

TEST(WindowsWakeup, OfAConsumerIsPuts) {
  mp::Queue<int> queue;
  expect_woken([&] { queue.get(); }, [&] { queue.put(1); });
  expect_woken([&] { queue.get(); }, [&] { queue.put_many(std::vector{1}); });
}

TEST(WindowsWakeup, OfAProducerIsGets) {
  mp::Queue<int> queue{1};
  queue.put(1);
  expect_woken([&] { queue.put(2); }, [&] { queue.get(); });
  expect_woken([&] { queue.put(3); }, [&] { queue.get_many(1); });
}

TEST(WindowsWakeup, OfWhoWaitsForTasksIsTaskDones) {
  mp::JoinableQueue<int> queue;
  queue.put(1);
  queue.get();
  expect_woken([&] { queue.join(); }, [&] { queue.task_done(); });
}

TEST(WindowsWakeup, OfAllWhoWaitForAQueueIsShutdowns) {
  mp::Queue<int> queue;
  expect_woken([&] { EXPECT_THROW(queue.get(), mp::ShutDown); }, [&] { queue.shutdown(); });
}

TEST(WindowsWakeup, OfWhoWaitsForAnEventIsSets) {
  mp::Event event;
  expect_woken([&] { event.wait(); }, [&] { event.set(); });
}

TEST(WindowsWakeup, OfWhoWaitsForAUnitIsReleases) {
  mp::Semaphore semaphore{0};
  expect_woken([&] { semaphore.acquire(); }, [&] { semaphore.release(); });
}

TEST(WindowsWakeup, OfWhoWaitsAtAConditionIsNotifys) {
  mp::Condition condition;
  const auto wait = [&] {
    const std::lock_guard lock{condition};
    condition.wait();
  };
  expect_woken(wait, [&] {
    const std::lock_guard lock{condition};
    condition.notify();
  });
  expect_woken(wait, [&] {
    const std::lock_guard lock{condition};
    condition.notify_all();
  });
}

TEST(WindowsWakeup, OfWhoWaitsAtABarrierIsTheLastPartys) {
  mp::Barrier barrier{2};
  expect_woken([&] { barrier.wait(); }, [&] { barrier.wait(); });
}

TEST(WindowsWakeup, OfWhoWaitsForALockIsReleases) {
  mp::Lock lock;
  lock.acquire();
  expect_woken(
      [&] {
        lock.acquire();
        lock.release();
      },
      [&] { lock.release(); });
}

TEST(WindowsWakeup, OfWhoWaitsForAMessageIsSends) {
  for (const bool duplex : {false, true}) {
    mp::Pipe pipe{duplex};
    expect_woken([&] { EXPECT_EQ(pipe.first.recv<int>(), 1); }, [&] { pipe.second.send(1); });
  }
}

}  // namespace
#endif
