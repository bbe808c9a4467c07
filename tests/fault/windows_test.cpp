// SPDX-License-Identifier: BSL-1.0
// What Windows refuses, call by call: an operation says so, or does without, leaves nothing behind,
// and works the next time. every_call_test.cpp is its like for POSIX.
#if defined(_WIN32)
#  include <support/main.hpp>
#  include <support/windows/system.hpp>

#  include <gtest/gtest.h>

#  include <algorithm>
#  include <cstdlib>
#  include <map>
#  include <new>
#  include <set>
#  include <string>
#  include <system_error>
#  include <vector>

#  include <psapi.h>

namespace fault {

// Those that cannot fail, or whose failure is their answer; and of which nobody could tell.
using ::CancelIoEx, ::CloseHandle, ::DeleteProcThreadAttributeList, ::FreeEnvironmentStringsW;
using ::FreeLibrary, ::GetActiveProcessorCount, ::GetConsoleCP, ::GetCurrentProcess;
using ::GetCurrentProcessId, ::GetCurrentThread, ::GetCurrentThreadId, ::GetEnvironmentVariableW;
using ::GetExitCodeProcess, ::WaitForMultipleObjects, ::WaitForSingleObject, ::WideCharToMultiByte;
using ::GetFileType, ::GetLastError, ::GetModuleFileNameW, ::GetModuleHandleExW, ::GetThreadTimes;
using ::GetOverlappedResult, ::GetProcAddress, ::GetProcessAffinityMask, ::GetProcessId;
using ::GetProcessTimes, ::K32EnumProcessModules, ::MultiByteToWideChar, ::PeekNamedPipe;
using ::QueryInformationJobObject, ::ReadFile, ::ResetEvent, ::SetEvent, ::SetLastError, ::Sleep;
using ::SetInformationJobObject, ::SwitchToThread, ::TerminateProcess, ::UnmapViewOfFile;
using ::WriteFile, ::_putenv_s;

std::map<std::string, int> calls;  // how often each was called
std::string failing;               // which call fails,
int failing_turn = 0;              // at which of its turns,
DWORD failing_with = 0;            // and how

bool fails(const char* call) {
  if (++calls[call] != failing_turn || failing != call) return false;
  ::SetLastError(failing_with);
  return true;
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

}  // namespace
#endif
