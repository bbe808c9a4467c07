// SPDX-License-Identifier: BSL-1.0
// What a BaseManager does, and what it refuses.
#include <multiprocessing/base_manager.hpp>
#include <multiprocessing/queues.hpp>
#include <multiprocessing/synchronize.hpp>

#include <support/child.hpp>
#include <support/codes.hpp>
#include <support/eventually.hpp>
#if MULTIPROCESSING_POSIX
#  include <support/forked.hpp>
#endif

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <network/stranger.hpp>
#if MULTIPROCESSING_POSIX
#  include <unistd.h>
#endif

namespace mp = multiprocessing;
using namespace std::chrono_literals;
using test::Child;
using test::eventually;
#if MULTIPROCESSING_POSIX
using test::Forked;
#endif

namespace {

struct TooMuch : mp::SendableError<TooMuch> {
  TooMuch(const std::string& text, int by) : SendableError{text}, how_much{by} {}
  auto reduce() const { return mp::arguments(std::string{what()}, how_much); }
  int how_much;
};

class Counter {
 public:
  explicit Counter(int begin = 0) : value_{begin} {}
  int add(int n) { return value_ += n; }
  [[nodiscard]] int value() const noexcept { return value_; }
  void reset() { value_ = 0; }
  void fail(const std::string& why) { throw std::out_of_range{why}; }
  void fail_by(int n) { throw TooMuch{"too much", n}; }
  void fail_oddly() { throw 42; }
  [[nodiscard]] Counter doubled() const { return Counter{2 * value_}; }
  [[nodiscard]] int process() const { return mp::current_process().pid(); }
  void slowly_add(int n) {  // a race, where two do it at once
    const int before = value_;
    std::this_thread::yield();
    value_ = before + n;
  }

 private:
  int value_;
};
int tripled(Counter& counter) {
  return counter.add(2 * counter.value());
}
int sum_of(const Counter& counter, int n) {
  return counter.value() + n;
}
int begun = 0;
int ask_begun(const Counter& /*counter*/) {
  return begun;
}
struct Refuses {
  Refuses() { throw std::invalid_argument{"cannot be made"}; }
};

std::optional<mp::Proxy<Counter>> remembered;

// Holds others, and calls them.
class Registry {
 public:
  void put(const std::string& name, const mp::Proxy<Counter>& counter) {
    counters_.insert_or_assign(name, counter);
  }
  [[nodiscard]] mp::Proxy<Counter> get(const std::string& name) const { return counters_.at(name); }
  [[nodiscard]] int total() const {
    int sum = 0;
    for (const auto& [name, counter] : counters_) sum += counter.call<&Counter::value>();
    return sum;
  }
  // A proxy that is made in the server.
  [[nodiscard]] mp::Proxy<Counter> twice(const std::string& name) const {
    return counters_.at(name).keep<&Counter::doubled>();
  }
  void drop(const std::string& name) { counters_.erase(name); }
  void publish(const mp::Proxy<Counter>& counter);
  void remember(const mp::Proxy<Counter>& counter) { remembered = counter; }
#if MULTIPROCESSING_POSIX
  // In a child of the server: the same objects, not copies of them.
  void add_in_a_child(int n) {
    Forked child{[&] {
      for (const auto& [name, counter] : counters_) counter.call<&Counter::add>(n);
    }};
    if (child.join() != 0) throw std::runtime_error{"the child failed"};
  }
#endif

 private:
  std::map<std::string, mp::Proxy<Counter>> counters_;
};

// Of the server's process.
std::optional<mp::Queue<mp::Proxy<Counter>>> published;
void Registry::publish(const mp::Proxy<Counter>& counter) {
  published.value().put(counter);
}

// May hold itself, and one that holds it.
class Node {
 public:
  void link(const mp::Proxy<Node>& next) { next_ = next; }
  [[nodiscard]] std::string text() const { return text_; }

 private:
  std::optional<mp::Proxy<Node>> next_;
  std::string text_ = std::string(100, 'x');
};

struct Large {
  [[nodiscard]] std::string text() const { return std::string(64'000'000, 'x'); }
};

// Its calls wait for one another.
class Jobs {
 public:
  void put(const std::string& job) {
    const std::lock_guard guard{mutex_};
    jobs_.push_back(job);
    changed_.notify_all();
  }
  std::string get() {
    std::unique_lock guard{mutex_};
    ++waiting_;
    changed_.wait(guard, [&] { return !jobs_.empty(); });
    --waiting_;
    std::string job = jobs_.front();
    jobs_.pop_front();
    return job;
  }
  int waiting() {
    const std::lock_guard guard{mutex_};
    return waiting_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> jobs_;
  int waiting_ = 0;
};

}  // namespace

template <>
inline constexpr bool mp::is_thread_safe<Jobs> = true;

namespace {

mp::BaseManager& started(mp::BaseManager& manager) {
  manager.start();
  return manager;
}

}  // namespace

TEST(BaseManager, CallsMethodsOfObjectsInAnotherProcess) {
  mp::BaseManager manager{{.shutdown_timeout = mp::forever}};
  manager.start();
  const auto counter = manager.create<Counter>(10);
  EXPECT_EQ(counter.call<&Counter::add>(5), 15);
  EXPECT_EQ(counter.call<&Counter::value>(), 15);
  EXPECT_NE(counter.call<&Counter::process>(), mp::current_process().pid());
  EXPECT_EQ(counter.call<&Counter::process>(), manager.pid());
  counter.call<&Counter::reset>();
  EXPECT_EQ(counter.call<&Counter::value>(), 0);
  EXPECT_EQ(manager.create<Counter>().call<&Counter::value>(), 0);
  manager.shutdown();
  EXPECT_EQ(manager.exitcode(), 0);
}

TEST(BaseManager, CallsFunctionsThatTakeTheObject) {
  mp::BaseManager manager;
  const auto counter = started(manager).create<Counter>(2);
  EXPECT_EQ(counter.call<&tripled>(), 6);
  EXPECT_EQ((counter.call<&sum_of>(1)), 7);
  const auto text = manager.create<std::string>("some text");
  EXPECT_EQ(text.call<&std::string::size>(), 9U);
}

TEST(BaseManager, CarriesExceptionsHome) {
  mp::BaseManager manager;
  const auto counter = started(manager).create<Counter>();
  try {
    counter.call<&Counter::fail>("a reason");
    FAIL();
  } catch (const std::out_of_range& error) {
    EXPECT_STREQ(error.what(), "a reason");
  }
  try {
    counter.call<&Counter::fail_by>(7);
    FAIL();
  } catch (const TooMuch& error) {
    EXPECT_EQ(error.how_much, 7);
  }
  EXPECT_THROW(counter.call<&Counter::fail_oddly>(), mp::RemoteError);
  EXPECT_THROW(static_cast<void>(manager.create<Refuses>()), std::invalid_argument);
  EXPECT_EQ(counter.call<&Counter::add>(1), 1);
  EXPECT_EQ(manager.number_of_objects(), 1U);
}

TEST(BaseManager, CountsReferences) {
  mp::BaseManager manager;
  manager.start();
  EXPECT_EQ(manager.number_of_objects(), 0U);
  {
    const auto one = manager.create<Counter>();
    const auto copy = one;
    const auto two = manager.create<Counter>();
    EXPECT_EQ(manager.number_of_objects(), 2U);
    EXPECT_TRUE(one == copy);
    EXPECT_FALSE(one == two);
  }
  EXPECT_EQ(manager.number_of_objects(), 0U);
}

TEST(BaseManager, KeepsResultsInTheServer) {
  mp::BaseManager manager;
  const auto counter = started(manager).create<Counter>(4);
  {
    const auto twice = counter.keep<&Counter::doubled>();
    EXPECT_EQ(twice.call<&Counter::add>(1), 9);
    EXPECT_EQ(manager.number_of_objects(), 2U);
  }
  eventually([&] { return manager.number_of_objects() == 1; });
  EXPECT_EQ(counter.call<&Counter::value>(), 4);
}

TEST(BaseManager, LetsObjectsHoldProxiesOfOthers) {
  mp::BaseManager manager;
  const auto registry = started(manager).create<Registry>();
  registry.call<&Registry::put>("a", manager.create<Counter>(1));
  registry.call<&Registry::put>("b", manager.create<Counter>(2));
  EXPECT_EQ(registry.call<&Registry::total>(), 3);
  const auto a = registry.call<&Registry::get>("a");
  EXPECT_EQ(a.call<&Counter::add>(10), 11);
  EXPECT_EQ(registry.call<&Registry::total>(), 13);
#if MULTIPROCESSING_POSIX
  registry.call<&Registry::add_in_a_child>(100);
  EXPECT_EQ(registry.call<&Registry::total>(), 213);
  EXPECT_EQ(a.call<&Counter::add>(-100), 11);
#endif
  {
    const auto twice = registry.call<&Registry::twice>("a");
    EXPECT_EQ(twice.call<&Counter::value>(), 22);
    EXPECT_EQ(manager.number_of_objects(), 4U);
  }
  EXPECT_EQ(manager.number_of_objects(), 3U);
  EXPECT_THROW(registry.call<&Registry::get>("c"), std::out_of_range);
  registry.call<&Registry::drop>("a");
  EXPECT_EQ(a.call<&Counter::value>(), 11);
}

TEST(BaseManager, EndsThoughObjectsHoldEachOther) {
  mp::BaseManager manager{{.shutdown_timeout = mp::forever}};
  manager.start();
  {
    const auto one = manager.create<Node>();
    const auto other = manager.create<Node>();
    const auto alone = manager.create<Node>();
    one.call<&Node::link>(other);
    other.call<&Node::link>(one);
    alone.call<&Node::link>(alone);
  }
  EXPECT_EQ(manager.number_of_objects(), 3U);
  manager.shutdown();
  EXPECT_EQ(manager.exitcode(), 0);
}

// It is the server that sends it, not the client in whose call that happens.
TEST(BaseManager, KeepsWhatAMethodSendsOn) {
  mp::Queue<mp::Proxy<Counter>> queue;
  const auto take_queue = [](const mp::Queue<mp::Proxy<Counter>>& that) { published = that; };
  mp::BaseManager manager;
  manager.start(mp::Task{take_queue, queue});
  const auto registry = manager.create<Registry>();
  Child client{[](const mp::os::Endpoint& address, const mp::Proxy<Registry>& there) {
                 mp::BaseManager own{{.address = mp::Address{address}}};
                 own.connect();
                 there.call<&Registry::publish>(own.create<Counter>(7));
               },
               manager.address().endpoint(), registry};
  EXPECT_EQ(client.join(), 0);
  EXPECT_EQ(queue.get().call<&Counter::value>(), 7);
}

TEST(BaseManager, TakesProxiesOfManagersThatHaveItsKey) {
  mp::BaseManager manager{{.authkey = "key"}};
  mp::BaseManager another{{.authkey = "key"}};
  mp::BaseManager foreign{{.authkey = "another key"}};
  const auto registry = started(manager).create<Registry>();
  registry.call<&Registry::put>("a", started(another).create<Counter>(1));
  EXPECT_EQ(registry.call<&Registry::total>(), 1);
  EXPECT_EQ(registry.call<&Registry::get>("a").call<&Counter::add>(1), 2);
  const auto counter = started(foreign).create<Counter>(1);
  EXPECT_ANY_THROW(registry.call<&Registry::put>("b", counter));
  EXPECT_EQ(registry.call<&Registry::total>(), 2);
}

TEST(BaseManager, TakesNoProxyFromAStranger) {
  mp::BaseManager manager;
  const auto counter = started(manager).create<Counter>(1);
  mp::Listener listener;
  auto sending = mp::Client(listener.address());
  auto receiving = listener.accept();
  sending.send(counter);
  sending.send(1);
  EXPECT_THROW(static_cast<void>(receiving.recv<mp::Proxy<Counter>>()), mp::SerializationError);
  EXPECT_EQ(receiving.recv<int>(), 1);
}

TEST(BaseManager, LetsCallsOfOneObjectTakeTurns) {
  mp::BaseManager manager;
  const auto counter = started(manager).create<Counter>();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 200; ++n) counter.call<&Counter::slowly_add>(1);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(counter.call<&Counter::value>(), 800);
}

TEST(BaseManager, LetsCallsOfAThreadSafeObjectWaitForOneAnother) {
  mp::BaseManager manager;
  const auto jobs = started(manager).create<Jobs>();
  std::string got;
  std::thread waiting{[&] { got = jobs.call<&Jobs::get>(); }};
  jobs.call<&Jobs::put>("work");
  waiting.join();
  EXPECT_EQ(got, "work");
}

// ---- beginnings and ends ----

TEST(BaseManager, StartsOnceAndEndsOnce) {
  mp::BaseManager manager;
  EXPECT_THROW(static_cast<void>(manager.create<Counter>()), std::logic_error);
  EXPECT_THROW(manager.shutdown(), std::logic_error);
  EXPECT_THROW(static_cast<void>(manager.address()), std::logic_error);
  EXPECT_THROW(manager.connect(), std::invalid_argument);
  manager.start();
  EXPECT_THROW(manager.start(), mp::ProcessError);
  EXPECT_FALSE(manager.join(0s));
  manager.shutdown();
  manager.shutdown();
  EXPECT_TRUE(manager.join());
  EXPECT_THROW(manager.start(), mp::ProcessError);
  EXPECT_THROW(static_cast<void>(manager.create<Counter>()), mp::ProcessError);
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(BaseManager, IsItsMakersOnly) {
  mp::BaseManager manager;
  const auto counter = started(manager).create<Counter>(1);
  Forked child{[&] {
    EXPECT_THROW(static_cast<void>(manager.create<Counter>()), std::logic_error);
    EXPECT_THROW(manager.shutdown(), std::logic_error);
    EXPECT_EQ(counter.call<&Counter::add>(1), 2);  // but its proxies go on
    const auto own = counter.keep<&Counter::doubled>();
    EXPECT_EQ(own.call<&Counter::value>(), 4);
  }};
  EXPECT_EQ(child.join(), 0);
  EXPECT_EQ(counter.call<&Counter::value>(), 2);
  eventually([&] { return manager.number_of_objects() == 1; });
}
#endif

TEST(BaseManager, CallsItsInitializerInTheServer) {
  const auto begin = [](int with) { begun = with; };
  mp::BaseManager manager;
  manager.start(mp::Task{begin, 7});
  EXPECT_EQ(manager.create<Counter>().call<&ask_begun>(), 7);
  EXPECT_EQ(begun, 0);

  mp::BaseManager failing;
  const auto fail = [] { throw std::domain_error{"not today"}; };
  EXPECT_THROW(failing.start(mp::Task{fail}), std::domain_error);
  mp::BaseManager dying;
  const auto die = [] { std::_Exit(3); };
  EXPECT_THROW(dying.start(mp::Task{die}), mp::EOFError);
}

TEST(BaseManager, ListensWhereItIsTold) {
  const mp::Address path{MULTIPROCESSING_WINDOWS ? R"(\\.\pipe\multiprocessing-test-manager)" +
                                                       std::to_string(mp::os::process_id())
                                                 : std::filesystem::absolute("m.socket").string()};
  mp::BaseManager by_path{{.address = path, .shutdown_timeout = mp::forever}};
  by_path.start();
  EXPECT_EQ(std::filesystem::exists("m.socket"), MULTIPROCESSING_POSIX != 0);
  mp::BaseManager second{{.address = by_path.address()}};
  try {
    second.start();
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::address_in_use);
  }
  by_path.shutdown();
  EXPECT_FALSE(std::filesystem::exists("m.socket"));

  mp::BaseManager by_host{{.address = mp::Address{"127.0.0.1", 0}, .authkey = "secret"}};
  by_host.start();
  EXPECT_NE(by_host.address().port(), 0);
  EXPECT_EQ(by_host.create<Counter>(3).call<&Counter::value>(), 3);
}

TEST(BaseManager, RefusesThoseWithoutTheKey) {
  mp::BaseManager manager{{.authkey = "secret"}};
  manager.start();
  mp::BaseManager stranger{{.address = manager.address(), .authkey = "guess"}};
  EXPECT_THROW(stranger.connect(), mp::AuthenticationError);
  mp::BaseManager friendly{{.address = manager.address(), .authkey = "secret"}};
  friendly.connect();
  EXPECT_EQ(friendly.create<Counter>(1).call<&Counter::value>(), 1);
  EXPECT_THROW(friendly.shutdown(), std::logic_error);
}

// Though a call goes on in it for ever.
void end_while_a_call_goes_on(mp::BaseManager& manager, std::chrono::milliseconds at_least) {
  const auto jobs = manager.create<Jobs>();
  std::thread waiting{[&] { EXPECT_ANY_THROW(jobs.call<&Jobs::get>()); }};
  eventually([&] { return jobs.call<&Jobs::waiting>() == 1; });
  const auto begin = std::chrono::steady_clock::now();
  manager.shutdown();
  EXPECT_GE(std::chrono::steady_clock::now() - begin, at_least);
  waiting.join();
}

TEST(BaseManager, EndsWithinItsTimeout) {
  constexpr auto timeout = 2s;  // so long may a busy machine take to end it by SIGTERM, too
  mp::BaseManager manager{{.shutdown_timeout = timeout}};
  end_while_a_call_goes_on(started(manager), timeout);
  EXPECT_EQ(manager.exitcode(), -SIGTERM);
}

#if MULTIPROCESSING_POSIX  // not on Windows: signals
TEST(BaseManager, EndsWithinTwiceItsTimeoutThoughItIgnoresSigterm) {
  constexpr auto timeout = 200ms;
  const auto ignore = [] { std::signal(SIGTERM, SIG_IGN); };
  mp::BaseManager manager{{.shutdown_timeout = timeout}};
  manager.start(mp::Task{ignore});
  end_while_a_call_goes_on(manager, 2 * timeout);
  EXPECT_EQ(manager.exitcode(), -SIGKILL);
}
#endif

// Who is second waits for the first.
TEST(BaseManager, HasEndedForAllThreadsThatShutItDown) {
  mp::BaseManager manager{{.shutdown_timeout = 200ms}};
  const auto jobs = started(manager).create<Jobs>();
  std::thread waiting{[&] { EXPECT_ANY_THROW(jobs.call<&Jobs::get>()); }};
  std::thread first{[&] { manager.shutdown(); }};
  eventually([&] {
    try {
      static_cast<void>(manager.number_of_objects());
      return false;
    } catch (const std::exception&) {
      return true;
    }
  });
  manager.shutdown();
  EXPECT_TRUE(manager.exitcode().has_value());
  first.join();
  waiting.join();
}

TEST(BaseManager, TellsOfAServerThatWasKilled) {
  mp::BaseManager manager;
  const auto counter = started(manager).create<Counter>();
  int killed = 0;
  for (auto& child : mp::active_children()) {
    if (child.pid() != manager.pid()) continue;
    child.kill();
    ++killed;
  }
  ASSERT_EQ(killed, 1);
  manager.join();
  EXPECT_ANY_THROW(counter.call<&Counter::value>());
  EXPECT_ANY_THROW(counter.call<&Counter::value>());
  manager.shutdown();
  EXPECT_EQ(manager.exitcode(), test::killed_code);
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(BaseManager, ServesInThisProcess) {
  mp::BaseManager server{{.address = mp::Address{std::filesystem::absolute("s.socket").string()}}};
  Forked process{[&] {
    mp::BaseManager forever{{.address = server.address(), .authkey = "key"}};
    forever.serve_forever();
  }};
  std::optional<mp::BaseManager> client;
  eventually([&] {  // the file is there a moment before somebody listens
    try {
      client.emplace(mp::BaseManagerOptions{.address = server.address(), .authkey = "key"});
      client->connect();
      return true;
    } catch (const std::system_error&) {
      return false;
    }
  });
  EXPECT_EQ(client->create<Counter>(2).call<&Counter::process>(), process.pid());
  client.reset();
  process.kill();
  eventually([] { return !std::filesystem::exists("s.socket"); });
}

// Whose child has a copy of all that it had open.
class Forks {
 public:
  int start() {
    const pid_t child = ::fork();
    while (child == 0) ::pause();
    return child;
  }
};

TEST(BaseManager, TellsClientsInTheirHandshakeOfItsDeathThoughAChildLives) {
  mp::BaseManager manager;
  const auto forks = started(manager).create<Forks>();
  const test::Stranger early{manager.address()};
  EXPECT_FALSE(early.hear(8).empty());  // so the server has it
  const int child = forks.call<&Forks::start>();
  for (auto& process : mp::active_children()) {
    if (process.pid() == manager.pid()) process.kill();
  }
  manager.join();
  EXPECT_LT(early.hear(1000).size(), 1000U);  // until the end
  EXPECT_EQ(::kill(child, SIGKILL), 0);
  eventually([&] { return ::kill(child, 0) != 0; });
}

TEST(BaseManager, LeavesItsPortFreeWhenItIsKilledThoughAChildLives) {
  mp::BaseManager manager{{.address = mp::Address{"127.0.0.1", 0}, .authkey = "key"}};
  const int child = started(manager).create<Forks>().call<&Forks::start>();
  for (auto& process : mp::active_children()) {
    if (process.pid() == manager.pid()) process.kill();
  }
  manager.join();
  mp::BaseManager again{{.address = manager.address(), .authkey = "key"}};
  EXPECT_NO_THROW(again.start());
  EXPECT_EQ(again.create<Counter>(3).call<&Counter::value>(), 3);
  EXPECT_EQ(::kill(child, SIGKILL), 0);
  eventually([&] { return ::kill(child, 0) != 0; });
}
#endif

// ---- clients that die ----

TEST(BaseManager, ReleasesWhatADeadClientHeld) {
  mp::BaseManager manager{{.authkey = "key"}};
  manager.start();
  Child client{[](const mp::os::Endpoint& address) {
                 mp::BaseManager own{{.address = mp::Address{address}, .authkey = "key"}};
                 own.connect();
                 const auto one = own.create<Counter>();
                 const auto two = one.keep<&Counter::doubled>();
                 for (;;) std::this_thread::sleep_for(1h);  // until it is killed
               },
               manager.address().endpoint()};
  eventually([&] { return manager.number_of_objects() == 2; });
  client.kill();
  eventually([&] { return manager.number_of_objects() == 0; });
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
// Its child holds nothing of its connection.
TEST(BaseManager, ReleasesWhatADeadClientHeldWhoseChildLives) {
  mp::BaseManager manager;
  manager.start();
  const mp::Address address = manager.address();
  mp::Queue<int> children;
  Forked client{[&] {
    mp::BaseManager own{{.address = address}};
    own.connect();
    const auto one = own.create<Counter>();
    const pid_t child = ::fork();
    if (child == 0) {
      for (;;) ::pause();
    }
    children.put(child);
    for (;;) ::pause();
  }};
  const int child = children.get();
  EXPECT_EQ(manager.number_of_objects(), 1U);
  client.kill();
  eventually([&] { return manager.number_of_objects() == 0; });
  EXPECT_EQ(::kill(child, 0), 0);
  ::kill(child, SIGKILL);
  eventually([&] { return ::kill(child, 0) != 0; });
}
#endif

TEST(BaseManager, GoesOnWhenClientsAreKilledAnywhere) {
  mp::BaseManager manager;
  manager.start();
  const auto counter = manager.create<Counter>();
  constexpr int clients = MULTIPROCESSING_WINDOWS ? 10 : 40;
  for (int i = 0; i < clients; ++i) {
    Child client{[](const mp::os::Endpoint& address, mp::Proxy<Counter> shared) {
                   mp::BaseManager own{{.address = mp::Address{address}}};
                   own.connect();
                   for (;;) {
                     const auto one = own.create<Counter>();
                     one.call<&Counter::slowly_add>(1);
                     shared.call<&Counter::add>(1);
                   }
                 },
                 manager.address().endpoint(), counter};
    if (MULTIPROCESSING_WINDOWS) eventually([&] { return counter.call<&Counter::value>() > i; });
    std::this_thread::sleep_for(std::chrono::microseconds{i * 250});  // any moment will do
    client.kill();
  }
  EXPECT_GE(counter.call<&Counter::value>(), 0);
  eventually([&] { return manager.number_of_objects() == 1; });
}

// ---- what clients say ----

namespace {

// A client that has the key, and says what it likes.
class Liar {
 public:
  explicit Liar(const mp::Address& address, bool greets = true)
      : connection_{mp::Client(address, {.authkey = "key"})} {
    std::vector<std::byte> bytes;
    mp::Encoder encoder{bytes};
    encoder.write_number(mp::detail::manager_greeting);
    encoder(mp::detail::ManagerId{1, 2}, std::uint8_t{1});
    if (greets) {
      connection_.send_bytes(bytes);
      static_cast<void>(connection_.recv_bytes());
    }
  }
  std::vector<std::byte> say(const std::vector<std::byte>& bytes) {
    connection_.send_bytes(bytes);
    return connection_.recv_bytes();
  }
  mp::Connection& connection() { return connection_; }

 private:
  mp::Connection connection_;
};

std::vector<std::byte> run_request(const mp::CodeReference& reference, std::uint32_t number = 0) {
  std::vector<std::byte> bytes{std::byte{0}};
  mp::Encoder encoder{bytes};
  encoder.write_number(number);
  mp::codec<mp::CodeReference>::encode(encoder, reference);
  return bytes;
}

struct AnotherKey {
  using Signature = void(mp::Decoder&);
  static void entry(mp::Decoder&) { std::_Exit(9); }
};

}  // namespace

TEST(BaseManager, RunsNothingThatIsNotForIt) {
  mp::BaseManager manager{{.authkey = "key"}};
  const auto counter = started(manager).create<Counter>(1);
  Liar liar{manager.address()};
  const auto is_error = [](const std::vector<std::byte>& answer) {
    return !answer.empty() && answer.front() == std::byte{1};
  };
  // Code of this program, but not of a manager.
  EXPECT_TRUE(is_error(liar.say(run_request(mp::refer_to<AnotherKey>(), 0))));
  // The right code at a wrong place, and with a wrong name.
  using Key = mp::detail::CallMethod<Counter, &Counter::value, false>;
  auto reference = mp::refer_to<Key>();
  reference.offset += 8;
  EXPECT_TRUE(is_error(liar.say(run_request(reference, 1))));
  reference = mp::refer_to<Key>();
  reference.hash ^= 1;
  EXPECT_TRUE(is_error(liar.say(run_request(reference, 2))));
  // A module that is not loaded there is not loaded for a client.
  reference = mp::refer_to<Key>();
  reference.module.push_back(std::byte{1});
  reference.path = "/usr/lib/x86_64-linux-gnu/libm.so.6";
  EXPECT_TRUE(is_error(liar.say(run_request(reference, 3))));
  // What was refused stays so by its number, and numbers are not left out.
  EXPECT_TRUE(is_error(liar.say(run_request(mp::refer_to<Key>(), 3))));
  EXPECT_TRUE(is_error(liar.say(run_request(mp::refer_to<Key>(), 5))));
  // Unknown requests, nothing, and numbers that mean nothing.
  EXPECT_TRUE(is_error(liar.say({std::byte{77}})));
  EXPECT_TRUE(is_error(liar.say({})));
  EXPECT_TRUE(is_error(liar.say({std::byte{0}, std::byte{9}})));
  EXPECT_EQ(counter.call<&Counter::value>(), 1);
}

TEST(BaseManager, GoesOnWithAClientThatCalledWhatItDoesNotHave) {
  mp::BaseManager manager{{.authkey = "key"}};
  manager.start();
  const auto client = std::make_shared<mp::detail::ClientSide>(manager.address(), "key");
  const auto nothing = [](mp::Encoder&) {};
  const auto object = [](mp::Decoder& decoder) { return decoder.read_number<std::uint64_t>(); };
  for (int i = 0; i < 2; ++i) {
    try {
      static_cast<void>(mp::detail::run_in_server<AnotherKey>(*client, nothing, object));
      FAIL();
    } catch (const mp::SerializationError& error) {
      const std::string text = error.what();
      EXPECT_EQ(text.find("bytes end"), std::string::npos) << text;
    }
  }
  using Key = mp::detail::CreateObject<Jobs>;
  EXPECT_GT(mp::detail::run_in_server<Key>(*client, nothing, object), 0U);
  EXPECT_EQ(manager.number_of_objects(), 1U);
}

TEST(BaseManager, EndsThoughAClientTakesNoAnswer) {
  mp::BaseManager manager{{.authkey = "key", .shutdown_timeout = mp::forever}};
  const auto large = started(manager).create<Large>();
  Liar liar{manager.address()};
  using Key = mp::detail::CallMethod<Large, &Large::text, false>;
  auto question = run_request(mp::refer_to<Key>());
  mp::Encoder encoder{question};
  encoder.write_number(std::uint64_t{1});  // the first object
  liar.connection().send_bytes(question);
  EXPECT_TRUE(liar.connection().poll(mp::forever));  // it is being sent
  manager.shutdown();
  EXPECT_EQ(manager.exitcode(), 0);
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(BaseManager, IsOutlivedByProxiesInItsProcess) {
  const mp::Address address{std::filesystem::absolute("o.socket").string()};
  Forked process{[&] {
    mp::BaseManager server{{.address = address, .authkey = "key"}};
    server.serve_forever();
    EXPECT_THROW(remembered.value().call<&Counter::value>(), mp::ProcessError);
    EXPECT_THROW(static_cast<void>(remembered.value().keep<&Counter::doubled>()), mp::ProcessError);
    remembered.reset();
  }};
  std::optional<mp::BaseManager> client;
  eventually([&] {  // the file is there a moment before somebody listens
    try {
      client.emplace(mp::BaseManagerOptions{.address = address, .authkey = "key"});
      client->connect();
      return true;
    } catch (const std::system_error&) {
      return false;
    }
  });
  client->create<Registry>().call<&Registry::remember>(client->create<Counter>(3));
  Liar liar{address};
  liar.say({static_cast<std::byte>(mp::detail::Request::shutdown)});
  EXPECT_EQ(process.join(), 0);
}
#endif

// ---- what servers say ----

namespace {

// A server that has the key, and answers as it likes: its second connection, after the greeting,
// with what it is given, one by one; then it is silent.
class LyingServer {
 public:
  explicit LyingServer(std::vector<std::vector<std::byte>> answers)
      : answers_{std::move(answers)}, thread_{[this] { serve(); }} {}
  LyingServer(const LyingServer&) = delete;
  LyingServer& operator=(const LyingServer&) = delete;
  ~LyingServer() {
    listener_.close();
    thread_.join();
  }
  [[nodiscard]] mp::Address address() const { return listener_.address(); }
  [[nodiscard]] int connections() const { return connections_; }

 private:
  void serve() {
    std::vector<mp::Connection> all;
    try {
      for (;;) {
        all.push_back(listener_.accept());
        mp::Connection& client = all.back();
        static_cast<void>(client.recv_bytes());
        std::vector<std::byte> bytes;
        mp::Encoder encoder{bytes};
        encoder.write_number(mp::detail::manager_greeting);
        encoder(mp::detail::ManagerId{1, 2});
        client.send_bytes(bytes);
        if (++connections_ != 2) continue;
        for (const auto& answer : answers_) {
          static_cast<void>(client.recv_bytes());
          client.send_bytes(answer);
        }
      }
    } catch (const std::exception&) {  // closed
    }
  }

  std::vector<std::vector<std::byte>> answers_;
  std::atomic<int> connections_{0};
  mp::Listener listener_{{.backlog = 16, .authkey = "key"}};
  std::thread thread_;
};

}  // namespace

TEST(BaseManager, LoadsNoModuleForAServer) {
  std::vector<std::byte> answer{static_cast<std::byte>(mp::detail::Answer::error)};
  mp::Encoder encoder{answer};
  encoder.write_number(static_cast<std::uint8_t>(mp::detail::ErrorForm::own));
  auto reference = mp::refer_to<mp::detail::RemakeError<TooMuch>>();
  reference.module.back() ^= std::byte{1};
  mp::codec<mp::CodeReference>::encode(encoder, reference);
  const LyingServer server{{answer}};
  mp::BaseManager manager{{.address = server.address(), .authkey = "key"}};
  manager.connect();
  try {
    static_cast<void>(manager.create<Counter>());
    FAIL();
  } catch (const mp::SerializationError& error) {
    const std::string text = error.what();
    EXPECT_EQ(text.find("opening"), std::string::npos) << text;
    EXPECT_NE(text.find("loads none"), std::string::npos) << text;
  }
}

// Only the first one that is given up waits for it.
TEST(BaseManager, GivesProxiesUpThoughTheServerIsSilent) {
  std::vector<std::byte> answer{static_cast<std::byte>(mp::detail::Answer::value)};
  mp::Encoder encoder{answer};
  encoder.write_number(std::uint64_t{1});
  const LyingServer server{{answer, answer, answer}};
  mp::BaseManager manager{{.address = server.address(), .authkey = "key"}};
  manager.connect();
  {
    std::vector<mp::Proxy<Counter>> proxies;
    for (int i = 0; i < 3; ++i) proxies.push_back(manager.create<Counter>());
  }
  EXPECT_EQ(server.connections(), 2);
}

TEST(BaseManager, LetsNobodyHaveAnObjectAsOneOfAnotherType) {
  mp::BaseManager manager{{.authkey = "key"}};
  const auto counter = started(manager).create<Counter>(1);
  Liar liar{manager.address()};
  const auto first_answered = [&](std::uint64_t type) -> std::uint64_t {
    constexpr std::uint64_t numbers = 5;
    for (std::uint64_t object = 0; object < numbers; ++object) {
      std::vector<std::byte> bytes{static_cast<std::byte>(mp::detail::Request::acquire)};
      mp::Encoder encoder{bytes};
      encoder.write_number(object);
      encoder.write_number(type);
      if (liar.say(bytes).front() == static_cast<std::byte>(mp::detail::Answer::value))
        return object;
    }
    return numbers;
  };
  EXPECT_LT(first_answered(mp::detail::type_hash<Counter>()), 5U);
  EXPECT_EQ(first_answered(mp::detail::type_hash<Jobs>()), 5U);
  EXPECT_EQ(counter.call<&Counter::value>(), 1);
}

TEST(BaseManager, SendsThoseAwayWhoGreetWrongly) {
  mp::BaseManager manager{{.authkey = "key"}};
  const auto counter = started(manager).create<Counter>(1);
  const auto is_sent_away_with = [&](std::string_view greeting) {
    Liar liar{manager.address(), false};
    liar.connection().send_bytes(greeting);  // throws where the server hangs up in the middle of it
    static_cast<void>(liar.connection().recv_bytes());
  };
  EXPECT_ANY_THROW(is_sent_away_with("hello"));
  EXPECT_ANY_THROW(is_sent_away_with(std::string(100'000, 'x')));
  EXPECT_EQ(counter.call<&Counter::value>(), 1);
}

TEST(BaseManager, TellsAProxyOfAnotherType) {
  mp::BaseManager manager;
  const auto counter = started(manager).create<Counter>(1);
  const auto bytes = mp::dumps(counter);
  EXPECT_THROW(mp::loads<mp::Proxy<Jobs>>(bytes), mp::SerializationError);
  const auto same = mp::loads<mp::Proxy<Counter>>(bytes);
  EXPECT_EQ(same.call<&Counter::value>(), 1);
}
