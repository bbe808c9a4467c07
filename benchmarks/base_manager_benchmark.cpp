// SPDX-License-Identifier: BSL-1.0
// Calls of an object in a BaseManager's server, beside a bare socket's round trip and CPython's.
#include <multiprocessing.hpp>
#include <multiprocessing/base_manager.hpp>

#include <array>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "elsewhere.hpp"
#include "figure.hpp"
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mp = multiprocessing;

namespace {

constexpr int calls = 5'000;
constexpr std::size_t message_size = 16;

class Counter {
 public:
  int add(int n) { return value_ += n; }

 private:
  int value_ = 0;
};

double microseconds(const std::function<void()>& call) {
  return benchmark::seconds_of([&] {
           for (int i = 0; i < calls; ++i) call();
         }) /
         calls * 1e6;
}

/// A process at the other end of a stream, which sends back what comes.
class BareEcho {
 public:
  BareEcho() {
    std::array<int, 2> ends{};
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) != 0) std::abort();
    process_ = fork();
    if (process_ == 0) {
      close(ends[0]);
      std::array<char, message_size> bytes{};
      while (recv(ends[1], bytes.data(), bytes.size(), 0) > 0) {
        if (send(ends[1], bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) break;
      }
      _exit(0);
    }
    close(ends[1]);
    socket_ = ends[0];
  }
  BareEcho(const BareEcho&) = delete;
  BareEcho& operator=(const BareEcho&) = delete;
  ~BareEcho() {
    close(socket_);
    waitpid(process_, nullptr, 0);
  }
  void call() {
    std::array<char, message_size> bytes{};
    if (send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0 ||
        recv(socket_, bytes.data(), bytes.size(), 0) <= 0) {
      std::abort();
    }
  }

 private:
  int socket_ = -1;
  pid_t process_ = 0;
};

void call_when_told(mp::Proxy<Counter> counter, mp::Semaphore begin, mp::Semaphore done) {
  counter.call<&Counter::add>(1);
  for (;;) {
    begin.acquire();
    for (int i = 0; i < calls; ++i) counter.call<&Counter::add>(1);
    done.release();
  }
}

void clients_figure(mp::BaseManager& manager, int clients) {
  const std::string program = BENCHMARKS_FOLDER "/cpython_base_manager.py";
  const benchmark::Elsewhere there{{"python3", "-B", program, std::to_string(clients)}};
  if (!there.ask()) return;
  const auto counter = manager.create<Counter>();
  mp::Semaphore begin{0};
  mp::Semaphore done{0};
  std::vector<mp::Process<>> processes;
  for (int i = 0; i < clients; ++i) {
    processes.emplace_back(mp::ProcessOptions{.daemon = true}, call_when_told, counter, begin,
                           done);
    processes.back().start();
  }
  const auto measure = [&] {
    const double seconds = benchmark::seconds_of([&] {
      for (int i = 0; i < clients; ++i) begin.release();
      for (int i = 0; i < clients; ++i) done.acquire();
    });
    return seconds / (calls * clients) * 1e6;
  };
  benchmark::figure("base_manager_calls_by_" + std::to_string(clients), "us/call", measure,
                    {{"CPython", [&] { return there(); }}}, 5);
  for (auto& process : processes) process.kill();
  for (auto& process : processes) process.join();
}

}  // namespace

int main() {
  mp::BaseManager manager;
  manager.start();
  {
    BareEcho echo;
    const auto counter = manager.create<Counter>();
    benchmark::figure("base_manager_call", "us",
                      [&] { return microseconds([&] { counter.call<&Counter::add>(1); }); },
                      {{"socket", [&] { return microseconds([&] { echo.call(); }); }}});
  }
  clients_figure(manager, 1);
  clients_figure(manager, 8);
}
