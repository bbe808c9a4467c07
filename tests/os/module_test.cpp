// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/os/module.hpp>

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include <plugin/library.hpp>
#include <plugin/plugin.hpp>

namespace os = multiprocessing::os;

namespace {

const int constant = 1;
int variable = 1;
int function() {
  return 1;
}
const int* const relocated = &variable;  // its value is known to the loader alone: RELRO

template <class T>
std::uintptr_t address_of(T* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

std::string here(const std::string& name) {
  return (std::filesystem::current_path() / name).string();
}

// How ids begin that linkers wrote.
constexpr const char* written_id = MULTIPROCESSING_WINDOWS ? "P:" : "B:";

os::Module own_module() {
  return os::module_of(address_of(&function)).value();
}

}  // namespace

#if MULTIPROCESSING_POSIX  // not on Windows: /proc
TEST(ModuleOf, KnowsTheProgram) {
  const os::Module module = own_module();
  EXPECT_EQ(module.path, os::executable_path());
  EXPECT_EQ(module.path, std::filesystem::read_symlink("/proc/self/exe"));
  EXPECT_FALSE(module.id.empty());
  EXPECT_FALSE(module.segments.empty());
  EXPECT_EQ(os::module_of(address_of(&variable)).value().id, module.id);
}
#endif

TEST(ModuleOf, KnowsSharedLibraries) {
  const os::Module library = os::module_of(address_of(&test::library_answer)).value();
  EXPECT_TRUE(std::filesystem::path{library.path}.is_absolute()) << library.path;
  EXPECT_NE(library.path.find("library"), std::string::npos) << library.path;
  EXPECT_NE(library.id, own_module().id);
  EXPECT_TRUE(library.is_code(address_of(&test::library_answer)));
}

TEST(ModuleOf, FindsNothingOutsideOfModules) {
  const auto heap = std::make_unique<int>();
  const int stack = 0;
  EXPECT_FALSE(os::module_of(address_of(heap.get())));
  EXPECT_FALSE(os::module_of(address_of(&stack)));
  EXPECT_FALSE(os::module_of(0));
  EXPECT_FALSE(os::module_of(UINTPTR_MAX));
}

TEST(Module, TellsConstantsVariablesAndCodeApart) {
  const os::Module module = own_module();
  EXPECT_TRUE(module.is_constant(address_of(&constant), sizeof constant));
  EXPECT_TRUE(module.is_constant(address_of(&relocated), sizeof relocated));
  EXPECT_FALSE(module.is_constant(address_of(&variable), sizeof variable));
  EXPECT_FALSE(module.is_constant(address_of(&function), 1));
  EXPECT_TRUE(module.is_code(address_of(&function)));
  EXPECT_FALSE(module.is_code(address_of(&constant)));
  EXPECT_FALSE(module.is_code(address_of(&variable)));
  EXPECT_FALSE(module.is_code(0));
}

TEST(Module, TakesRangesOnlyWhole) {
  const os::Module module = own_module();
  for (const os::Segment& segment : module.segments) {
    if (segment.writable || segment.executable) continue;
    EXPECT_TRUE(module.is_constant(segment.begin, segment.size));
    EXPECT_FALSE(module.is_constant(segment.begin, segment.size + 1));
    EXPECT_FALSE(module.is_constant(segment.begin, SIZE_MAX));
    EXPECT_TRUE(module.is_constant(segment.begin + segment.size - 8, 8));
    EXPECT_FALSE(module.is_constant(segment.begin + segment.size - 7, 8));
  }
}

TEST(Module, LooksForConstantsAmongCodeWhereTheLinkerPutThemThere) {
  os::Module module;
  module.segments = {{0x1000, 0x1000, false, true}, {0x3000, 0x1000, true, false}};
  EXPECT_TRUE(module.is_constant(0x1800, 32));
  EXPECT_FALSE(module.is_constant(0x3800, 32));
  module.relro = os::Segment{0x3000, 0x900, true, false};
  EXPECT_TRUE(module.is_constant(0x3800, 32));
  EXPECT_FALSE(module.is_constant(0x38f0, 32));
  module.segments.push_back({0x2000, 0x1000, false, false});
  EXPECT_FALSE(module.is_constant(0x1800, 32));
  EXPECT_TRUE(module.is_constant(0x2800, 32));
}

TEST(FindModule, FindsABuildByItsId) {
  const os::Module module = own_module();
  const auto found = os::find_module(module.id, "");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->base, module.base);
  EXPECT_EQ(found->path, module.path);
}

TEST(FindModule, RefusesEveryOtherId) {
  os::ModuleId id = own_module().id;
  EXPECT_FALSE(os::find_module({}, own_module().path));
  for (std::size_t i = 0; i < id.size(); ++i) {
    id[i] ^= std::byte{1};
    EXPECT_FALSE(os::find_module(id, own_module().path)) << i;
    id[i] ^= std::byte{1};
  }
  id.pop_back();
  EXPECT_FALSE(os::find_module(id, own_module().path));
}

TEST(FindModule, PrefersTheCopyAtThePath) {
  const std::string copies[] = {here("one.so"), here("two.so")};
  for (const std::string& copy : copies) {
    std::filesystem::copy_file(test::plugin_path("plugin"), copy);
  }
  const test::Plugin one{copies[0]};
  const test::Plugin two{copies[1]};
  for (const test::Plugin* plugin : {&one, &two}) {
    const auto code = address_of((*plugin)->answer);
    const os::Module module = os::module_of(code).value();
    EXPECT_TRUE(os::find_module(module.id, module.path).value().is_code(code));
  }
  for (const std::string& copy : copies) test::remove_file(copy);
}

TEST(ModuleId, IsOfTheBytesWhereThereIsNoBuildId) {
  const test::Plugin with{test::plugin_path("plugin")};
  const test::Plugin without{test::plugin_path("without_id")};
  const test::Plugin other{test::plugin_path("other_without_id")};
  const auto id = [](const test::Plugin& plugin) {
    return os::module_of(address_of(plugin->answer)).value().id;
  };
  EXPECT_TRUE(os::to_string(id(with)).starts_with(written_id)) << os::to_string(id(with));
  EXPECT_TRUE(os::to_string(id(without)).starts_with("H:")) << os::to_string(id(without));
  EXPECT_EQ(id(without).size(), 17U);
  EXPECT_EQ(id(without), id(without));
  EXPECT_NE(id(without), id(other));
  ASSERT_TRUE(os::find_module(id(without), ""));
  EXPECT_TRUE(os::find_module(id(without), "").value().is_code(address_of(without->answer)));
}

TEST(ModuleId, OfOneFileIsTheSameWhereverItLies) {
  const std::string copy = here("copy.so");
  std::filesystem::copy_file(test::plugin_path("without_id"), copy);
  {
    const test::Plugin original{test::plugin_path("without_id")};
    const test::Plugin there{copy};
    const os::Module first = os::module_of(address_of(original->answer)).value();
    const os::Module second = os::module_of(address_of(there->answer)).value();
    EXPECT_NE(first.base, second.base);
    EXPECT_EQ(first.id, second.id);
  }
  test::remove_file(copy);
}

TEST(ModuleId, IsNotThatOfWhatLayThereBefore) {
  // Another module may be loaded where an unloaded one was, under the same name.
  const std::string path = here("replaced.so");
  os::ModuleId ids[2];
  for (const auto& [name, id] : {std::pair{"without_id", &ids[0]}, {"other_without_id", &ids[1]}}) {
    std::filesystem::copy_file(test::plugin_path(name), path);
    *id = os::module_of(address_of(test::Plugin { path } -> answer)).value_or(os::Module{}).id;
    {
      const test::Plugin plugin{path};
      *id = os::module_of(address_of(plugin->answer)).value().id;
    }
    test::remove_file(path);
  }
  EXPECT_NE(ids[0], ids[1]);
}

TEST(ToString, NamesKindAndBytes) {
  EXPECT_EQ(os::to_string({std::byte{'B'}, std::byte{0x0f}, std::byte{0xa0}}), "B:0fa0");
  EXPECT_EQ(os::to_string({}), "none");
}

TEST(OpenModule, OpensTheBuildThatWasAskedForAndKeepsIt) {
  const std::string path = here("opened.so");
  std::filesystem::copy_file(test::plugin_path("plugin"), path);
  os::ModuleId id;
  {
    const test::Plugin plugin{path};
    id = os::module_of(address_of(plugin->answer)).value().id;
  }
  ASSERT_FALSE(test::is_loaded(path));
  std::string why;
  EXPECT_TRUE(os::open_module(path, id, why));
  EXPECT_EQ(why, "");
  EXPECT_TRUE(test::is_loaded(path));
  test::remove_file(path);
}

TEST(OpenModule, ClosesAnotherBuildAndNamesBoth) {
  const std::string path = here("wrong.so");
  std::filesystem::copy_file(test::plugin_path("plugin"), path);
  const os::ModuleId wrong{std::byte{'B'}, std::byte{1}};
  std::string why;
  EXPECT_FALSE(os::open_module(path, wrong, why));
  EXPECT_FALSE(test::is_loaded(path));
  EXPECT_NE(why.find("B:01"), std::string::npos) << why;
  const test::Plugin plugin{path};
  const os::ModuleId id = os::module_of(address_of(plugin->answer)).value().id;
  EXPECT_NE(why.find(os::to_string(id)), std::string::npos) << why;
  test::remove_file(path);
}

TEST(OpenModule, SaysWhyNot) {
  std::string why;
#if MULTIPROCESSING_POSIX
  EXPECT_FALSE(os::open_module("/nowhere/at_all.so", own_module().id, why));
  EXPECT_NE(why.find("/nowhere/at_all.so"), std::string::npos) << why;
#else
  EXPECT_FALSE(os::open_module("C:/nowhere/at_all.dll", own_module().id, why));
  EXPECT_FALSE(why.empty());
#endif
  EXPECT_FALSE(os::open_module("libc.so.6", own_module().id, why));
  EXPECT_EQ(why, "its path is not absolute");
  EXPECT_FALSE(os::open_module("", own_module().id, why));
  EXPECT_EQ(why, "its path is not absolute");
}

TEST(KeepLoaded, OutlastsEveryClose) {
  const std::string path = here("kept.so");
  std::filesystem::copy_file(test::plugin_path("plugin"), path);
  {
    const test::Plugin plugin{path};
    EXPECT_TRUE(os::keep_loaded(address_of(plugin->answer)));
  }
  EXPECT_TRUE(test::is_loaded(path));
  EXPECT_TRUE(os::keep_loaded(address_of(&function)));
  const auto heap = std::make_unique<int>();
  EXPECT_FALSE(os::keep_loaded(address_of(heap.get())));
  test::remove_file(path);
}

TEST(ReadImage, CopiesAnyNumberOfBytes) {
  static constexpr char text[] = "0123456789abcdef";
  for (std::size_t size = 0; size < sizeof text; ++size) {
    char copy[sizeof text] = {};
    os::read_image(address_of(&text[0]), copy, size);
    EXPECT_EQ(std::string(copy), std::string(text, size));
  }
}
