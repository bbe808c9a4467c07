#!/usr/bin/python3
# SPDX-License-Identifier: BSL-1.0
"""Draws what benchmarks/run printed: docs/figures.txt to docs/benchmarks/*.svg.

    plot.py [<root of the tree>]

Needs matplotlib (Debian's python3-matplotlib, which goes with its own python3)."""
import pathlib
import re
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "multiprocessing"  # the same figures, the same file
from matplotlib import pyplot  # noqa: E402

FIGURE = re.compile(r"^figure (\S+) ours=(\S+) (\S+?)=(\S+) ratio=", re.MULTILINE)
PLOTS = [
    # file, beginning of the figures' names, what goes along, what goes up
    ("queue_cost_of_size", "queue_cost_of_size_", "bytes a message", "ns a message"),
    ("queue_cost_of_processes", "queue_cost_of_processes_", "processes on each side (64 B)",
     "ns a message"),
]


def curves(text, begin):
    """name -> {number in the figure's name -> value}, ours first."""
    found = {"Queue": {}}
    for name, ours, peer, theirs in FIGURE.findall(text):
        number = re.fullmatch(re.escape(begin) + r"(\d+)B?", name)
        if number:
            found["Queue"][int(number[1])] = float(ours)
            found.setdefault(peer.replace("our_loans", "Queue, loans"), {})[int(number[1])] = float(theirs)
    return found


def draw(root):
    """Draws all; names those for which there are no figures."""
    text = (root / "docs" / "figures.txt").read_text(encoding="utf-8")
    folder = root / "docs" / "benchmarks"
    folder.mkdir(exist_ok=True)
    missing = []
    for file, begin, along, up in PLOTS:
        found = curves(text, begin)
        if not found["Queue"]:
            missing.append(begin)
            continue
        chart, axes = pyplot.subplots(figsize=(7, 4))
        for name, points in found.items():
            axes.plot(sorted(points), [points[x] for x in sorted(points)], marker="o", label=name,
                      linewidth=2 if name.startswith("Queue") else 1)
        axes.set(xscale="log", yscale="log", xlabel=along, ylabel=up)
        axes.set_xscale("log", base=2)
        axes.grid(alpha=0.3)
        axes.legend()
        chart.tight_layout()
        chart.savefig(folder / f"{file}.svg", metadata={"Date": None})
        pyplot.close(chart)
    return missing


if __name__ == "__main__":
    absent = draw(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    print("\n".join(f"no figures {name}*" for name in absent) or "docs/benchmarks/ is drawn")
    sys.exit(bool(absent))
