// SPDX-License-Identifier: BSL-1.0
#include <support/imitated.hpp>
#include <support/processes.hpp>
#include <support/windows/system.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <system_error>

#include <io.h>
#include <tlhelp32.h>
#include <winternl.h>

namespace test {
namespace {

template <class Function>
Function find_in_ntdll(const char* name) {
  void* const address =
      reinterpret_cast<void*>(GetProcAddress(GetModuleHandleW(L"ntdll.dll"), name));
  return reinterpret_cast<Function>(address);
}

// Empty: there is no such handle.
std::string type_of(HANDLE handle) {
  using Query = NTSTATUS(NTAPI*)(HANDLE, int, void*, ULONG, ULONG*);
  static const auto query = find_in_ntdll<Query>("NtQueryObject");
  alignas(std::max_align_t) std::byte memory[1024] = {};
  constexpr int type_information = 2;
  if (query(handle, type_information, memory, sizeof memory, nullptr) < 0) return {};
  const auto& name = *reinterpret_cast<const UNICODE_STRING*>(memory);
  std::string text;
  for (int i = 0; i < name.Length / 2; ++i) text += static_cast<char>(name.Buffer[i]);
  return text;
}

// Where a thread began, which tells whose it is.
std::string start_of(DWORD id) {
  using Query = NTSTATUS(NTAPI*)(HANDLE, int, void*, ULONG, ULONG*);
  static const auto query = find_in_ntdll<Query>("NtQueryInformationThread");
  constexpr int start_address = 9;
  const HANDLE thread = OpenThread(THREAD_QUERY_INFORMATION, FALSE, id);
  if (thread == nullptr) return {};
  void* start = nullptr;
  HMODULE module = nullptr;
  wchar_t path[MAX_PATH] = {};
  query(thread, start_address, &start, sizeof start, nullptr);
  CloseHandle(thread);
  constexpr DWORD flags =
      GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
  if (GetModuleHandleExW(flags, static_cast<LPCWSTR>(start), &module) == 0) return {};
  GetModuleFileNameW(module, path, MAX_PATH);
  return std::filesystem::path{path}.filename().string() + "+" +
         std::to_string(static_cast<char*>(start) - reinterpret_cast<char*>(module));
}

template <class Visit>
void each_process(Visit visit) {
  const HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
  PROCESSENTRY32W entry{};
  entry.dwSize = sizeof entry;
  for (BOOL more = Process32FirstW(snapshot, &entry); more;
       more = Process32NextW(snapshot, &entry)) {
    visit(entry);
  }
  CloseHandle(snapshot);
}

bool has_ended(DWORD pid) {
  const HANDLE process = OpenProcess(SYNCHRONIZE, FALSE, pid);
  if (process == nullptr) return true;
  const bool ended = WaitForSingleObject(process, 0) == WAIT_OBJECT_0;
  CloseHandle(process);
  return ended;
}

}  // namespace

std::vector<ProcessInfo> family() {
  std::vector<ProcessInfo> others;
  each_process([&](const PROCESSENTRY32W& entry) {
    ProcessInfo process;
    process.pid = static_cast<int>(entry.th32ProcessID);
    process.parent = static_cast<int>(entry.th32ParentProcessID);
    for (const wchar_t* c = entry.szExeFile; *c != 0; ++c) process.command += static_cast<char>(*c);
    others.push_back(process);
  });
  std::vector<int> known{own_process_id()};
  std::vector<ProcessInfo> found;
  for (bool more = true; more;) {
    more = false;
    for (auto& process : others) {
      if (process.pid == 0 || process.pid == own_process_id() ||
          std::ranges::find(known, process.parent) == known.end() ||
          has_ended(static_cast<DWORD>(process.pid))) {
        continue;
      }
      known.push_back(process.pid);
      found.push_back(process);
      process.pid = 0;
      more = true;
    }
  }
  return found;
}

void enter_own_group() {
  const HANDLE job = CreateJobObjectW(nullptr, nullptr);  // stays open until this process ends
  JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits{};
  limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
  SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits);
  AssignProcessToJobObject(job, GetCurrentProcess());
}

void end_process(int pid) {
  const HANDLE process =
      OpenProcess(PROCESS_TERMINATE | SYNCHRONIZE, FALSE, static_cast<DWORD>(pid));
  if (process == nullptr) return;
  TerminateProcess(process, 1);
  WaitForSingleObject(process, INFINITE);
  CloseHandle(process);
}

int own_process_id() {
  return static_cast<int>(GetCurrentProcessId());
}

namespace {

// What stands behind 0, 1 and 2 is another handle each time that they are somewhere else meanwhile.
bool is_standard(std::uintptr_t handle) {
  for (const int descriptor : {0, 1, 2}) {
    if (static_cast<std::uintptr_t>(_get_osfhandle(descriptor)) == handle) return true;
  }
  return false;
}

}  // namespace

// Number by number: Wine 8's server dies of a question for the system's whole table, where a
// process is in it that has no handle yet.
std::map<int, std::string> open_descriptors(const std::function<bool(int)>& keep) {
  constexpr int step = 4;   // the numbers between belong to nobody
  constexpr int gap = 128;  // so many in a row have no handle: then none behind them has one
  std::map<int, std::string> found;
  for (int number = step, last = 0; number <= last + step * gap; number += step) {
    const auto handle = static_cast<std::uintptr_t>(number);
    const std::string type = type_of(reinterpret_cast<HANDLE>(handle));
    if (type.empty()) continue;
    last = number;
    // What runtimes make once and keep, as for a disputed mutex; ours come with a section. And what
    // Boost.Interprocess does, and the runtime of each plug-in for the thread that loads it.
    const bool is_the_runtimes = type == "Semaphore" || type == "Event" || type == "Directory" ||
                                 type == "Mutant" || type == "Thread";
    if (!is_standard(handle) && !keep(number) && !is_the_runtimes) found[number] = type;
  }
  return found;
}

std::map<int, std::string> own_threads() {
  std::map<int, std::string> threads;
  const HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
  THREADENTRY32 entry{};
  entry.dwSize = sizeof entry;
  for (BOOL more = Thread32First(snapshot, &entry); more; more = Thread32Next(snapshot, &entry)) {
    if (entry.th32OwnerProcessID == GetCurrentProcessId()) {
      threads[static_cast<int>(entry.th32ThreadID)] = start_of(entry.th32ThreadID);
    }
  }
  CloseHandle(snapshot);
  return threads;
}

std::map<std::string, std::string> shared_names() {
  return {};
}

std::set<std::string> names_held_by_strangers() {
  return {};
}

std::filesystem::path make_temporary_folder() {
  const auto parent = std::filesystem::temp_directory_path();
  for (int number = 0;; ++number) {
    const auto folder = parent / ("multiprocessing." + std::to_string(own_process_id()) + "." +
                                  std::to_string(number));
    if (!std::filesystem::create_directory(folder)) continue;  // a killed one's, with our number
    _wputenv_s(L"TMP", folder.c_str());
    return folder;
  }
}

bool is_imitated() {
  return find_in_ntdll<const char* (*)()>("wine_get_version") != nullptr;
}

void forbid_core_files() {
  SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
}

}  // namespace test
