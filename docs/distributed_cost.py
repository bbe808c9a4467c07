# SPDX-License-Identifier: BSL-1.0
"""What a master costs for so many hosts: the model behind docs/design/distributed.md.

    distributed_cost.py [<microseconds of a message> [<microseconds of a probe>]]

One thread handles all messages of a process. A star: the master has every host as a peer. A tree: nobody has
more than 32, and each level passes tasks and results on."""
import sys

MESSAGE = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
PROBE = float(sys.argv[2]) if len(sys.argv) > 2 else 0.2
BEATS = 1 / 0.3    # a second, each way
LOOKS = 2000       # a second, at naps of half a millisecond
FAN = 32

print(f"{'hosts':>7} {'beats':>7} {'probes':>7} {'tasks/s':>9}   tree: levels {'tasks/s':>9} {'added ms':>9}")
for hosts in (10, 100, 1000, 4000, 10000):
    beats = hosts * 2 * BEATS * MESSAGE * 1e-6
    probes = hosts * LOOKS * PROBE * 1e-6
    free = max(0.0, 1 - beats - min(probes, 0.5))
    tasks = free / (2 * MESSAGE * 1e-6)
    levels, reach = 1, FAN
    while reach < hosts:
        levels, reach = levels + 1, reach * FAN
    below = min(hosts, FAN)
    inner = max(0.0, 1 - below * (2 * BEATS * MESSAGE + LOOKS * PROBE) * 1e-6) / (2 * MESSAGE * 1e-6)
    added = (levels - 1) * 2 * (MESSAGE + 250) / 1000  # a nap is slept through at each level
    print(f"{hosts:7} {beats:7.1%} {probes:7.1%} {tasks:9.0f}   {levels:12} {inner:9.0f} {added:9.2f}")
