// SPDX-License-Identifier: BSL-1.0
// Connections beside bare descriptors of the same kind, and beside CPython's Connection: a duplex
// pipe and a stream (AF_UNIX), small messages and large ones; and wait() on a thousand connections.
#include <multiprocessing.hpp>
#include <multiprocessing/network.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "elsewhere.hpp"
#include "figure.hpp"
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace mp = multiprocessing;

namespace {

using Bytes = std::vector<std::byte>;

class Pipe {
 public:
  void send(const Bytes& message) { pipe_.first.send_bytes(message); }
  void receive(Bytes& into) { pipe_.second.recv_bytes_into(into); }
  void send_back(const Bytes& message) { pipe_.second.send_bytes(message); }
  void receive_back(Bytes& into) { pipe_.first.recv_bytes_into(into); }

 private:
  mp::Pipe pipe_;
};

class Stream {
 public:
  Stream() : Stream{mp::Listener{}} {}
  void send(const Bytes& message) { client_.send_bytes(message); }
  void receive(Bytes& into) { served_.recv_bytes_into(into); }
  void send_back(const Bytes& message) { served_.send_bytes(message); }
  void receive_back(Bytes& into) { client_.recv_bytes_into(into); }

 private:
  explicit Stream(mp::Listener listener)
      : client_{mp::Client(listener.address())}, served_{listener.accept()} {}
  mp::Connection client_;
  mp::Connection served_;
};

// Blocking calls. Packets as long as they go; a stream has a size before each message, as ours has.
template <int Type>
class Bare {
 public:
  Bare() {
    if (socketpair(AF_UNIX, Type | SOCK_CLOEXEC, 0, ends_.data()) != 0) std::abort();
  }
  Bare(const Bare&) = delete;
  Bare& operator=(const Bare&) = delete;
  ~Bare() {
    for (const int end : ends_) close(end);
  }
  void send(const Bytes& message) { send_at(ends_[0], message); }
  void receive(Bytes& into) { receive_at(ends_[1], into); }
  void send_back(const Bytes& message) { send_at(ends_[1], message); }
  void receive_back(Bytes& into) { receive_at(ends_[0], into); }

 private:
  static constexpr std::size_t packet = std::size_t{64} << 10U;

  static void send_at(int end, const Bytes& message) {
    if constexpr (Type == SOCK_STREAM) {
      std::uint32_t size = htonl(static_cast<std::uint32_t>(message.size()));
      iovec parts[2]{{&size, sizeof size},
                     {const_cast<std::byte*>(message.data()), message.size()}};
      if (writev(end, parts, 2) < 0) std::abort();
    } else {
      for (std::size_t at = 0; at < message.size(); at += packet) {
        const std::size_t size = std::min(packet, message.size() - at);
        if (::send(end, message.data() + at, size, MSG_NOSIGNAL) < 0) std::abort();
      }
    }
  }
  static void receive_at(int end, Bytes& into) {
    std::size_t size = into.size();
    if constexpr (Type == SOCK_STREAM) {
      std::uint32_t header = 0;
      if (recv(end, &header, sizeof header, MSG_WAITALL) != sizeof header) std::abort();
      size = ntohl(header);
    }
    for (std::size_t at = 0; at < size;) {
      const auto got = recv(end, into.data() + at, size - at, 0);
      if (got <= 0) std::abort();
      at += static_cast<std::size_t>(got);
    }
  }
  std::array<int, 2> ends_{};
};

template <class Ends>
double round_trip(std::size_t size, int count) {  // microseconds
  Ends ends;
  mp::Process echo{[&ends, size, count] {
    Bytes message(size);
    for (int i = 0; i < count; ++i) {
      ends.receive(message);
      ends.send_back(message);
    }
  }};
  echo.start();
  const double seconds = benchmark::seconds_of([&] {
    Bytes message(size);
    for (int i = 0; i < count; ++i) {
      ends.send(message);
      ends.receive_back(message);
    }
  });
  echo.join();
  return seconds / count * 1e6;
}

template <class Ends>
double one_way(std::size_t size, int count) {  // microseconds a message
  Ends ends;
  mp::Process sender{[&ends, size, count] {
    Bytes message(size);
    ends.receive(message);
    for (int i = 0; i < count; ++i) ends.send_back(message);
  }};
  sender.start();
  Bytes message(size);
  ends.send(message);
  const double seconds = benchmark::seconds_of([&] {
    for (int i = 0; i < count; ++i) ends.receive_back(message);
  });
  sender.join();
  return seconds / count * 1e6;
}

// Of a thousand connections so many have a message.
double wait_for(std::size_t waiting, std::size_t ready, bool bare) {  // microseconds a wait
  std::vector<mp::Pipe> pipes(waiting);
  std::vector<mp::Connection> ends;
  std::vector<pollfd> polled;
  for (std::size_t i = 0; i < waiting; ++i) {
    ends.push_back(pipes[i].first);
    polled.push_back({pipes[i].first.fileno(), POLLIN, 0});
    if (i < ready) pipes[i].second.send(1);
  }
  constexpr int count = 500;
  return benchmark::seconds_of([&] {
           for (int i = 0; i < count; ++i) {
             const auto found = bare ? static_cast<std::size_t>(poll(polled.data(), waiting, -1))
                                     : mp::wait(ends).size();
             if (found != ready) std::abort();
           }
         }) /
         count * 1e6;
}

template <class Ours, class Peer>
void compare(const std::string& kind, const std::string& peer) {
  using benchmark::figure;
  constexpr std::size_t small = 64;
  constexpr std::size_t mega = std::size_t{1} << 20U;
  figure(kind + "_round_trip_64B", "us", [] { return round_trip<Ours>(small, 10'000); },
         {{peer, [] { return round_trip<Peer>(small, 10'000); }}});
  figure(kind + "_one_way_64B", "us/msg", [] { return one_way<Ours>(small, 100'000); },
         {{peer, [] { return one_way<Peer>(small, 100'000); }}});
  figure(kind + "_one_way_1MiB", "us/msg", [] { return one_way<Ours>(mega, 200); },
         {{peer, [] { return one_way<Peer>(mega, 200); }}});
  figure(
      kind + "_one_way_64MiB", "us/msg", [] { return one_way<Ours>(64 * mega, 5); },
      {{peer, [] { return one_way<Peer>(64 * mega, 5); }}}, 3);
}

// CPython measures its own; both its processes and ours stand apart from this one.
void compare_with_python() {
  const auto python = [](const char* what, const char* size, const char* count) {
    return std::make_shared<benchmark::Elsewhere>(std::vector<std::string>{
        "python3", BENCHMARKS_FOLDER "/cpython_connection.py", what, size, count});
  };
  const auto small = python("one_way", "64", "20000");
  const auto processor = python("processor_time", "64", "20000");
  const auto large = python("one_way", "1048576", "200");
  if (!small->ask()) return;
  benchmark::figure(
      "stream_one_way_64B_beside_python", "us/msg", [] { return one_way<Stream>(64, 100'000); },
      {{"CPython", [&] { return (*small)(); }}}, 5);
  benchmark::figure(
      "stream_processor_time_64B", "us/msg",
      [] {
        const auto before = std::clock();
        static_cast<void>(round_trip<Stream>(64, 10'000));
        return static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC / 2e4 * 1e6;
      },
      {{"CPython", [&] { return (*processor)(); }}}, 5);
  benchmark::figure(
      "stream_one_way_1MiB_beside_python", "us/msg",
      [] { return one_way<Stream>(std::size_t{1} << 20U, 200); },
      {{"CPython", [&] { return (*large)(); }}}, 5);
}

}  // namespace

int main() {
  compare<Pipe, Bare<SOCK_SEQPACKET>>("duplex", "seqpacket");
  compare<Stream, Bare<SOCK_STREAM>>("stream", "bare_stream");
  compare_with_python();
  for (const std::size_t ready : {std::size_t{1}, std::size_t{100}, std::size_t{1000}}) {
    benchmark::figure(
        "wait_1000_connections_" + std::to_string(ready) + "_ready", "us",
        [=] { return wait_for(1000, ready, false); },
        {{"poll", [=] { return wait_for(1000, ready, true); }}}, 5);
  }
}
