// SPDX-License-Identifier: BSL-1.0
// Pipe beside bare descriptors of the same kind with blocking read and write: a SOCK_SEQPACKET pair
// for the duplex one, an anonymous pipe in packet mode for the other; that one also as a program
// must use it that is not to be killed by SIGPIPE.
#include <multiprocessing.hpp>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <vector>

#include "figure.hpp"
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace mp = multiprocessing;

namespace {

using Message = std::array<std::byte, 64>;
constexpr int round_trips = 20'000;
constexpr int one_way_messages = 200'000;

class Ours {  // to and fro, over one duplex or two one-way pipes
 public:
  explicit Ours(bool duplex) : there_{duplex}, back_{duplex} {}
  void send_there(const Message& m) { there_.second.send_bytes(m); }
  void receive_there(Message& m) { there_.first.recv_bytes_into(m); }
  void send_back(const Message& m) { back_.second.send_bytes(m); }
  void receive_back(Message& m) { back_.first.recv_bytes_into(m); }

 private:
  mp::Pipe there_;
  mp::Pipe back_;
};

template <bool RaisesSignal>
class Bare {
 public:
  explicit Bare(bool duplex) {
    for (auto& ends : ends_) {
      const int result =
          duplex ? socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) : pipe2(ends, O_DIRECT);
      if (result != 0) std::abort();
    }
  }
  ~Bare() {
    for (auto& ends : ends_) {
      for (const int end : ends) close(end);
    }
  }
  void send_there(const Message& m) { send(ends_[0][1], m); }
  void receive_there(Message& m) { check(read(ends_[0][0], m.data(), m.size())); }
  void send_back(const Message& m) { send(ends_[1][1], m); }
  void receive_back(Message& m) { check(read(ends_[1][0], m.data(), m.size())); }

 private:
  static void send(int end, const Message& m) {
    if constexpr (RaisesSignal) {
      check(write(end, m.data(), m.size()));
    } else {
      constexpr int no_signal = 0x100;  // RWF_NOSIGNAL, Linux 6.18; else writev: it costs the same
      const iovec part{const_cast<std::byte*>(m.data()), m.size()};
      const auto written = pwritev2(end, &part, 1, -1, no_signal);
      check(written < 0 ? writev(end, &part, 1) : written);
    }
  }
  static void check(ssize_t size) {
    if (size != sizeof(Message)) std::abort();
  }
  int ends_[2][2]{};
};

template <class Ends>
double round_trip(bool duplex) {  // microseconds
  Ends ends{duplex};
  mp::Process echo{[&ends] {
    Message message{};
    for (int i = 0; i < round_trips; ++i) {
      ends.receive_there(message);
      ends.send_back(message);
    }
  }};
  echo.start();
  const double seconds = benchmark::seconds_of([&ends] {
    Message message{};
    for (int i = 0; i < round_trips; ++i) {
      ends.send_there(message);
      ends.receive_back(message);
    }
  });
  echo.join();
  return seconds / round_trips * 1e6;
}

template <class Ends>
double one_way(bool duplex) {  // microseconds a message
  Ends ends{duplex};
  mp::Process sender{[&ends] {
    Message message{};
    ends.receive_back(message);
    for (int i = 0; i < one_way_messages; ++i) ends.send_there(message);
  }};
  sender.start();
  ends.send_back({});
  const double seconds = benchmark::seconds_of([&ends] {
    Message message{};
    for (int i = 0; i < one_way_messages; ++i) ends.receive_there(message);
  });
  sender.join();
  return seconds / one_way_messages * 1e6;
}

}  // namespace

int main() {
  for (const bool duplex : {true, false}) {
    const std::string kind = duplex ? "pipe_duplex_" : "pipe_one_way_";
    const auto beside = [duplex](const auto& of_signalling, const auto& of_quiet) {
      std::vector<benchmark::Contestant> peers{
          {duplex ? "seqpacket" : "packet_pipe", of_signalling}};
      if (!duplex) peers.push_back({"packet_pipe_without_sigpipe", of_quiet});
      return peers;
    };
    benchmark::figure(
        kind + "round_trip_64B", "us", [&] { return round_trip<Ours>(duplex); },
        beside([&] { return round_trip<Bare<true>>(duplex); },
               [&] { return round_trip<Bare<false>>(duplex); }));
    benchmark::figure(
        kind + "stream_64B", "us/msg", [&] { return one_way<Ours>(duplex); },
        beside([&] { return one_way<Bare<true>>(duplex); },
               [&] { return one_way<Bare<false>>(duplex); }));
  }
}
