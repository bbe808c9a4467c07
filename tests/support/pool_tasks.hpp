// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file pool_tasks.hpp
/// @brief What the workers of the pool tests do.
#include <multiprocessing.hpp>

#include <support/eventually.hpp>

#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <iterator>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace test {

inline int square(int x) {
  return x * x;
}
inline int product(int x, int y) {
  return x * y;
}
inline int own_pid() {
  return multiprocessing::os::process_id();
}
inline void wait_for(const multiprocessing::Event& event) {
  multiprocessing::Event{event}.wait();
}
/// @brief The same; says that it runs, which is later than Future::running().
inline void say_and_wait(const multiprocessing::Event& begun, const multiprocessing::Event& event) {
  multiprocessing::Event{begun}.set();
  wait_for(event);
}
[[noreturn]] inline int throw_range_error(int x) {
  throw std::range_error{"bad " + std::to_string(x)};
}
/// @brief Kills a process as another program would, without a word to the library.
inline void kill_process(int pid) {
  namespace os = multiprocessing::os;
  std::error_code ec;
  const os::UniqueHandle process = os::open_process(pid, ec);
  if (!ec) os::signal_process(process.get(), os::Signal::kill, ec);
}
inline int kill_itself(int /*unused*/) {
  kill_process(own_pid());
  wait_for_ever();
}
inline int exit_with(int code) {
  multiprocessing::os::exit_now(code);
}

/// @brief 0, 1, 2, ... without an end; `*at` is how far it was read.
struct Endless {
  struct iterator {
    using value_type = int;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;
    int* at = nullptr;
    int operator*() const { return *at; }
    iterator& operator++() {
      ++*at;
      return *this;
    }
    void operator++(int) { ++*at; }
    friend bool operator==(const iterator&, std::default_sentinel_t) { return false; }
  };
  int* at;
  [[nodiscard]] iterator begin() const { return {at}; }
  [[nodiscard]] static std::default_sentinel_t end() { return {}; }
};

/// @brief A range that ends by an exception behind `good` items.
class Faulty {
 public:
  class iterator {
   public:
    using value_type = int;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;
    iterator() = default;
    explicit iterator(int good) : good_{good} {}
    int operator*() const { return at_; }
    iterator& operator++() {
      ++at_;
      check();
      return *this;
    }
    void operator++(int) { ++*this; }
    void check() const {
      if (at_ >= good_) throw std::domain_error{"the input ended badly"};
    }
    friend bool operator==(const iterator&, std::default_sentinel_t) { return false; }

   private:
    int good_ = 0;
    int at_ = 0;
  };
  explicit Faulty(int good) : good_{good} {}
  [[nodiscard]] iterator begin() const {
    iterator first{good_};
    first.check();
    return first;
  }
  [[nodiscard]] static std::default_sentinel_t end() { return {}; }

 private:
  int good_;
};

/// @brief The same that knows its size, or says so.
struct SizedFaulty : Faulty {
  using Faulty::Faulty;
  [[nodiscard]] static std::size_t size() { return 10; }
};

/// @brief Encodes or decodes with a fault, here or there.
template <class Fault, bool WhenDecoded>
struct Mined {
  int value = 0;
  template <class Archive>
  void save(Archive& archive) const {
    if constexpr (!WhenDecoded) Fault::happen();
    archive(value);
  }
  template <class Archive>
  void load(Archive& archive) {
    archive(value);
    if constexpr (WhenDecoded) Fault::happen();
  }
};
struct Throws {
  static void happen() { throw std::length_error{"mined"}; }
};
/// @brief Cannot be encoded if its value is negative.
struct Picky {
  int value = 0;
  template <class Archive>
  void save(Archive& archive) const {
    if (value < 0) Throws::happen();
    archive(value);
  }
  template <class Archive>
  void load(Archive& archive) {
    archive(value);
  }
};
inline int picked(const Picky& one) {
  return one.value;
}
struct Crashes {
  static void happen() { std::raise(SIGSEGV); }
};
struct Exits {
  static void happen() { multiprocessing::os::exit_now(99); }
};

}  // namespace test
