// SPDX-License-Identifier: BSL-1.0
// How long things take here, printed and not judged: under Wine these are no figures of Windows,
// but one that is ten times the last one's says that something is wrong.
#include <multiprocessing.hpp>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <string>
#include <vector>

namespace mp = multiprocessing;

namespace {

template <class Work>
void print(const std::string& name, int times, Work work) {
  std::vector<double> microseconds;
  for (int i = 0; i < times; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - begin;
    microseconds.push_back(time.count());
  }
  std::ranges::sort(microseconds);
  std::cout << "figure " << name << ' ' << microseconds[microseconds.size() / 2]
            << " us (median of " << times << ")\n";
}

void answer(mp::Queue<int> questions, mp::Queue<int> answers, mp::Connection connection) {
  for (int question = questions.get(); question != 0; question = questions.get()) {
    answers.put(question);
  }
  for (int question = connection.recv<int>(); question != 0; question = connection.recv<int>()) {
    connection.send(question);
  }
}

}  // namespace

int main() {
  mp::freeze_support();
  print("process_start_join", 20, [] {
    mp::Process process{[] {}};
    process.start();
    process.join();
  });
  mp::Lock lock;
  print("lock_acquire_release", 1000, [&] {
    lock.acquire();
    lock.release();
  });
  mp::Queue<int> questions;
  mp::Queue<int> answers;
  auto [ours, theirs] = mp::Pipe();
  mp::Process process{answer, questions, answers, theirs};
  process.start();
  print("queue_round_trip", 1000, [&] {
    questions.put(1);
    static_cast<void>(answers.get());
  });
  questions.put(0);
  print("pipe_round_trip", 1000, [&] {
    ours.send(1);
    static_cast<void>(ours.recv<int>());
  });
  ours.send(0);
  process.join();
}
