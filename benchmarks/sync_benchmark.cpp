// SPDX-License-Identifier: BSL-1.0
// Locks, values, events, conditions and barriers beside bare programs that do the same with what
// the system has.
#include <multiprocessing.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "elsewhere.hpp"
#include "figure.hpp"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mp = multiprocessing;

namespace {

constexpr int uncontended_rounds = 2'000'000;
constexpr int contended_rounds = 2'000'000;  // long beside what it takes to start the processes
constexpr int hand_overs = 20'000;

/// Memory that forked processes share.
template <class T>
class Shared {
 public:
  Shared() {
    void* const memory =
        mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    object_ = ::new (memory) T{};
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { munmap(object_, sizeof(T)); }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }

 private:
  T* object_;
};

/// Does `work(i)` in forked processes, and waits for them.
void in_processes(int count, const std::function<void(int)>& work) {
  std::vector<pid_t> processes;
  for (int i = 0; i < count; ++i) {
    const pid_t pid = fork();
    if (pid == 0) {
      work(i);
      _exit(0);
    }
    processes.push_back(pid);
  }
  for (const pid_t pid : processes) waitpid(pid, nullptr, 0);
}

// ---- locks ----

class BareMutex {
 public:
  explicit BareMutex(bool robust) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (robust) pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&*mutex_, &attributes);
    pthread_mutexattr_destroy(&attributes);
  }
  void acquire() {
    if (pthread_mutex_lock(&*mutex_) == EOWNERDEAD) pthread_mutex_consistent(&*mutex_);
  }
  void release() { pthread_mutex_unlock(&*mutex_); }

 private:
  Shared<pthread_mutex_t> mutex_;
};

template <class AnyLock>
double uncontended(AnyLock& lock) {  // nanoseconds
  return benchmark::seconds_of([&] {
           for (int i = 0; i < uncontended_rounds; ++i) {
             lock.acquire();
             lock.release();
           }
         }) /
         uncontended_rounds * 1e9;
}

template <class AnyLock>
double contended(AnyLock& lock, int processes) {  // nanoseconds
  struct Start {
    std::atomic<int> ready{0};
    std::uint64_t counter = 0;
  };
  const Shared<Start> start;
  const int rounds = contended_rounds / processes;
  return benchmark::seconds_of([&] {
           in_processes(processes, [&](int) {
             ++start->ready;
             while (start->ready != processes) sched_yield();
             for (int i = 0; i < rounds; ++i) {
               lock.acquire();
               ++start->counter;
               lock.release();
             }
           });
         }) /
         (rounds * processes) * 1e9;
}

double update(mp::Value<int>& value) {
  return benchmark::seconds_of([&] {
           for (int i = 0; i < uncontended_rounds; ++i) value.update([](int& x) { ++x; });
         }) /
         uncontended_rounds * 1e9;
}

// ---- events: two processes wake each other ----

class BareEvent {
 public:
  void set() {
    *word_ = 1;
    syscall(SYS_futex, &*word_, FUTEX_WAKE, 1 << 30, nullptr, nullptr, 0);
  }
  void clear() { *word_ = 0; }
  void wait() {
    while (*word_ == 0) syscall(SYS_futex, &*word_, FUTEX_WAIT, 0, nullptr, nullptr, 0);
  }

 private:
  Shared<std::atomic<int>> word_;
};

template <class AnyEvent>
double set_to_wake() {  // microseconds
  std::array<AnyEvent, 2> turns;
  const auto play = [&](std::size_t i) {
    for (int round = 0; round < hand_overs; ++round) {
      turns[i].wait();
      turns[i].clear();
      turns[1 - i].set();
    }
  };
  return benchmark::seconds_of([&] {
           turns[0].set();
           in_processes(2, [&](int i) { play(static_cast<std::size_t>(i)); });
         }) /
         hand_overs / 2 * 1e6;
}

// ---- conditions: the same ----

class BareCondition {
 public:
  BareCondition() {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_cond_init(&*condition_, &attributes);
    pthread_mutexattr_t lock_attributes;
    pthread_mutexattr_init(&lock_attributes);
    pthread_mutexattr_setpshared(&lock_attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&*mutex_, &lock_attributes);
  }
  void acquire() { pthread_mutex_lock(&*mutex_); }
  void release() { pthread_mutex_unlock(&*mutex_); }
  template <class Predicate>
  void wait_for(Predicate predicate) {
    while (!predicate()) pthread_cond_wait(&*condition_, &*mutex_);
  }
  void notify() { pthread_cond_signal(&*condition_); }

 private:
  Shared<pthread_mutex_t> mutex_;
  Shared<pthread_cond_t> condition_;
};

template <class AnyCondition>
double notify_to_wake() {  // microseconds
  AnyCondition condition;
  const Shared<std::atomic<int>> turn;
  return benchmark::seconds_of([&] {
           in_processes(2, [&](int i) {
             for (int round = 0; round < hand_overs; ++round) {
               condition.acquire();
               condition.wait_for([&] { return *turn == i; });
               *turn = 1 - i;
               condition.notify();
               condition.release();
             }
           });
         }) /
         hand_overs / 2 * 1e6;
}

// ---- barriers ----

class BareBarrier {
 public:
  explicit BareBarrier(unsigned parties) {
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&*barrier_, &attributes, parties);
  }
  void wait() { pthread_barrier_wait(&*barrier_); }

 private:
  Shared<pthread_barrier_t> barrier_;
};

template <class AnyBarrier>
double barrier_round(int parties) {  // microseconds
  AnyBarrier barrier{static_cast<unsigned>(parties)};
  return benchmark::seconds_of([&] {
           in_processes(parties, [&](int) {
             for (int round = 0; round < hand_overs; ++round) barrier.wait();
           });
         }) /
         hand_overs * 1e6;
}

}  // namespace

int main() {
  const benchmark::Elsewhere cpython{
      std::vector<std::string>{"python3", BENCHMARKS_FOLDER "/cpython_lock.py"}};
  mp::Lock lock;
  mp::RLock rlock;
  BareMutex robust{true};
  BareMutex plain{false};
  std::vector<benchmark::Contestant> lock_peers{
      {"robust_mutex", [&] { return uncontended(robust); }}};
  if (cpython.ask()) lock_peers.push_back({"CPython", [&] { return cpython(); }});
  benchmark::figure(
      "lock_acquire_release", "ns", [&] { return uncontended(lock); }, lock_peers);
  benchmark::figure(
      "rlock_acquire_release", "ns", [&] { return uncontended(rlock); }, lock_peers);
  for (const int processes : {2, 4, 8}) {
    benchmark::figure("lock_contended_by_" + std::to_string(processes), "ns",
                      [&] { return contended(lock, processes); },
                      {{"mutex", [&] { return contended(plain, processes); }}});
  }
  mp::Value<int> value{0};
  benchmark::figure("value_update", "ns", [&] { return update(value); },
                    {{"rlock", [&] { return uncontended(rlock); }}});
  benchmark::figure("event_set_to_wake", "us", set_to_wake<mp::Event>,
                    {{"futex", set_to_wake<BareEvent>}});
  benchmark::figure("condition_notify_to_wake", "us", notify_to_wake<mp::Condition>,
                    {{"pthread_cond", notify_to_wake<BareCondition>}});
  for (const int parties : {2, 4}) {
    benchmark::figure("barrier_round_of_" + std::to_string(parties), "us",
                      [=] { return barrier_round<mp::Barrier>(parties); },
                      {{"pthread_barrier", [=] { return barrier_round<BareBarrier>(parties); }}});
  }
}
