# SPDX-License-Identifier: BSL-1.0
import collections
import multiprocessing as mp
import sys


def count_words(path):
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return collections.Counter(file.read().split())


if __name__ == "__main__":
    mp.set_start_method(sys.argv[1] if len(sys.argv) > 1 else "fork")
    files = sys.argv[2:] or ["/etc/hostname", "/etc/passwd", "/etc/group", "/etc/hosts"]

    counts = collections.Counter()
    last = 0
    with mp.Pool() as pool:
        for one in pool.imap_unordered(count_words, files):
            counts += one
            last += 1
            print(f"\r{last} of {len(files)} files", end="\n" if last == len(files) else "",
                  file=sys.stderr)
    print(f"{last} files, {sum(counts.values())} words, {len(counts)} different")
