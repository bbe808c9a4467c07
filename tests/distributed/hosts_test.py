# SPDX-License-Identifier: BSL-1.0
"""Runs `farm` on MPI as users do, on this host and on three that are network namespaces, and kills
agents, masters, workers and links while it works.

    hosts_test.py <farm> <mpirun> [<test>...]

Prints SKIPPED and the reason where something is missing. Kills only what it started, by number; at
the end of every test no process of the program is left."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

FARM, MPIRUN = sys.argv[1:3]
PATIENCE = 100 * int(os.environ.get("MULTIPROCESSING_TEST_TIMEOUT_SCALE", "1"))
ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}


def is_zombie(entry):
    return (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"


def ours():
    """The numbers of all processes that run the program."""
    found = set()
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "exe") == FARM and not is_zombie(entry):
                found.add(int(entry.name))
        except OSError:
            pass
    return found


def eventually(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)  # other processes do not say when
    return True


class Run:
    """A run of the program that is read line by line."""

    def __init__(self, command, **environment):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, env={**os.environ, **ROOT, **environment},
                                        start_new_session=True)
        self.lines = []
        self.agents = {}  # host -> pid
        self.master = None

    def until(self, word):
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if found := re.match(r"agent (\S+) (\d+)", line):
                self.agents.setdefault(found[1], []).append(int(found[2]))
            if found := re.match(r"master (\d+)", line):
                self.master = int(found[1])
            if line.startswith(word):
                return line.rstrip()
        return None

    def end(self):
        """The exit code."""
        self.until("\0")
        return self.process.wait(PATIENCE)


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has done all already
        pass


class OnMpi(unittest.TestCase):
    def setUp(self):
        self.before = ours()
        self.run_ = None
        signal.signal(signal.SIGALRM, self.hangs)
        signal.alarm(PATIENCE)

    def hangs(self, *_):
        text = "\n".join(self.run_.lines[-30:]) if self.run_ else ""
        for pid in ours() - self.before:
            os.kill(pid, signal.SIGKILL)
        raise AssertionError("it hangs; so far it has said:\n" + text)

    def tearDown(self):
        signal.alarm(0)
        if self.run_:
            self.run_.process.stdout.close()
            if self.run_.process.poll() is None:
                self.run_.process.kill()
                self.run_.process.wait()
        since = time.monotonic()
        gone = eventually(lambda: not ours() - self.before)
        left = ours() - self.before
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        self.assertTrue(gone, f"left behind: {left}")
        print(f"    nothing is left {time.monotonic() - since:.1f} s after the end", flush=True)

    def started(self, command, **environment):
        self.run_ = Run(command, **environment)
        return self.run_

    def static(self, what, ranks=3, options=()):
        bind = ["--bind-to", "none"] if self.is_open_mpi() else []
        return self.started([MPIRUN, *bind, *options, "-n", str(ranks), FARM, what])

    @staticmethod
    def is_open_mpi():
        said = subprocess.run([MPIRUN, "--version"], capture_output=True, text=True, check=False)
        return "Open MPI" in said.stdout or "OpenRTE" in said.stdout

    def running(self, start):
        """A run that has begun. On a busy machine a daemon of Open MPI fails to start once in some twenty
        times, for it finds a folder gone that it has just made: then another run."""
        for _ in range(3):
            run = start()
            if run.until("running"):
                return run
            run.process.wait(PATIENCE)
            run.process.stdout.close()
            if not any("ORTE" in line for line in run.lines):
                break
            print("    a daemon of Open MPI has not started: again", flush=True)
        raise AssertionError("it ended before it ran; it has said:\n" + "\n".join(run.lines))

    def named(self, start, spoil, mend=lambda: None):
        """A run that has lost tasks: on a busy machine all may be done before it is spoilt."""
        for _ in range(10):
            run = self.running(lambda: start("named"))
            spoil(run)
            done = run.until("done")
            if done != "done 120 broken 0 wrong 0":
                self.assertRegex(done, r"^done \d+ broken [1-9]\d* wrong 0$")
                return run
            mend()
            run.end()
        self.fail("all was done each time")

    def said(self, run, line):
        self.assertEqual(run.until(line.split(" ")[0]), line, "\n".join(run.lines[-30:]))
        self.assertEqual(run.end(), 0, "\n".join(run.lines[-30:]))


class Static(OnMpi):
    """mpirun -n 3 ./farm"""

    def test_runs_its_tasks_on_the_other_ranks(self):
        run = self.static("run")
        self.said(run, "done 120 broken 0 wrong 0")
        self.assertEqual(sum(len(pids) for pids in run.agents.values()), 2)

    def test_a_worker_that_dies_costs_its_task_alone(self):
        self.said(self.static("fragile"), "done 160 broken 40 wrong 0")

    def test_serves_two_pools_at_once_and_one_after_the_other(self):
        self.said(self.static("twice"), "done")

    def test_carries_large_messages(self):
        self.said(self.static("large", ranks=2), "done")

    def test_one_rank_has_an_agent_beside_it(self):
        self.said(self.static("run", ranks=1), "done 120 broken 0 wrong 0")

    def test_a_master_that_is_killed_takes_all_with_it(self):
        run = self.running(lambda: self.static("forever"))
        kill(run.master)
        self.assertNotEqual(run.end(), 0)

    def test_an_agent_that_is_killed_ends_the_job(self):
        run = self.running(lambda: self.static("forever"))
        kill(next(iter(run.agents.values()))[0])
        self.assertNotEqual(run.end(), 0)


class Alone(OnMpi):
    """./farm"""

    def test_has_an_agent_on_this_host(self):
        self.said(self.started([FARM, "run"]), "done 120 broken 0 wrong 0")

    def test_a_master_that_is_killed_takes_all_with_it(self):
        run = self.running(lambda: self.started([FARM, "forever"]))
        kill(run.master)
        run.process.wait()


class Spawned(OnMpi):
    """./farm with hosts, here all of them this one"""

    hosts = ("localhost", "localhost")

    def setUp(self):
        if not self.is_open_mpi():
            self.skipTest("only Open MPI spawns")
        super().setUp()

    def spawned(self, what):
        return self.started([FARM, what, *self.hosts])

    def test_runs_its_tasks_on_the_agents(self):
        self.said(self.spawned("run"), "done 120 broken 0 wrong 0")

    def test_a_worker_that_dies_costs_its_task_alone(self):
        self.said(self.spawned("fragile"), "done 160 broken 40 wrong 0")

    def test_serves_two_pools_at_once_and_one_after_the_other(self):
        self.said(self.spawned("twice"), "done")

    def test_an_agent_that_is_killed_has_its_tasks_done_by_the_other(self):
        run = self.running(lambda: self.spawned("run"))
        kill(next(iter(run.agents.values()))[0])
        self.said(run, "done 120 broken 0 wrong 0")

    def test_tasks_lost_with_an_agent_name_the_host(self):
        run = self.named(self.spawned, lambda run: kill(next(iter(run.agents.values()))[0]))
        self.assertIn(f"on host {next(iter(run.agents))}", run.until("said"))
        self.assertEqual(run.end(), 0)

    def test_a_master_that_is_killed_takes_all_with_it(self):
        run = self.running(lambda: self.spawned("forever"))
        kill(run.master)
        run.process.wait()


class Namespaces:
    """Three hosts with a network each, and a fourth that is the switch between them."""
    addresses = {"hosta": "10.213.7.1", "hostb": "10.213.7.2", "hostc": "10.213.7.3"}

    def __init__(self):
        self.prefix = f"mp{os.getpid()}"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="multiprocessing-hosts-"))
        self.made = []

    def name(self, host):
        return self.prefix + host

    def ip(self, *arguments):
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)

    def up(self):
        for host in ("switch", "hosta", "hostb", "hostc"):
            self.ip("netns", "add", self.name(host))
            self.made.append(self.name(host))
        switch = self.name("switch")
        self.ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        self.ip("-n", switch, "link", "set", "bridge", "up")
        for host, address in self.addresses.items():
            self.ip("-n", switch, "link", "add", host, "type", "veth", "peer", "name", "eth0",
                    "netns", self.name(host))
            self.ip("-n", switch, "link", "set", host, "master", "bridge", "up")
            self.ip("-n", self.name(host), "addr", "add", f"{address}/24", "dev", "eth0")
            self.ip("-n", self.name(host), "link", "set", "eth0", "up")
            self.ip("-n", self.name(host), "link", "set", "lo", "up")
            (self.folder / host).mkdir()
        shell = self.folder / "enter"
        shell.write_text(f"""#!/bin/sh
host=$1; shift
exec ip netns exec {self.prefix}$host unshare --uts --ipc sh -c 'hostname '$host'; '"TMPDIR={self.folder}/$host $*"
""", encoding="utf-8")
        shell.chmod(0o755)
        self.enter = str(shell)

    def await_way(self, source, target):
        """Until one is reached by the other: who could not be is taken for unreachable a while longer."""
        knock = ("import socket, sys\n"
                 "try: socket.create_connection((sys.argv[1], 1), 1)\n"
                 "except ConnectionRefusedError: pass")
        while subprocess.run(["ip", "netns", "exec", self.name(source), sys.executable, "-c", knock,
                              self.addresses[target]], check=False, capture_output=True).returncode:
            pass

    def down(self):
        for name in self.made:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


class OnThreeHosts(OnMpi):
    """The master on hosta, agents on hostb and hostc"""

    @classmethod
    def setUpClass(cls):
        for tool in ("ip", "unshare", "hostname"):
            if not shutil.which(tool):
                raise unittest.SkipTest(f"no {tool}: apt install iproute2 util-linux hostname")
        if not OnMpi.is_open_mpi():
            raise unittest.SkipTest("only Open MPI spawns")
        cls.hosts = Namespaces()
        try:
            cls.hosts.up()
        except subprocess.CalledProcessError as error:
            cls.hosts.down()
            raise unittest.SkipTest("no privilege for network namespaces: "
                                    + error.stderr.strip()) from error

    @classmethod
    def tearDownClass(cls):
        cls.hosts.down()

    def tearDown(self):
        for host in ("hostb", "hostc"):
            self.join(host)
        super().tearDown()

    def spread(self, what):
        return self.started([self.hosts.enter, "hosta", f"{FARM} {what} hostb hostc"],
                            OMPI_MCA_plm_rsh_agent=self.hosts.enter,
                            OMPI_MCA_oob_tcp_if_include="eth0", OMPI_MCA_btl_tcp_if_include="eth0")

    def cut(self, host):
        self.hosts.ip("-n", self.hosts.name("switch"), "link", "set", host, "down")

    def join(self, host):
        self.hosts.ip("-n", self.hosts.name("switch"), "link", "set", host, "up")
        for source, target in (("hosta", host), (host, "hosta")):
            self.hosts.await_way(source, target)

    def test_runs_its_tasks_on_both_hosts(self):
        run = self.spread("run")
        self.said(run, "done 120 broken 0 wrong 0")
        self.assertEqual(set(run.agents), {"hostb", "hostc"})

    def test_an_agent_that_is_killed_has_its_tasks_done_by_the_other(self):
        run = self.running(lambda: self.spread("run"))
        kill(run.agents["hostb"][0])
        self.said(run, "done 120 broken 0 wrong 0")

    def test_a_host_that_is_cut_off_has_its_tasks_done_by_the_other(self):
        run = self.running(lambda: self.spread("run"))
        self.cut("hostc")
        since = time.monotonic()
        self.said(run, "done 120 broken 0 wrong 0")
        print(f"    cut off, all done {time.monotonic() - since:.1f} s later", flush=True)

    def test_tasks_lost_with_a_host_that_is_cut_off_name_it(self):
        run = self.named(self.spread, lambda run: self.cut("hostb"),
                         lambda: self.join("hostb"))
        self.assertIn("on host hostb", run.until("said"))
        self.assertEqual(run.end(), 0)

    def test_workers_that_die_cost_their_tasks_alone(self):
        self.said(self.spread("fragile"), "done 160 broken 40 wrong 0")

    def test_a_slow_link_loses_nothing(self):
        made = subprocess.run(["ip", "netns", "exec", self.hosts.name("hostb"), "tc", "qdisc", "add",
                               "dev", "eth0", "root", "netem", "delay", "40ms", "20ms"],
                              check=False, capture_output=True, text=True)
        if made.returncode != 0:
            self.skipTest("no netem: " + made.stderr.strip())
        try:
            self.said(self.spread("run"), "done 120 broken 0 wrong 0")
        finally:
            subprocess.run(["ip", "netns", "exec", self.hosts.name("hostb"), "tc", "qdisc", "del",
                            "dev", "eth0", "root"], check=False, capture_output=True)

    def test_a_master_that_is_killed_takes_all_with_it(self):
        run = self.running(lambda: self.spread("forever"))
        kill(run.master)
        run.process.wait()


if __name__ == "__main__":
    names = sys.argv[3:]
    outcome = unittest.main(argv=[sys.argv[0], "-v", *names], exit=False).result
    if outcome.skipped and len(outcome.skipped) >= outcome.testsRun:
        print("SKIPPED: " + outcome.skipped[0][1])
    sys.exit(not outcome.wasSuccessful())
