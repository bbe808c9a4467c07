// SPDX-License-Identifier: BSL-1.0
// Queue beside boost::interprocess::message_queue, both bounded to 1,024 messages of 64 bytes.
#include <multiprocessing.hpp>

#include <boost/interprocess/ipc/message_queue.hpp>

#include <array>
#include <cstddef>
#include <string>

#include "figure.hpp"
#include <unistd.h>

namespace mp = multiprocessing;

namespace {

using Message = std::array<std::byte, 64>;
constexpr std::size_t capacity = 1024;
constexpr int one_way_messages = 1'000'000;
constexpr int round_trips = 20'000;

/// Two queues of one kind, for there and back.
class Ours {
 public:
  void put(int queue, const Message& message) { queues_[queue].put(message); }
  Message get(int queue) { return queues_[queue].get(); }

 private:
  mp::Queue<Message> queues_[2]{mp::Queue<Message>{capacity}, mp::Queue<Message>{capacity}};
};

class Boost {
 public:
  void put(int queue, const Message& message) {
    queues_[queue].queue.send(message.data(), message.size(), 0);
  }
  Message get(int queue) {
    Message message;
    std::size_t size = 0;
    unsigned priority = 0;
    queues_[queue].queue.receive(message.data(), message.size(), size, priority);
    return message;
  }

 private:
  struct Unnamed {
    explicit Unnamed(const std::string& name)
        : queue{boost::interprocess::create_only, name.c_str(), capacity, sizeof(Message)} {
      boost::interprocess::message_queue::remove(name.c_str());
    }
    boost::interprocess::message_queue queue;
  };

  static std::string name(const char* end) {
    return "multiprocessing-benchmark-" + std::to_string(getpid()) + end;
  }

  Unnamed queues_[2]{Unnamed{name("-there")}, Unnamed{name("-back")}};
};

template <class Queues>
double one_way() {  // million messages a second
  Queues queues;
  mp::Process producer{[&queues] {
    const Message message{};
    queues.get(1);
    for (int i = 0; i < one_way_messages; ++i) queues.put(0, message);
  }};
  producer.start();
  queues.put(1, {});
  const double seconds = benchmark::seconds_of([&queues] {
    for (int i = 0; i < one_way_messages; ++i) queues.get(0);
  });
  producer.join();
  return one_way_messages / seconds / 1e6;
}

template <class Queues>
double round_trip() {  // microseconds
  Queues queues;
  mp::Process echo{[&queues] {
    for (int i = 0; i < round_trips; ++i) queues.put(1, queues.get(0));
  }};
  echo.start();
  const double seconds = benchmark::seconds_of([&queues] {
    for (int i = 0; i < round_trips; ++i) {
      queues.put(0, {});
      queues.get(1);
    }
  });
  echo.join();
  return seconds / round_trips * 1e6;
}

}  // namespace

int main() {
  benchmark::figure("queue_one_way_64B", "Mmsg/s", one_way<Ours>,
                    {{"message_queue", one_way<Boost>}});
  benchmark::figure("queue_round_trip_64B", "us", round_trip<Ours>,
                    {{"message_queue", round_trip<Boost>}});
}
