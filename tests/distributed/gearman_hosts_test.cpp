// SPDX-License-Identifier: BSL-1.0
// A host that is cut off: a network namespace of its own, whose cable is cut. No packet says
// so to anybody.
// Not on Windows: there is no Gearman server
#include <multiprocessing/distributed.hpp>

#include <support/eventually.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <distributed/gearman_agents.hpp>
#include <distributed/gearmand.hpp>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

namespace mp = multiprocessing;
using test::Agent;
using test::eventually;
using test::Gearmand;
using namespace std::chrono_literals;

constexpr const char* here = "10.77.0.1";

int wait_for_file(const std::string& path) {
  eventually([&] { return std::filesystem::exists(path); });
  return mp::os::process_id();
}
void make_file(const std::string& path) {
  std::ofstream{path}.put('x');
}
bool does(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

/// Why this machine has no namespaces for us; empty: it has.
std::string no_namespaces() {
  if (!does("ip -V")) return "there is no command ip (Debian, Ubuntu: iproute2)";
  if (!does("unshare --net true")) return "this user may make no network namespaces";
  if (!does("unshare --net ip tuntap add mode tun tun0")) return "this kernel has no tun devices";
  return {};
}

/// A network device of this namespace: what is sent over it can be read, and what is written comes
/// from it.
int make_tun(const char* name) {
  const int device = ::open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  ifreq request{};
  std::string_view{name}.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (device < 0 || ::ioctl(device, TUNSETIFF, &request) != 0) ::_exit(1);
  return device;
}
/// A cable from this namespace to that of a process: carries packets until it is stopped.
[[noreturn]] void be_a_cable(pid_t other) {
  const int near = make_tun("cable");
  const int there = ::open(("/proc/" + std::to_string(other) + "/ns/net").c_str(), O_RDONLY);
  if (::setns(there, CLONE_NEWNET) != 0) ::_exit(1);
  const int far = make_tun("far");
  std::array<pollfd, 2> ends{pollfd{near, POLLIN, 0}, pollfd{far, POLLIN, 0}};
  std::array<char, 65536> packet{};
  for (;;) {
    if (::poll(ends.data(), ends.size(), -1) < 0) continue;
    for (std::size_t i = 0; i < 2; ++i) {
      if ((ends[i].revents & POLLIN) == 0) continue;
      const auto size = ::read(ends[i].fd, packet.data(), packet.size());
      if (size <= 0) continue;
      // What an end that is not up yet does not take is lost, as on any network.
      static_cast<void>(!::write(ends[1 - i].fd, packet.data(), static_cast<std::size_t>(size)));
    }
  }
}

/// Another host: a process in a network namespace, at the end of a cable.
class OtherHost {
 public:
  explicit OtherHost(const std::string& server)
      : OtherHost{[&] {
          mp::distributed::serve({.server = server, .max_workers = 1, .silence = 3s});
          return 3;
        }} {}
  /// @param part is run there; its result is join()'s.
  explicit OtherHost(const std::function<int()>& part) {
    pid_ = ::fork();
    if (pid_ != 0) {
      eventually([this] { return other_namespace(); });
      cable_ = ::fork();
      if (cable_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        be_a_cable(pid_);
      }
      eventually([] { return does("ip link show cable"); });
      EXPECT_TRUE(does(std::string{"ip addr add "} + here + " peer 10.77.0.2 dev cable"));
      EXPECT_TRUE(does("ip link set cable up"));
      return;
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::unshare(CLONE_NEWNET) != 0) ::_exit(1);
    eventually([] { return does("ip link show far"); });
    if (!does("ip link set lo up") ||
        !does(std::string{"ip addr add 10.77.0.2 peer "} + here + " dev far") ||
        !does("ip link set far up")) {
      ::_exit(2);
    }
    try {
      ::_exit(part());
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
    }
    ::_exit(5);
  }
  OtherHost(const OtherHost&) = delete;
  OtherHost& operator=(const OtherHost&) = delete;
  ~OtherHost() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      join();
    }
    ::kill(cable_, SIGKILL);
    reap(cable_);
  }
  int join() { return reap(std::exchange(pid_, 0)); }
  /// From now on nothing comes through, and nobody is told.
  void cut_off() const { ::kill(cable_, SIGSTOP); }

 private:
  [[nodiscard]] bool other_namespace() const {
    const auto link = [](const std::string& pid) {
      std::error_code ec;
      return std::filesystem::read_symlink("/proc/" + pid + "/ns/net", ec).string();
    };
    return link(std::to_string(pid_)) != link("self");
  }
  static int reap(pid_t process) {
    int status = 0;
    while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
  }

  pid_t pid_ = 0;
  pid_t cable_ = 0;
};

/// The test itself runs in a namespace, too, so that it changes nothing on this machine.
int in_a_namespace(void (*part)()) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNET) != 0 || !does("ip link set lo up")) ::_exit(1);
    try {
      part();
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    ::_exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

class GearmanHost : public testing::Test {
 protected:
  void SetUp() override {
    MULTIPROCESSING_NEEDS_GEARMAND();
    if (const std::string why = no_namespaces(); !why.empty()) GTEST_SKIP() << why;
  }
  void TearDown() override { std::filesystem::remove("go"); }
};

TEST_F(GearmanHost, ThatIsCutOffLosesItsTasksToOthersWhereTheServerHasKeepalive) {
  EXPECT_EQ(in_a_namespace([] {
              const Gearmand server{{"--keepalive", "--keepalive-idle", "2", "--keepalive-interval",
                                     "1", "--keepalive-count", "2"},
                                    "0.0.0.0"};
              const OtherHost host{here + (":" + server.port())};
              mp::distributed::ProcessPoolExecutor executor{
                  {.launch = {.server = server.server(), .silence = 30s}}};
              const auto task = executor.submit(wait_for_file, "go");
              eventually([&] { return task.running(); });
              host.cut_off();
              const Agent other{server.server(), 1};
              make_file("go");
              EXPECT_GT(task.result(), 0);
            }),
            0);
}

TEST_F(GearmanHost, ThatIsCutOffIsNoticedAlsoWhereTheServerHasNone) {
  EXPECT_EQ(in_a_namespace([] {
              const Gearmand server{{}, "0.0.0.0"};
              const OtherHost host{here + (":" + server.port())};
              mp::distributed::ProcessPoolExecutor executor{
                  {.launch = {.server = server.server(), .silence = 3s}}};
              const auto task = executor.submit(wait_for_file, "go");
              eventually([&] { return task.running(); });
              host.cut_off();
              try {
                task.result();
                ADD_FAILURE();
              } catch (const mp::BrokenProcessPool& error) {
                EXPECT_NE(std::string{error.what()}.find("nothing was heard of it for 3 s"),
                          std::string::npos)
                    << error.what();
              }
              // With a retry, another does it.
              const auto again = executor.submit({.retries = 5}, wait_for_file, "go");
              const Agent other{server.server(), 1};
              make_file("go");
              EXPECT_GT(again.result(), 0);
            }),
            0);
}

TEST_F(GearmanHost, WithTheServerThatIsCutOffFailsAllFutures) {
  EXPECT_EQ(in_a_namespace([] {
              const Gearmand server{{}, "0.0.0.0"};
              const std::string where = here + (":" + server.port());
              OtherHost master{[&] {
                mp::distributed::ProcessPoolExecutor executor{
                    {.launch = {.server = where, .silence = 3s}}};
                const auto task = executor.submit(wait_for_file, "never");
                make_file("go");
                try {
                  task.result();
                } catch (const mp::BrokenProcessPool& error) {
                  EXPECT_NE(std::string{error.what()}.find("was lost"), std::string::npos)
                      << error.what();
                  return 0;
                }
                return 4;
              }};
              eventually([] { return std::filesystem::exists("go"); });
              master.cut_off();
              EXPECT_EQ(master.join(), 0);
            }),
            0);
}

}  // namespace
