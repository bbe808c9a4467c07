// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file operations.hpp
/// @brief What a program does on a machine that lacks something: it uses one of the library's
/// facilities, then has more and more of it until the machine refuses, gives all back, and uses it
/// once more.
#include <multiprocessing.hpp>
#include <multiprocessing/managers.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>

namespace bad_machine {

namespace mp = multiprocessing;

/// @brief Throws, where the library did something wrong and did not say so.
inline void expect(bool holds, const char* what) {
  if (!holds) throw std::logic_error{what};
}

/// @brief Something that was used and is kept.
using Kept = std::shared_ptr<void>;

struct Operation {
  const char* name;  ///< As in the table of docs/platforms.md.
  const char* word;  ///< In the test's name.
  Kept (*use)();     ///< @returns what goes on existing until it is dropped.
  std::size_t most;  ///< How many there are at once.
};

namespace detail {

inline void answer(const mp::Event& end, int code) {
  mp::Event{end}.wait();
  throw mp::SystemExit(code);
}

/// @brief A child that waits for its end, which comes with the last copy of this.
struct Child {
  explicit Child(mp::StartMethod method) : process{{.start_method = method}, answer, end, right} {
    process.start();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    end.set();
    process.join();
    if (process.exitcode() != right) std::puts("broken: a child ended otherwise");
  }
  static constexpr int right = 42;
  mp::Event end;
  mp::Process<> process;
};
template <mp::StartMethod Method>
Kept have_child() {
  return std::make_shared<Child>(Method);
}

inline Kept have_queue() {
  auto queue = std::make_shared<mp::Queue<std::string>>();
  const std::string much(600'000, 'x');
  queue->put("little");
  queue->put(much);
  expect(queue->get() == "little" && queue->get() == much, "the queue changed an item");
  return queue;
}

inline Kept have_pipe() {
  auto pipe = std::make_shared<mp::Pipe>();
  for (const int size : {10, 200'000}) {
    const std::string text(static_cast<std::size_t>(size), 'x');
    pipe->first.send(text);
    expect(pipe->second.recv<std::string>() == text, "the pipe changed a message");
  }
  const auto one_way = std::make_shared<mp::Pipe>(false);
  one_way->second.send(1);
  expect(one_way->first.recv<int>() == 1, "the one-way pipe changed a message");
  return std::make_shared<std::vector<Kept>>(std::vector<Kept>{pipe, one_way});
}

inline int square(int x) {
  return x * x;
}
inline Kept have_pool() {
  auto pool = std::make_shared<mp::Pool>(2);
  expect(pool->map(square, std::vector{1, 2, 3}) == std::vector{1, 4, 9}, "a map is wrong");
  expect(pool->apply_async(square, 5).get() == 25, "an asynchronous result is wrong");
  return pool;
}

inline Kept have_shared_memory() {
  auto memory =
      std::make_shared<mp::SharedMemory>(mp::SharedMemoryOptions{.create = true, .size = 100'000});
  mp::SharedMemory same{{.name = memory->name()}};
  std::memset(memory->buf().data(), 7, memory->size());
  expect(same.buf()[99'999] == std::byte{7}, "the shared memory is not shared");
  return memory;
}

inline Kept have_manager() {
  auto manager = std::make_shared<mp::Manager>();
  auto dict = manager->dict<std::string, std::string>();
  const std::string text(2000, 'x');
  for (int i = 0; i < 100; ++i) dict.set(std::to_string(i), text);
  expect(dict.size() == 100 && dict.get("7").size() == 2000, "the dictionary is wrong");
  return manager;
}

}  // namespace detail

inline const std::array operations{
    Operation{"fork", "Fork", detail::have_child<mp::StartMethod::fork>, 40},
    Operation{"spawn", "Spawn", detail::have_child<mp::StartMethod::spawn>, 40},
    Operation{"forkserver", "Forkserver", detail::have_child<mp::StartMethod::forkserver>, 40},
    Operation{"`Queue`", "Queue", detail::have_queue, 40},
    Operation{"`Pipe`", "Pipe", detail::have_pipe, 40},
    Operation{"`Pool`", "Pool", detail::have_pool, 8},
    Operation{"`SharedMemory`", "SharedMemory", detail::have_shared_memory, 40},
    Operation{"`Manager`", "Manager", detail::have_manager, 40},
};

namespace detail {

inline std::size_t open_descriptors() {
  std::size_t count = 0;
  for (int i = 0; i < 1024; ++i) count += ::fcntl(i, F_GETFD) >= 0 ? 1U : 0U;
  return count;
}

/// @brief What came of a use: `works`, or an error's name, and behind it the words.
inline std::string outcome_of(const std::function<void()>& use) {
  try {
    use();
    return "works";
  } catch (const std::system_error& error) {
    const bool is_of_the_system = error.code().category() == std::system_category() ||
                                  error.code().category() == std::generic_category();
    const char* const name = is_of_the_system ? ::strerrorname_np(error.code().value()) : nullptr;
    return std::string{name == nullptr ? "unknown" : name} + ": " + error.what();
  } catch (const std::exception& error) {
    return std::string{mp::os::current_exception_type()} + ": " + error.what();
  }
}

}  // namespace detail

/// @brief Does all of it, and prints a line for each part: `first`, `more`, `again`; and what is
/// wrong in any case, as `broken`.
inline void carry_out(const Operation& operation) {
  const std::string first = detail::outcome_of([&] { operation.use(); });
  std::printf("first %s\n", first.c_str());
  const std::size_t before = detail::open_descriptors();  // less what a process makes once
  std::string more;
  {
    std::vector<Kept> all;
    more = detail::outcome_of([&] {
      while (all.size() < operation.most) all.push_back(operation.use());
    });
    std::printf("more %s\n", more.c_str());
  }
  const std::string again = detail::outcome_of([&] { operation.use(); });
  std::printf("again %s\n", again.c_str());
  const std::size_t after = detail::open_descriptors();
  if (after > before) std::printf("broken: %zu descriptors, and %zu before\n", after, before);
  std::fflush(stdout);
}

}  // namespace bad_machine
