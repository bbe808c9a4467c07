// SPDX-License-Identifier: BSL-1.0
// Machines that lack something: what each facility does there is what the table in
// docs/platforms.md says. Each cell runs this program anew, in such a machine.
// Not on Windows: mounts, limits and /proc
#include <support/main.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <system_error>
#include <tuple>
#include <vector>

#include "bad_machine/conditions.hpp"
#include "bad_machine/operations.hpp"
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr const char* variable = "MULTIPROCESSING_TEST_OPERATION";

const bad_machine::Operation* operation_named(const std::string& word) {
  const auto found = std::ranges::find_if(bad_machine::operations,
                                          [&](const auto& each) { return each.word == word; });
  return found == bad_machine::operations.end() ? nullptr : &*found;
}

}  // namespace

// Spawned children are run by the first line.
void test::start_of_main() {
  multiprocessing::freeze_support();
  const char* const word = std::getenv(variable);
  if (word == nullptr) return;
  bad_machine::carry_out(*operation_named(word));
  std::exit(0);
}

namespace {

constexpr int cannot_be_made = 77;

struct Report {
  int code = 0;
  std::string text;  ///< What it printed; with `cannot_be_made` the reason.
  /// @brief What stands behind that word in its line; empty: it has none.
  [[nodiscard]] std::string behind(const std::string& word) const {
    std::istringstream lines{text};
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with(word + " ")) return line.substr(word.size() + 1);
    }
    return "";
  }
};

[[noreturn]] void become(const bad_machine::Condition& condition,
                         const std::string& program,
                         const char* word,
                         int output) {
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  const std::string why = ::chdir("/") == 0 ? condition.make() : "there is no /";
  if (!why.empty()) {
    static_cast<void>(::write(STDOUT_FILENO, why.data(), why.size()) < 0);
    ::_exit(cannot_be_made);
  }
  ::setenv(variable, word, 1);
  ::execl(program.c_str(), program.c_str(), nullptr);
  ::_exit(1);
}

Report run(const bad_machine::Condition& condition, const bad_machine::Operation& operation) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::system_error{errno, std::system_category()};
  const pid_t pid = ::fork();
  if (pid == 0) become(condition, program, operation.word, ends[1]);
  ::close(ends[1]);
  Report report;
  std::array<char, 4096> piece{};
  for (ssize_t got = 0; (got = ::read(ends[0], piece.data(), piece.size())) > 0;) {
    report.text.append(piece.data(), static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  report.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return report;
}

std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  std::istringstream parts{line};
  std::string cell;
  std::getline(parts, cell, '|');
  while (std::getline(parts, cell, '|')) {
    const auto first = cell.find_first_not_of(' ');
    cells.push_back(first == std::string::npos
                        ? ""
                        : cell.substr(first, cell.find_last_not_of(' ') - first + 1));
  }
  return cells;
}

// Of the table whose first line begins with that, by row and column.
std::map<std::string, std::map<std::string, std::string>> table_of(const std::string& beginning) {
  std::map<std::string, std::map<std::string, std::string>> table;
  std::ifstream page{MULTIPROCESSING_TEST_PAGE};
  std::vector<std::string> columns;
  for (std::string line; std::getline(page, line);) {
    if (columns.empty()) {
      if (line.starts_with(beginning)) columns = cells_of(line);
      continue;
    }
    if (!line.starts_with('|')) break;
    if (line.starts_with("|-")) continue;
    const auto cells = cells_of(line);
    for (std::size_t i = 1; i < cells.size() && i < columns.size(); ++i) {
      table[cells[0]][columns[i]] = cells[i];
    }
  }
  return table;
}

std::string first_word(const std::string& text) {
  return text.substr(0, text.find(':'));
}

// As a cell says it.
std::string summary(const Report& report) {
  const std::string first = first_word(report.behind("first"));
  if (first != "works") return "`" + first + "`";
  const std::string more = first_word(report.behind("more"));
  return more == "works" ? "works" : "works, then `" + more + "`";
}

// What was tried, in some words, and what the system said.
void expect_clear(const std::string& outcome) {
  if (outcome == "works") return;
  SCOPED_TRACE(outcome);
  const auto end_of_name = outcome.find(": ");
  ASSERT_NE(end_of_name, std::string::npos);
  const std::string words = outcome.substr(end_of_name + 2);
  const auto end_of_trial = words.rfind(": ");
  ASSERT_NE(end_of_trial, std::string::npos) << "it does not say what the system said";
  EXPECT_GE(
      std::count(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(end_of_trial), ' '), 2)
      << "it does not say what was tried";
}

// A cell may name two, where it depends on more than the table can say.
bool is_one_of(const std::string& outcome, const std::string& cell) {
  const auto middle = cell.find(" or ");
  return outcome == cell.substr(0, middle) ||
         (middle != std::string::npos && outcome == cell.substr(middle + 4));
}

constexpr const char* table_begins = "| On a machine with";

// Places in the lists of conditions and operations.
class BadMachine : public testing::TestWithParam<std::tuple<std::size_t, std::size_t>> {};

TEST_P(BadMachine, DoesWhatThePageSays) {
  const auto& condition = bad_machine::conditions.at(std::get<0>(GetParam()));
  const auto& operation = bad_machine::operations.at(std::get<1>(GetParam()));
  const Report report = run(condition, operation);
  // Some of them need rights: who lacks those cannot make such a machine.
  if (report.code == cannot_be_made) GTEST_SKIP() << "cannot be made here: " << report.text;
  const std::string expected = table_of(table_begins)[condition.name][operation.name];
  EXPECT_EQ(report.code, 0) << report.text;
  EXPECT_TRUE(is_one_of(summary(report), expected))
      << summary(report) << ", and the page says " << expected << '\n'
      << report.text;
  EXPECT_EQ(report.text.find("broken"), std::string::npos) << report.text;
  for (const char* part : {"first", "more", "again"}) expect_clear(report.behind(part));
  // What was refused for want of room is not refused when there is room again.
  EXPECT_EQ(first_word(report.behind("again")), first_word(report.behind("first"))) << report.text;
}

INSTANTIATE_TEST_SUITE_P(
    Of,
    BadMachine,
    testing::Combine(testing::Range(std::size_t{0}, bad_machine::conditions.size()),
                     testing::Range(std::size_t{0}, bad_machine::operations.size())),
    [](const auto& of) {
      return std::string{bad_machine::conditions.at(std::get<0>(of.param)).word} + "_" +
             bad_machine::operations.at(std::get<1>(of.param)).word;
    });

TEST(BadMachineTable, HasACellForEachTestAndNoOther) {
  auto table = table_of(table_begins);
  EXPECT_EQ(table.size(), bad_machine::conditions.size());
  for (const auto& condition : bad_machine::conditions) {
    EXPECT_EQ(table[condition.name].size(), bad_machine::operations.size()) << condition.name;
    for (const auto& operation : bad_machine::operations) {
      EXPECT_NE(table[condition.name][operation.name], "")
          << condition.name << ", " << operation.name;
    }
  }
}

}  // namespace
