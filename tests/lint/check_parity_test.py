#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""check_parity.py finds rows that no live test stands behind."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_parity  # noqa: E402 (it stands beside this file)

CMAKE = "multiprocessing_layer(a a*_test.cpp a/*_test.cpp)\n"
TESTS = """#include <a/suite.hpp>
INSTANTIATE_TEST_SUITE_P(Of, Shared,
                         testing::Combine(testing::ValuesIn(mp::get_all_start_methods()), kinds));
TEST(Plain, Works) {}
TEST_F(
    Fixed, WorksToo) {}
class Every : public test::EveryStartMethod {};
TEST_EVERY_START_METHOD(Every);
TEST_P(Every, Works) {}
TEST_P(Every, LeavesAtOnce) {
  if (GetParam() != mp::StartMethod::spawn) return;
  EXPECT_EQ(1, 1);
}
TEST_P(Every, DoesNotLeave) {
  EXPECT_EQ(1, forks() ? 1 : 2);
  return;
}
TEST_P(Never, IsInstantiated) {}
INSTANTIATE_TEST_SUITE_P(, Some, testing::Values(1));
TEST_P(Some, Works) {}
TEST(Plain, DISABLED_Works) {}
// TEST(Plain, IsAComment) {}
/*
TEST(Plain, IsOneToo) {}
*/
#if 0
TEST(Plain, IsOff) {}
#endif
"""
DIFFERENCES = "# What differs\n\n## Queues and pipes\n\n| `put()` waits | it does not | |\n\n## Other\n\nwords\n"
LINK = "difference: [`put()` waits](differences.md#queues-and-pipes)"
HEADER = "// SPDX\n/// old_name is gone\nclass Thing { void act(); };\n"
BEHAVIOUR = "| `A.test_x` | `Plain.Works` | tested |"
NAME = "| `Thing.act` | `act` | `a/thing.hpp` | `Every.Works` | tested |"


class CheckParity(unittest.TestCase):
    def page(self, behaviours, names):
        """Runs the check with --fix on a tree of these rows."""
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            text = ("# Parity\n\n## Behaviours\n\nOf 0 behaviours: nothing\n\n" + "\n".join(behaviours) +
                    "\n\n## Names\n\nOf 0 names: nothing\n\n" + "\n".join(names) + "\n")
            for name, content in (
                    ("docs/parity.md", text), ("docs/differences.md", DIFFERENCES),
                    ("tests/CMakeLists.txt", CMAKE), ("tests/a/x_test.cpp", TESTS),
                    ("tests/a/suite.hpp", "TEST_P(Shared, Works) {}\n"),
                    ("tests/a/alone.hpp", "TEST(Header, IsIncludedByNobody) {}\n"),
                    ("tests/b/y_test.cpp", "TEST(Nobody, BuildsThis) {}\n"),
                    ("tests/programs/small.cpp", "int main() {}\n"),
                    ("include/multiprocessing/a/thing.hpp", HEADER)):
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
            unfixed, _ = check_parity.check(root)
            fixed = check_parity.Page(root).fixed()
            (root / "docs/parity.md").write_text(fixed, encoding="utf-8")
            faults, totals = check_parity.check(root)
            return unfixed, faults, totals

    def setUp(self):
        self.rows = check_parity.ROWS
        check_parity.ROWS = {"Behaviours": 1, "Names": 1}

    def tearDown(self):
        check_parity.ROWS = self.rows

    def assert_fault(self, words, behaviour=BEHAVIOUR, name=NAME):
        _, faults, _ = self.page([behaviour], [name])
        self.assertEqual(len(faults), 1, faults)
        self.assertIn(words, faults[0])

    def assert_none(self, behaviour=BEHAVIOUR, name=NAME):
        self.assertEqual(self.page([behaviour], [name])[1], [])

    def test_a_test_that_leaves_at_once(self):
        self.assert_fault("returns at once", "| `A.test_x` | `Every.LeavesAtOnce` | tested |")
        self.assert_none("| `A.test_x` | `Every.DoesNotLeave` | tested |")

    def test_all_is_well(self):
        _, faults, totals = self.page([BEHAVIOUR], [NAME])
        self.assertEqual(faults, [])
        self.assertEqual(totals, [
            "Of 1 behaviours: 1 tested, 0 different on purpose, 0 not applicable, 0 open; 0 run under every "
            "start method.",
            "Of 1 names: 1 tested, 0 different on purpose, 0 not applicable, 0 open; 1 run under every start "
            "method."])

    def test_suites_that_run_under_every_start_method(self):
        for test, count in (("Shared.Works", 1), ("Some.Works", 0)):
            _, _, totals = self.page([BEHAVIOUR.replace("Plain.Works", test)], [NAME])
            self.assertIn(f"0 open; {count} run", totals[0])

    def test_totals_that_are_others(self):
        unfixed, _, _ = self.page([BEHAVIOUR], [NAME])
        self.assertEqual(unfixed, ["docs/parity.md: the totals are others: check_parity.py --fix"])

    def test_every_kind_of_live_test(self):
        for test in ("Plain.Works", "Fixed.WorksToo", "Every.Works", "Some.Works", "Shared.Works",
                     "program.small"):
            self.assert_none(BEHAVIOUR.replace("Plain.Works", test))
        self.assert_none(BEHAVIOUR.replace("`Plain.Works`", "`Plain.Works`, `program.small`"))

    def test_a_test_that_is_not_there(self):
        for test in ("Plain.Worked", "Plain.IsAComment", "Plain.IsOneToo", "Plain.IsOff", "program.large",
                     "Header.IsIncludedByNobody"):
            self.assert_fault(f"there is no test {test}", BEHAVIOUR.replace("Plain.Works", test))
        self.assert_fault("no test Plain.Gone", BEHAVIOUR.replace("`Plain.Works`", "`Plain.Works`, `Plain.Gone`"))
        self.assert_fault("no test Plain.Gone", name=NAME.replace("Every.Works", "Plain.Gone"))

    def test_a_test_that_is_not_run(self):
        for test in ("Never.IsInstantiated", "Plain.DISABLED_Works", "Nobody.BuildsThis"):
            self.assert_fault(f"no program runs {test}", BEHAVIOUR.replace("Plain.Works", test))

    def test_tested_by_nothing(self):
        self.assert_fault("tested by nothing", "| `A.test_x` | | tested |")

    def test_an_excuse(self):
        for status in ("not applicable: no such thing", "open: all of it", LINK):
            self.assert_none(f"| `A.test_x` | | {status} |")
        for status in ("open: some of it", LINK):
            self.assert_none(f"| `A.test_x` | `Plain.Works` | {status} |")

    def test_an_excuse_without_words(self):
        for status in ("not applicable", "not applicable: ", "open", "open:", "difference: other", "", "perhaps"):
            self.assert_fault("is no status", f"| `A.test_x` | | {status} |")

    def test_not_applicable_with_tests(self):
        self.assert_fault("has tests", "| `A.test_x` | `Plain.Works` | not applicable: no such thing |")

    def test_a_difference_that_is_not_told(self):
        self.assert_fault("no section #queues", f"| `A.test_x` | | {LINK.replace('queues-and-pipes', 'queues')} |")
        self.assert_fault("does not say", f"| `A.test_x` | | {LINK.replace('queues-and-pipes', 'other')} |")
        self.assert_fault("does not say", f"| `A.test_x` | | {LINK.replace('waits', 'sleeps')} |")

    def test_a_row_that_is_missing_or_twice(self):
        check_parity.ROWS = {"Behaviours": 2, "Names": 1}
        self.assert_fault("1 rows, not 2")
        other = BEHAVIOUR.replace("test_x", "test_y")
        self.assertEqual(self.page([BEHAVIOUR, other], [NAME])[1], [])
        faults = self.page([BEHAVIOUR, other, BEHAVIOUR], [NAME])[1]
        self.assertEqual(faults, ["docs/parity.md: A.test_x: stands there twice"])

    def test_a_row_of_other_cells(self):
        self.assert_fault("2 cells", "| `A.test_x` | tested |")
        self.assert_fault("3 cells", name="| `Thing.act` | `Every.Works` | tested |")

    def test_a_name_that_the_header_has_not(self):
        self.assert_fault("has no move", name=NAME.replace("`act`", "`move`"))
        self.assert_fault("has no old_name", name=NAME.replace("`act`", "`old_name`"))
        self.assert_fault("no header a/other.hpp", name=NAME.replace("thing.hpp", "other.hpp"))
        self.assert_fault("no header has it", name="| `Thing.act` | - | - | `Every.Works` | tested |")
        self.assert_none(name="| `Thing.act` | - | - | | open: all of it |")

    def test_no_page_to_speak_of(self):
        check_parity.ROWS = {"Behaviours": 1, "Names": 1, "More": 1}
        self.assert_fault("no section 'More'")

    def test_no_totals(self):
        _, faults, _ = self.page([BEHAVIOUR, "", "## Names", "", NAME], [])
        self.assertIn("docs/parity.md: Names: no totals", faults)


if __name__ == "__main__":
    unittest.main()
