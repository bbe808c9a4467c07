// SPDX-License-Identifier: BSL-1.0
// One event loop, Boost.Asio's, awaits a connection, a queue and the end of a process.
//   ./event_loop [fork|spawn|forkserver]
// Not on Windows: Asio's stream_descriptor
#include <multiprocessing.hpp>

#include <boost/asio.hpp>

#include <chrono>
#include <functional>
#include <iostream>
#include <string>

namespace asio = boost::asio;
namespace mp = multiprocessing;

void work(mp::Connection connection, mp::Queue<int> queue) {
  connection.send(std::string{"hello from the child"});
  queue.put(42);
  static_cast<void>(connection.recv<int>());  // until all has been seen
}

// A descriptor that stays its owner's: Asio only watches it.
class Watched {
 public:
  Watched(asio::io_context& loop, int descriptor) : descriptor_{loop, descriptor} {}
  ~Watched() { descriptor_.release(); }
  void when_readable(std::function<void()> action) {
    descriptor_.async_wait(asio::posix::stream_descriptor::wait_read,
                           [action = std::move(action)](const boost::system::error_code& error) {
                             if (!error) action();
                           });
  }

 private:
  asio::posix::stream_descriptor descriptor_;
};

int main(int argc, char** argv) {
  mp::freeze_support();
  if (argc > 1) mp::set_start_method(argv[1]);

  auto [parent, child] = mp::Pipe();
  mp::Queue<int> queue;
  mp::Process process{work, child, queue};
  process.start();

  asio::io_context loop;
  Watched connection{loop, parent.fileno()};
  Watched sentinel{loop, process.sentinel()};
  int seen = 0;
  const auto one_more = [&, &end = parent] {
    if (++seen == 2) end.send(0);
  };
  connection.when_readable([&, &end = parent] {
    std::cout << "message: " << end.recv<std::string>() << std::endl;
    one_more();
  });
  sentinel.when_readable([&] {
    process.join();
    std::cout << "exit code: " << *process.exitcode() << std::endl;
  });
  // A queue says by prepare_wait() whether it has something; else its handle tells when to ask
  // again.
  Watched items{loop, queue.fileno()};
  asio::steady_timer again{loop};
  bool has_item = false;
  std::function<void()> ask = [&] {
    if (has_item) return;
    if (queue.prepare_wait()) {
      has_item = true;
      std::cout << "item: " << queue.get() << std::endl;
      again.cancel();
      one_more();
      return;
    }
    again.expires_after(std::chrono::milliseconds{50});
    again.async_wait([&](const boost::system::error_code& error) {
      if (!error) ask();
    });
    items.when_readable(ask);
  };
  ask();
  while (process.is_alive() || seen < 2) loop.run_one();
  loop.poll();
}
