// SPDX-License-Identifier: BSL-1.0
// A program that starts itself again and has the second process, whose modules lie elsewhere, run
// code that the first one names. Built in many ways (CMakeLists.txt), for each has its own layout.
#include <multiprocessing/callable.hpp>
#include <multiprocessing/reduction.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include <plugin/plugin.hpp>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mp = multiprocessing;

namespace {

void check(bool holds, const std::string& what) {
  if (holds) return;
  std::cerr << "not so: " << what << '\n';
  std::exit(1);
}

struct Animal {
  virtual ~Animal() = default;
  virtual int legs(int each) const { return each; }
  int heads() const noexcept { return 1; }
};
struct Dog : Animal {
  int legs(int each) const override { return 4 * each; }
};

struct Scale {  // a function object with state
  int factor = 0;
  int operator()(int x) const { return factor * x; }
  template <class Archive>
  void serialize(Archive& archive) {
    archive(factor);
  }
};

int twice(int x) {
  return 2 * x;
}

template <class T>
int size_of_type(T) {
  return sizeof(T);
}

void examine(int number,
             std::string text,
             int (*function)(int),
             int (Animal::*legs)(int) const,
             int (Animal::*heads)() const noexcept,
             std::size_t (*length)(const char*),
             std::uintptr_t place_at_sender) {
  check(number == 7 && text == "seven", "the arguments came");
  check(function == twice && function(3) == 6, "a function pointer means the same function");
  check((Dog{}.*legs)(2) == 8, "a virtual member function is called virtually");
  check((Dog{}.*heads)() == 1, "a member function pointer works");
  check(length("four") == 4, "a function of another library is found");
  const auto here = reinterpret_cast<std::uintptr_t>(&twice);
  std::cout << "the code lies " << (here == place_at_sender ? "where it lay" : "elsewhere") << '\n';
}

using Bytes = std::vector<std::byte>;

template <class F, class... A>
Bytes bytes_of(const F& function, const A&... arguments) {
  Bytes bytes;
  mp::Transit transit;
  mp::Encoder encoder{bytes, &transit};
  mp::detail::encode_call(encoder, function, arguments...);
  return bytes;
}

/// Runs the call in a new process of this program. @returns whether it went well there.
bool runs_elsewhere(const Bytes& bytes) {
  const int file = ::memfd_create("call", MFD_CLOEXEC);
  check(file >= 0 && ::write(file, bytes.data(), bytes.size()) == ssize_t(bytes.size()), "memfd");
  ::lseek(file, 0, SEEK_SET);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, file, 0);
  char name[] = "program";
  char mode[] = "receive";
  char* const arguments[] = {name, mode, nullptr};
  pid_t child = 0;
  check(::posix_spawn(&child, "/proc/self/exe", &actions, nullptr, arguments, environ) == 0,
        "posix_spawn");
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(file);
  int status = 0;
  check(::waitpid(child, &status, 0) == child, "waitpid");
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int receive() {
  Bytes bytes(1 << 16);
  const ssize_t size = ::read(0, bytes.data(), bytes.size());
  check(size > 0, "a call arrived");
  bytes.resize(std::size_t(size));
  mp::Transit transit;
  mp::Decoder decoder{bytes, &transit};
  try {
    mp::detail::run_call(decoder);
  } catch (const mp::SerializationError& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
  return 0;
}

void send() {
  check(runs_elsewhere(bytes_of(examine, 7, std::string{"seven"}, twice, &Animal::legs,
                                &Animal::heads,
                                static_cast<std::size_t (*)(const char*)>(std::strlen),
                                reinterpret_cast<std::uintptr_t>(&twice))),
        "functions travel");
  check(runs_elsewhere(bytes_of([](auto x) { check(x == 4, "lambda"); }, 4)), "lambdas travel");
  check(runs_elsewhere(
            bytes_of([](Scale scale, int x) { check(scale(x) == 6, "object"); }, Scale{2}, 3)),
        "function objects travel");
  check(
      runs_elsewhere(bytes_of([](int (*f)(double)) { check(f(1.) == sizeof(double), "template"); },
                              &size_of_type<double>)),
      "instances of templates travel");
  check(!runs_elsewhere(bytes_of([](int) { std::_Exit(5); }, 1)), "a bad end is seen");
}

#if !MULTIPROCESSING_TEST_STATIC
void receive_from_plugin(mp::CodeReference reference, int (*answer)(), std::string path) {
  int value = 0;
  check(test::is_loaded(path), "a plug-in that only the sender had is opened for its function");
  mp::resolve<void(int&)>(reference)(value);
  check(value == 42 && answer() == 42, "a plug-in's code is found");
}

void use_plugins() {
  const std::string path = test::plugin_path("plugin");
  const test::Plugin one{path};
  const test::Plugin other{test::plugin_path("other")};
  const test::Plugin plain{test::plugin_path("without_id")};
  check(runs_elsewhere(bytes_of(receive_from_plugin, one->refer(), one->answer, path)),
        "code of a plug-in travels");
  check(runs_elsewhere(bytes_of(
            [](mp::CodeReference reference) {
              int value = 0;
              mp::resolve<void(int&)>(reference)(value);
              check(value == 42, "found by its hash");
            },
            plain->refer())),
        "code of a plug-in without a build id travels");
  auto& shared = mp::os::process_wide<test::Shared>();
  check(&shared == &one->shared() && &shared == &other->shared() && &shared == &plain->shared(),
        "there is one state per process");
  check(&mp::detail::process_state() == &one->state(), "and one of the library's own");
}

// Threads in several modules ask first, all at once. Each time in a fresh process.
void race() {
  std::vector<test::Plugin> plugins;
  for (const char* name : {"plugin", "other", "without_id", "stripped"}) {
    plugins.emplace_back(test::plugin_path(name));
  }
  std::vector<void*> found(test::numbered_types * (plugins.size() + 1));
  std::atomic<int> round{-1};
  std::atomic<std::size_t> arrived{0};
  const auto ask = [&](std::size_t module) {
    for (int n = 0; n < test::numbered_types; ++n) {
      if (++arrived == (plugins.size() + 1) * std::size_t(n + 1)) round = n;
      while (round < n) std::this_thread::yield();
      found[std::size_t(n) * (plugins.size() + 1) + module] =
          module < plugins.size() ? plugins[module]->numbered(n) : test::numbered(n);
    }
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i <= plugins.size(); ++i) threads.emplace_back(ask, i);
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < found.size(); ++i) {
    check(found[i] != nullptr && found[i] == found[i / threads.size() * threads.size()],
          "who asks first at once gets the same");
  }
}

void race_often() {
  for (int i = 0; i < 30; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      race();
      std::_Exit(0);
    }
    int status = 0;
    check(::waitpid(child, &status, 0) == child && status == 0, "every race has one winner");
  }
}
#endif

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string{argv[1]} == "receive") return receive();
#if !MULTIPROCESSING_TEST_STATIC
  race_often();  // while nothing has asked yet
#endif
  auto& shared = mp::os::process_wide<test::Shared>();
  check(&shared == &mp::os::process_wide<test::Shared>(), "there is one state");
  send();
#if !MULTIPROCESSING_TEST_STATIC
  use_plugins();
#endif
  return 0;
}
