// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/spawn.hpp>
#include <multiprocessing/os/windows/output.ipp>
#include <multiprocessing/os/windows/process.ipp>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <cwchar>
#include <memory>

namespace multiprocessing::os {

namespace windows {

// "<job> <section> <size>": two handles as numbers, and the bytes in the section.
inline constexpr const wchar_t* child_variable = L"MULTIPROCESSING_CHILD";

// What the section begins with; the handles' numbers come behind it, and then the state.
struct SpawnHeader {
  static constexpr std::uint64_t right_magic = 0x316e77617073706dU;

  std::uint64_t magic;
  std::uint64_t handles;
  std::uint64_t size;  // of the state
};

// In a spawned child, until die_with_parent(): the job that it was born in.
inline UniqueHandle job_of_birth;

MULTIPROCESSING_INLINE UniqueHandle inheritable(HANDLE handle, std::error_code& ec) noexcept {
  const HANDLE self = MULTIPROCESSING_SYSTEM(GetCurrentProcess)();
  HANDLE copy = nullptr;
  if (MULTIPROCESSING_SYSTEM(DuplicateHandle)(self, handle, self, &copy, 0, TRUE,
                                              DUPLICATE_SAME_ACCESS) == 0) {
    ec = last_error();
    return {};
  }
  return UniqueHandle{copy};
}

MULTIPROCESSING_INLINE void forbid_inheriting(HANDLE handle) noexcept {
  MULTIPROCESSING_SYSTEM(SetHandleInformation)(handle, HANDLE_FLAG_INHERIT, 0);
}

// Bytes of this process while it has them.
class View {
 public:
  View(HANDLE section, std::size_t size, std::error_code& ec) noexcept
      : begin_{static_cast<std::byte*>(
            MULTIPROCESSING_SYSTEM(MapViewOfFile)(section, FILE_MAP_WRITE, 0, 0, size))} {
    if (begin_ == nullptr) ec = last_error();
  }
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  ~View() {
    if (begin_ != nullptr) MULTIPROCESSING_SYSTEM(UnmapViewOfFile)(begin_);
  }
  [[nodiscard]] std::byte* data() const noexcept { return begin_; }

 private:
  std::byte* begin_;
};

// The handles that a process is born with: copies, made to be inherited by it alone.
class Dowry {
 public:
  HANDLE add(HANDLE handle, std::error_code& ec) {
    if (ec || handle == nullptr || handle == invalid_handle) return nullptr;
    copies_.push_back(inheritable(handle, ec));
    if (ec) return nullptr;
    values_.push_back(copies_.back().get());
    return values_.back();
  }
  // Its standard output and error are ours as they are.
  HANDLE add_output(int number, std::error_code& ec) { return add(output_of(number), ec); }
  HANDLE add_empty_input(std::error_code& ec) {
    const UniqueHandle nowhere = owned(MULTIPROCESSING_SYSTEM(CreateFileW)(
                                           L"NUL", GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE,
                                           nullptr, OPEN_EXISTING, 0, nullptr),
                                       ec);
    return add(nowhere.get(), ec);
  }
  [[nodiscard]] std::vector<HANDLE>& values() noexcept { return values_; }

 private:
  std::vector<UniqueHandle> copies_;
  std::vector<HANDLE> values_;
};

// What CreateProcess is told beside the usual.
class Attributes {
 public:
  Attributes(std::vector<HANDLE>& handles, const HANDLE& job, std::error_code& ec) {
    constexpr DWORD count = 2;
    SIZE_T size = 0;
    MULTIPROCESSING_SYSTEM(InitializeProcThreadAttributeList)(nullptr, count, 0, &size);
    memory_ = std::make_unique<std::byte[]>(size);
    if (MULTIPROCESSING_SYSTEM(InitializeProcThreadAttributeList)(get(), count, 0, &size) == 0) {
      ec = last_error();
      memory_.reset();
      return;
    }
    set(PROC_THREAD_ATTRIBUTE_HANDLE_LIST, handles.data(), handles.size() * sizeof(HANDLE), ec);
    set(job_list, const_cast<HANDLE*>(&job), sizeof job, ec);
  }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  ~Attributes() {
    if (memory_) MULTIPROCESSING_SYSTEM(DeleteProcThreadAttributeList)(get());
  }
  [[nodiscard]] LPPROC_THREAD_ATTRIBUTE_LIST get() const noexcept {
    return reinterpret_cast<LPPROC_THREAD_ATTRIBUTE_LIST>(memory_.get());
  }

 private:
  static constexpr DWORD_PTR job_list = 0x0002000D;  // PROC_THREAD_ATTRIBUTE_JOB_LIST, Windows 10

  void set(DWORD_PTR what, void* value, std::size_t size, std::error_code& ec) noexcept {
    if (ec) return;
    if (MULTIPROCESSING_SYSTEM(UpdateProcThreadAttribute)(get(), 0, what, value, size, nullptr,
                                                          nullptr) == 0) {
      ec = last_error();
    }
  }

  std::unique_ptr<std::byte[]> memory_;
};

// One argument so that the C library's start makes the same of it. @source Microsoft's "Parsing C
// command-line arguments"
MULTIPROCESSING_INLINE void append_argument(std::wstring& line, std::wstring_view argument) {
  if (!line.empty()) line += L' ';
  line += L'"';
  std::size_t backslashes = 0;
  for (const wchar_t c : argument) {
    if (c == L'"') line.append(backslashes + 1, L'\\');
    backslashes = c == L'\\' ? backslashes + 1 : 0;
    line += c;
  }
  line.append(backslashes, L'\\') += L'"';
}

// Our environment with the child's variable in it, whatever it was here.
MULTIPROCESSING_INLINE std::wstring environment_with(const std::wstring& value) {
  std::wstring environment;
  const std::wstring own = std::wstring{child_variable} + L"=";
  wchar_t* const block = MULTIPROCESSING_SYSTEM(GetEnvironmentStringsW)();
  for (const wchar_t* entry = block; entry != nullptr && *entry != L'\0';) {
    const std::wstring_view text{entry};
    if (!text.starts_with(own)) environment.append(text).push_back(L'\0');
    entry += text.size() + 1;
  }
  if (block != nullptr) MULTIPROCESSING_SYSTEM(FreeEnvironmentStringsW)(block);
  return environment.append(own).append(value).append(1, L'\0');
}

// The state in a section that the child inherits.
MULTIPROCESSING_INLINE HANDLE add_state(Dowry& dowry,
                                        std::span<const std::byte> state,
                                        std::span<const native_handle_type> handles,
                                        std::uint64_t& size,
                                        std::error_code& ec) {
  std::vector<std::uint64_t> numbers;
  for (const native_handle_type handle : handles) {
    numbers.push_back(reinterpret_cast<std::uintptr_t>(dowry.add(handle, ec)));
    if (!ec && numbers.back() == 0) ec = as_error(ERROR_INVALID_HANDLE);
    if (ec) return nullptr;
  }
  const SpawnHeader header{SpawnHeader::right_magic, handles.size(), state.size()};
  const std::size_t behind = sizeof header + numbers.size() * sizeof(std::uint64_t);
  size = behind + state.size();
  const UniqueHandle section =
      owned(MULTIPROCESSING_SYSTEM(CreateFileMappingW)(
                INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE, static_cast<DWORD>(size >> 32U),
                static_cast<DWORD>(size), nullptr),
            ec);
  if (ec) return nullptr;
  const View view{section.get(), static_cast<std::size_t>(size), ec};
  if (ec) return nullptr;
  std::memcpy(view.data(), &header, sizeof header);
  if (!numbers.empty()) {
    std::memcpy(view.data() + sizeof header, numbers.data(), behind - sizeof header);
  }
  if (!state.empty()) std::memcpy(view.data() + behind, state.data(), state.size());
  return dowry.add(section.get(), ec);
}

MULTIPROCESSING_INLINE Started run(const std::wstring& program,
                                   Dowry& dowry,
                                   STARTUPINFOEXW& start,
                                   const std::wstring& variable,
                                   UniqueHandle job,
                                   std::error_code& ec) {
  const HANDLE birth = job.get();
  const Attributes attributes{dowry.values(), birth, ec};
  if (ec) return {};
  start.lpAttributeList = attributes.get();
  std::wstring line;
  append_argument(line, program);
  append_argument(line, L"--multiprocessing-child");
  std::wstring environment = environment_with(variable);
  // A program without a console would get a window for each child's. CREATE_NO_WINDOW gives it one
  // that is not seen, and with Wine a process behind it that inherits what the child does.
  const bool has_console = MULTIPROCESSING_SYSTEM(GetConsoleCP)() != 0;
  const DWORD flags = EXTENDED_STARTUPINFO_PRESENT | CREATE_UNICODE_ENVIRONMENT |
                      (has_console ? 0U : DETACHED_PROCESS);
  PROCESS_INFORMATION child{};
  if (MULTIPROCESSING_SYSTEM(CreateProcessW)(program.c_str(), line.data(), nullptr, nullptr, TRUE,
                                             flags, environment.data(), nullptr, &start.StartupInfo,
                                             &child) == 0) {
    ec = last_error();
    return {};
  }
  close_handle(child.hThread);
  return {static_cast<int>(child.dwProcessId), UniqueHandle{child.hProcess}, std::move(job)};
}

}  // namespace windows

MULTIPROCESSING_INLINE Started spawn_program(const std::string& program,
                                             const std::string& path,
                                             std::span<const std::byte> state,
                                             std::span<const native_handle_type> handles,
                                             std::error_code& ec) {
  ec.clear();
  windows::Dowry dowry;
  STARTUPINFOEXW start{};
  start.StartupInfo.cb = sizeof start;
  start.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
  start.StartupInfo.hStdInput = dowry.add_empty_input(ec);
  start.StartupInfo.hStdOutput = dowry.add_output(1, ec);
  start.StartupInfo.hStdError = dowry.add_output(2, ec);
  if (ec) return {};
  UniqueHandle job = windows::owned(MULTIPROCESSING_SYSTEM(CreateJobObjectW)(nullptr, nullptr), ec);
  if (ec) return {};
  std::uint64_t size = 0;
  const HANDLE childs_job = dowry.add(job.get(), ec);
  const HANDLE section = windows::add_state(dowry, state, handles, size, ec);
  if (ec) return {};
  const auto number = [](HANDLE handle) {
    return std::to_wstring(reinterpret_cast<std::uintptr_t>(handle)) + L" ";
  };
  return windows::run(windows::to_wide(program.empty() ? path : program), dowry, start,
                      number(childs_job) + number(section) + std::to_wstring(size), std::move(job),
                      ec);
}

MULTIPROCESSING_INLINE bool is_spawned() noexcept {
  return MULTIPROCESSING_SYSTEM(GetEnvironmentVariableW)(windows::child_variable, nullptr, 0) != 0;
}

MULTIPROCESSING_INLINE Spawned take_spawned(std::error_code& ec) {
  ec = std::make_error_code(std::errc::invalid_argument);
  std::array<wchar_t, 80> text{};
  MULTIPROCESSING_SYSTEM(GetEnvironmentVariableW)
  (windows::child_variable, text.data(), static_cast<DWORD>(text.size()));
  ::_wputenv_s(windows::child_variable, L"");
  std::array<std::uint64_t, 3> numbers{};  // job, section, size
  wchar_t* rest = text.data();
  for (std::uint64_t& number : numbers) number = std::wcstoull(rest, &rest, 10);
  if (*rest != L'\0' || numbers[2] < sizeof(windows::SpawnHeader)) return {};

  // Numbers that anybody may have written: nothing is ours before it says so.
  const HANDLE claimed = to_handle(static_cast<std::intptr_t>(numbers[1]));
  std::error_code mapping;
  const windows::View view{claimed, static_cast<std::size_t>(numbers[2]), mapping};
  if (mapping) return {};
  windows::SpawnHeader header{};
  std::memcpy(&header, view.data(), sizeof header);
  const std::uint64_t room = (numbers[2] - sizeof header) / sizeof(std::uint64_t);
  if (header.magic != windows::SpawnHeader::right_magic || header.handles > room ||
      header.size != numbers[2] - sizeof header - header.handles * sizeof(std::uint64_t)) {
    return {};
  }
  const UniqueHandle section{claimed};
  Spawned spawned;
  const std::byte* next = view.data() + sizeof header;
  for (std::uint64_t i = 0; i < header.handles; ++i, next += sizeof(std::uint64_t)) {
    std::uint64_t number = 0;
    std::memcpy(&number, next, sizeof number);
    spawned.handles.emplace_back(to_handle(static_cast<std::intptr_t>(number)));
    windows::forbid_inheriting(spawned.handles.back().get());
  }
  spawned.state.assign(next, next + header.size);
  windows::job_of_birth = UniqueHandle{to_handle(static_cast<std::intptr_t>(numbers[0]))};
  windows::forbid_inheriting(windows::job_of_birth.get());
  ec.clear();
  return spawned;
}

MULTIPROCESSING_INLINE void show_as(const std::string& /*path*/) noexcept {}

}  // namespace multiprocessing::os
