// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file figure.hpp
/// @brief Ours beside a peer in one run: interleaved, medians, one line a figure.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

namespace benchmark {

using Clock = std::chrono::steady_clock;

inline double seconds_of(const std::function<void()>& work) {
  const auto begin = Clock::now();
  work();
  return std::chrono::duration<double>{Clock::now() - begin}.count();
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Four digits, and never an exponent where numbers are large.
inline std::string text(double value) {
  std::array<char, 32> digits{};
  std::snprintf(digits.data(), digits.size(), value >= 1000 ? "%.0f" : "%.4g", value);
  return digits.data();
}

/// The one that a share of them is not larger than.
inline double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const auto last = static_cast<double>(values.size() - 1);
  return values[static_cast<std::size_t>(last * share)];
}

inline void print_figure(const std::string& name,
                         double ours,
                         const std::string& peer,
                         double theirs,
                         double ratio,
                         const std::string& unit) {
  std::printf("figure %s ours=%s %s=%s ratio=%.3f %s\n", name.c_str(), text(ours).c_str(),
              peer.c_str(), text(theirs).c_str(), ratio, unit.c_str());
  std::fflush(stdout);
}

/// One contestant: `run` makes one measurement, in the figure's unit.
struct Contestant {
  std::string name;
  std::function<double()> run;
};

/// Runs ours and the peers in turn, `rounds` times after one that does not count, and prints
/// `figure <name> ours=<v> <peer>=<v> ratio=<ours/peer> <unit>` for each peer: medians, and the
/// median of the rounds' ratios, for a shared machine's speed changes between rounds.
inline void figure(const std::string& name,
                   const std::string& unit,
                   const std::function<double()>& ours,
                   const std::vector<Contestant>& peers,
                   int rounds = 9) {
  std::vector<double> our_values;
  std::vector<std::vector<double>> values(peers.size());
  std::vector<std::vector<double>> ratios(peers.size());
  for (int round = 0; round <= rounds; ++round) {
    const double mine = ours();
    std::vector<double> theirs;
    for (const auto& peer : peers) theirs.push_back(peer.run());
    if (round == 0) continue;
    our_values.push_back(mine);
    for (std::size_t i = 0; i < peers.size(); ++i) {
      values[i].push_back(theirs[i]);
      ratios[i].push_back(mine / theirs[i]);
    }
  }
  for (std::size_t i = 0; i < peers.size(); ++i) {
    print_figure(name, median(our_values), peers[i].name, median(values[i]), median(ratios[i]),
                 unit);
  }
}

}  // namespace benchmark
