// SPDX-License-Identifier: BSL-1.0
// What a BaseManager is to processes of every start method, and what CPython's tests pin of it:
// _TestMyManager, _TestRemoteManager, _TestManagerRestart.
#include <multiprocessing/base_manager.hpp>
#include <multiprocessing/queues.hpp>

#include <support/codes.hpp>
#include <support/eventually.hpp>
#include <support/start_methods.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <filesystem>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace mp = multiprocessing;
using test::eventually;

namespace {

class BaseManagerParity : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(BaseManagerParity);

template <class... Arguments>
int exit_code_of(const Arguments&... arguments) {
  mp::Process process{arguments...};
  process.start();
  process.join();
  return process.exitcode().value();
}

class FooBar {
 public:
  [[nodiscard]] std::string f() const { return "f()"; }
  [[nodiscard]] int g() const { throw std::invalid_argument{"g()"}; }
};
class Squares {
 public:
  explicit Squares(int to) : to_{to} {}
  [[nodiscard]] std::vector<int> all() const {
    std::vector<int> list;
    for (int i = 0; i < to_; ++i) list.push_back(i * i);
    return list;
  }

 private:
  int to_;
};
class Texts {
 public:
  void put(const std::string& text) {
    const std::lock_guard guard{mutex_};
    texts_.push_back(text);
    changed_.notify_one();
  }
  std::string get() {
    std::unique_lock guard{mutex_};
    changed_.wait(guard, [&] { return !texts_.empty(); });
    std::string first = texts_.front();
    texts_.pop_front();
    return first;
  }
  void take(const std::vector<std::string>& texts) {
    for (const auto& text : texts) put(text);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> texts_;
};

}  // namespace

template <>
inline constexpr bool mp::is_thread_safe<Texts> = true;

namespace {

void use(mp::BaseManager& manager) {
  const auto foo = manager.create<FooBar>();
  EXPECT_EQ(foo.call<&FooBar::f>(), "f()");
  EXPECT_THROW(foo.call<&FooBar::g>(), std::invalid_argument);
  const auto baz = manager.create<Squares>(10);
  EXPECT_EQ(baz.call<&Squares::all>(), (std::vector<int>{0, 1, 4, 9, 16, 25, 36, 49, 64, 81}));
}

// _TestMyManager.test_mymanager
TEST_P(BaseManagerParity, ServesAProgramsOwnClasses) {
  mp::BaseManager manager;
  manager.start();
  use(manager);
  manager.shutdown();
  EXPECT_TRUE(manager.exitcode() == 0 || manager.exitcode() == -SIGTERM);
}

// _TestMyManager.test_mymanager_context, test_mymanager_context_prestarted: the destructor ends it
TEST_P(BaseManagerParity, EndsWithItsScope) {
  int pid = 0;
  const auto is_a_child = [&pid] {
    const auto children = mp::active_children();
    return std::ranges::any_of(children, [pid](const auto& one) { return one.pid() == pid; });
  };
  {
    mp::BaseManager manager;
    manager.start();
    use(manager);
    pid = manager.pid().value();
    EXPECT_TRUE(is_a_child());
  }
  EXPECT_FALSE(is_a_child());
#if MULTIPROCESSING_POSIX
  eventually([&] { return ::kill(pid, 0) != 0; });  // a fork server reaps it
#endif
}

TEST_P(BaseManagerParity, PassesProxiesToProcesses) {
  mp::BaseManager manager{{.authkey = "a key of its own"}};
  manager.start();
  const auto texts = manager.create<Texts>();
  EXPECT_EQ(exit_code_of(
                [](mp::Proxy<Texts> theirs) {
                  theirs.call<&Texts::put>("from a child");
                  if (theirs.call<&Texts::get>() != "from a child") throw std::runtime_error{"no"};
                  theirs.call<&Texts::put>("and for the parent");
                },
                texts),
            0);
  EXPECT_EQ(texts.call<&Texts::get>(), "and for the parent");
}

TEST_P(BaseManagerParity, PassesProxiesThroughAQueue) {
  mp::BaseManager manager;
  manager.start();
  mp::Queue<mp::Proxy<Texts>> queue;
  queue.put(manager.create<Texts>());
  EXPECT_EQ(exit_code_of(
                [](mp::Queue<mp::Proxy<Texts>> from) {
                  const auto texts = from.get();
                  texts.call<&Texts::put>("through a queue");
                  from.put(texts);
                  if (texts.call<&Texts::get>() != "through a queue") {
                    throw std::runtime_error{"lost"};
                  }
                },
                queue),
            0);
}

// _TestRemoteManager.test_remote
const std::vector<std::string>& values() {
  static const std::vector<std::string> all{"hello world", "", "true", "h\xc3\xa1mburgers"};
  return all;
}
// A client finds what another one made through an object of which the server has one.
class Door {
 public:
  void put(const std::vector<std::string>& texts) { one().take(texts); }
  std::string get() { return one().get(); }

 private:
  static Texts& one() {
    static Texts texts;
    return texts;
  }
};
void put_all(const std::string& host, std::uint16_t port) {
  mp::BaseManager manager{{.address = mp::Address{host, port}, .authkey = "remote key"}};
  manager.connect();
  manager.create<Door>().call<&Door::put>(values());
}
// Holds a handle where nobody sees it.
struct Hidden {
  mp::Queue<int> queue = mp::Queue<int>{};
  void save(mp::Encoder& encoder) const { encoder(queue); }
  void load(mp::Decoder& decoder) { decoder(queue); }
};
class Takes {
 public:
  void hidden(const Hidden&) {}
};

TEST_P(BaseManagerParity, ServesClientsOverTheNetwork) {
  mp::BaseManager manager{{.address = mp::Address{"localhost", 0}, .authkey = "remote key"}};
  manager.start();
  EXPECT_EQ(exit_code_of(put_all, manager.address().host(), manager.address().port()), 0);
  mp::BaseManager second{{.address = manager.address(), .authkey = "remote key"}};
  second.connect();
  const auto door = second.create<Door>();
  for (const auto& value : values()) EXPECT_EQ(door.call<&Door::get>(), value);
  const Hidden hidden{mp::Queue<int>{}};
  const auto takes = second.create<Takes>();
  EXPECT_THROW(takes.call<&Takes::hidden>(hidden), mp::SerializationError);
  EXPECT_NO_THROW(use(second));
}

// Of each kind that can be taken again at once. (On Windows a pipe's name is taken as long as a
// client has its connection.)
std::vector<mp::Address> addresses() {
  std::vector<mp::Address> all{mp::Address{"localhost", 0}};
#if MULTIPROCESSING_POSIX
  all.emplace_back(std::filesystem::absolute("restart.socket").string());
#endif
  return all;
}

// _TestManagerRestart.test_rapid_restart
void restart_at(const mp::Address& where) {
  SCOPED_TRACE(where.to_string());
  mp::BaseManager first{{.address = where, .authkey = "restart"}};
  first.start();
  const mp::Address address = first.address();
  const auto old = first.create<FooBar>();
  EXPECT_EQ(old.call<&FooBar::f>(), "f()");
  first.shutdown();
  for (int i = 0; i < 3; ++i) {
    mp::BaseManager again{
        {.address = address, .authkey = "restart", .shutdown_timeout = mp::forever}};
    again.start();
    EXPECT_EQ(again.address(), address);
    use(again);
    EXPECT_ANY_THROW(old.call<&FooBar::f>());  // its object is gone, whoever listens there
    again.shutdown();
    EXPECT_EQ(again.exitcode(), 0);
  }
}
TEST_P(BaseManagerParity, IsStartedAgainAtTheSameAddress) {
  for (const auto& where : addresses()) restart_at(where);
}

void restart_after_a_kill_at(const mp::Address& where) {
  SCOPED_TRACE(where.to_string());
  mp::BaseManager first{{.address = where, .authkey = "restart"}};
  first.start();
  const mp::Address address = first.address();
  const auto old = first.create<FooBar>();
  for (auto& child : mp::active_children()) {
    if (child.pid() == first.pid()) child.kill();
  }
  first.join();
  EXPECT_EQ(first.exitcode(), test::killed_code);
  // A path stays until the tracker has heard of it; a port is free at once.
  if (!address.is_internet()) {
    eventually([&] { return !std::filesystem::exists(address.endpoint().name); });
  }
  mp::BaseManager again{{.address = address, .authkey = "restart"}};
  again.start();
  EXPECT_EQ(again.address(), address);
  use(again);
  EXPECT_ANY_THROW(old.call<&FooBar::f>());
}
TEST_P(BaseManagerParity, IsStartedAgainAtTheAddressOfOneThatWasKilled) {
  for (const auto& where : addresses()) restart_after_a_kill_at(where);
}

}  // namespace
