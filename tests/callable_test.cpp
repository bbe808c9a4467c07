// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/callable.hpp>
#include <multiprocessing/reduction.hpp>

#if MULTIPROCESSING_POSIX
#  include <support/asleep.hpp>
#  include <support/forked.hpp>
#endif

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <plugin/library.hpp>
#include <plugin/plugin.hpp>

#if MULTIPROCESSING_POSIX
#  include <pthread.h>
#endif

namespace mp = multiprocessing;
namespace os = multiprocessing::os;

namespace {

using Signature = void(int&);

struct Three {
  using Signature = void(int&);
  static void entry(int& into) { into = 3; }
};
struct Four {
  using Signature = void(int&);
  static void entry(int& into) { into = 4; }
};

struct Five {
  using Signature = void(int&);
  static void entry(int& into) { into = 5; }
};

template <class T>
std::uintptr_t address_of(T* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

int run(const mp::CodeReference& reference) {
  int value = 0;
  mp::resolve<Signature>(reference)(value);
  return value;
}

#if MULTIPROCESSING_POSIX
// Registered before the library's own, so that it is called behind those.
void (*in_fork)() = nullptr;
const int registered = ::pthread_atfork(
    [] {
      if (in_fork != nullptr) in_fork();
    },
    nullptr,
    nullptr);
#endif

// What the refusal says; empty when there is none.
std::string refusal(const mp::CodeReference& reference) {
  try {
    static_cast<void>(mp::resolve<Signature>(reference));
  } catch (const mp::SerializationError& error) {
    return error.what();
  }
  return "";
}

// A reference that says everything right but the place.
mp::CodeReference reference_to(std::uintptr_t address) {
  mp::CodeReference reference = mp::refer_to<Three>();
  const os::Module module = os::find_module(reference.module, reference.path).value();
  reference.offset = address - module.base;
  return reference;
}

#define EXPECT_REFUSED(reference, reason) \
  EXPECT_NE(refusal(reference).find(reason), std::string::npos) << "says: " << refusal(reference)

int twice(int x) {
  return 2 * x;
}
int twice_noexcept(int x) noexcept {
  return 2 * x;
}
template <class T>
T add(T a, T b) {
  return a + b;
}
int sum_of(int count, ...) {
  return count;
}

struct Animal {
  Animal() = default;
  Animal(const Animal&) = default;
  Animal& operator=(const Animal&) = default;
  virtual ~Animal() = default;
  virtual int first() const { return 1; }
  virtual int legs(int each) const { return each; }
  int heads() const noexcept { return 1; }
};
struct Named {
  std::string name = "none";
  int length() const { return static_cast<int>(name.size()); }
};
struct Dog : Animal {
  int legs(int each) const override { return 4 * each; }
};

struct Scale {
  int factor = 1;
  int operator()(int x) const { return factor * x; }
};

mp::Transit no_transit;

template <class T>
T there_and_back(const T& value) {
  return mp::loads<T>(mp::dumps(value, &no_transit), &no_transit);
}

template <class T>
void expect_every_truncation_is_refused(const T& value) {
  const std::vector<std::byte> bytes = mp::dumps(value, &no_transit);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(mp::loads<T>(std::span{bytes}.first(size), &no_transit), mp::SerializationError)
        << size;
  }
}

// A pointer in this process's code, or a refusal: that is all that a bit that flips can make of
// one.
template <class T>
void expect_every_flip_is_refused_or_code(const T& value) {
  std::vector<std::byte> bytes = mp::dumps(value, &no_transit);
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    try {
      const T made = mp::loads<T>(bytes, &no_transit);
      std::uintptr_t place = 0;
      std::memcpy(&place, &made, sizeof place);
      const auto module = os::module_of(place);
      EXPECT_TRUE(module && module->is_code(place)) << bit;
    } catch (const mp::SerializationError&) {
    }
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

// Exists as long as the test needs it: a plug-in at a path of its own, which can be rebuilt.
class Rebuilt {
 public:
  explicit Rebuilt(const std::string& name) {
    static int number = 0;
    path_ = std::filesystem::current_path() / ("rebuilt" + std::to_string(number++) + ".so");
    build(name);
  }
  Rebuilt(const Rebuilt&) = delete;
  Rebuilt& operator=(const Rebuilt&) = delete;
  ~Rebuilt() {
    if (std::filesystem::exists(path_)) test::remove_file(path_);
  }

  // A new file, as linkers make it, not a change of the old one.
  void build(const std::string& name) const {
    if (std::filesystem::exists(path_)) test::remove_file(path_);
    std::filesystem::copy_file(test::plugin_path(name), path_);
  }
  [[nodiscard]] mp::CodeReference refer_and_unload() const {
    const test::Plugin plugin{path_};
    return plugin->refer();
  }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace

// ---- descriptors
// ---------------------------------------------------------------------------------

TEST(Resolve, FindsWhatWasReferredTo) {
  EXPECT_EQ(run(mp::refer_to<Three>()), 3);
  EXPECT_EQ(run(mp::refer_to<Four>()), 4);
  EXPECT_EQ(run(mp::refer_to(mp::DescriptorOf<Four>::value)), 4);
  EXPECT_EQ(mp::resolve<Signature>(mp::refer_to<Three>()), &Three::entry);
}

TEST(Resolve, FindsWhatCameAsBytes) {
  EXPECT_EQ(run(mp::loads<mp::CodeReference>(mp::dumps(mp::refer_to<Three>()))), 3);
  EXPECT_EQ(mp::loads<mp::CodeReference>(mp::dumps(mp::refer_to<Three>())), mp::refer_to<Three>());
  expect_every_truncation_is_refused(mp::refer_to<Three>());
}

TEST(Resolve, ReadsABuildAPathAnOffsetAndAHash) {
  const mp::CodeReference reference{{std::byte{1}, std::byte{2}}, "p", 3, 4};
  constexpr std::array<unsigned char, 27> bytes{2, 0, 0, 0, 1, 2, 1, 0, 0, 0, 'p', 3, 0, 0,
                                                0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0,   0, 0};
  EXPECT_EQ(mp::loads<mp::CodeReference>(std::as_bytes(std::span{bytes})), reference);
  const std::vector<std::byte> encoded = mp::dumps(reference);
  ASSERT_EQ(encoded.size(), bytes.size());
  EXPECT_EQ(std::memcmp(encoded.data(), bytes.data(), bytes.size()), 0);
}

TEST(Resolve, NeverRunsWhatAFlippedBitSays) {
  std::vector<std::byte> bytes = mp::dumps(mp::refer_to<Three>());
  const std::size_t path_at = 4 + mp::refer_to<Three>().module.size() + 4;
  const std::size_t path_end = path_at + mp::refer_to<Three>().path.size();
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    if (bit / 8 >= path_at && bit / 8 < path_end) continue;  // a hint, not needed here
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_THROW(run(mp::loads<mp::CodeReference>(bytes)), mp::SerializationError) << bit;
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

TEST(Resolve, RefusesAnotherBuildAndNamesBoth) {
  mp::CodeReference reference = mp::refer_to<Three>();
  reference.module.back() ^= std::byte{1};
  const std::string nowhere = MULTIPROCESSING_WINDOWS ? "C:\\nowhere\\program" : "/nowhere/program";
  reference.path = nowhere;
  EXPECT_REFUSED(reference, nowhere);
  EXPECT_REFUSED(reference, os::to_string(reference.module));
  EXPECT_REFUSED(reference, "Run the same build");
  reference.path.clear();
  EXPECT_REFUSED(reference, "its path is not absolute");
}

TEST(Resolve, RefusesAnotherHash) {
  mp::CodeReference reference = mp::refer_to<Three>();
  reference.hash ^= 1U;
  EXPECT_REFUSED(reference, "belongs to other code");
  reference = mp::refer_to<Three>();
  reference.offset = mp::refer_to<Four>().offset;
  EXPECT_REFUSED(reference, "belongs to other code");
}

TEST(Resolve, RefusesAnotherSignature) {
  try {
    static_cast<void>(mp::resolve<void(double&)>(mp::refer_to<Three>()));
    FAIL();
  } catch (const mp::SerializationError& error) {
    EXPECT_NE(std::string{error.what()}.find("another signature"), std::string::npos);
  }
}

TEST(Resolve, RefusesConstantsThatAreNoDescriptor) {
  static constexpr std::array<std::uint64_t, 4> other{1, 2, 3, 4};
  EXPECT_REFUSED(reference_to(address_of(&other)), "no descriptor lies there");
}

TEST(Resolve, RefusesOffsetsOutOfRange) {
  const os::Module module = os::module_of(address_of(&Three::entry)).value();
  mp::CodeReference reference = mp::refer_to<Three>();
  const auto real = reference.offset;
  for (const std::uint64_t offset :
       {std::uint64_t{0} - 64, ~std::uint64_t{7}, real + (std::uint64_t{1} << 40),
        real + (std::uint64_t{1} << 63)}) {
    reference.offset = offset;
    EXPECT_REFUSED(reference, "outside of the module's read-only data") << offset;
  }
  for (const os::Segment& segment : module.segments) {  // the last bytes have no room for one
    const std::uintptr_t end = (segment.begin + segment.size - 8) / 8 * 8;
    EXPECT_REFUSED(reference_to(end), "outside of the module's read-only data");
  }
}

TEST(Resolve, RefusesMisalignedOffsets) {
  for (std::uint64_t by = 1; by < 8; ++by) {
    mp::CodeReference reference = mp::refer_to<Three>();
    reference.offset += by;
    EXPECT_REFUSED(reference, "misaligned");
  }
}

TEST(Resolve, RefusesDescriptorsThatCanBeWritten) {
  static mp::Descriptor<Signature> copy = mp::DescriptorOf<Three>::value;
  copy.hash ^= 1U;  // so that it is no constant after all
  copy.hash ^= 1U;
  EXPECT_REFUSED(reference_to(address_of(&copy)), "outside of the module's read-only data");
}

TEST(Resolve, RefusesCode) {
  EXPECT_REFUSED(reference_to(address_of(&Three::entry) / 8 * 8),
                 "outside of the module's read-only data");
}

TEST(Resolve, RefusesDescriptorsWithoutCode) {
  static constexpr std::uint64_t hash = mp::DescriptorOf<Three>::value.hash;
  static constexpr mp::Descriptor<Signature> empty{mp::Descriptor<Signature>::expected_magic,
                                                   mp::DescriptorOf<Three>::value.signature, hash,
                                                   nullptr};
  EXPECT_REFUSED(reference_to(address_of(&empty)), "points to no code");
  // A function pointer's bytes that are a data pointer: as a damaged module would have.
  struct Forged {
    std::uint64_t magic, signature, hash;
    const void* entry;
  };
  static constexpr int data = 1;
  static constexpr Forged forged{empty.magic, empty.signature, hash, &data};
  EXPECT_REFUSED(reference_to(address_of(&forged)), "points to no code");
}

TEST(ReferTo, RefusesDescriptorsThatLieInNoModule) {
  const auto made = std::make_unique<mp::Descriptor<Signature>>(mp::DescriptorOf<Three>::value);
  EXPECT_THROW(static_cast<void>(mp::refer_to(*made)), mp::SerializationError);
}

// ---- modules
// -------------------------------------------------------------------------------------

TEST(Resolve, FindsCodeOfASharedLibrary) {
  EXPECT_EQ(run(test::library_reference()), 44);
  EXPECT_NE(test::library_reference().module, mp::refer_to<Three>().module);
}

TEST(Resolve, FindsCodeOfPlugInsThatHideTheirSymbols) {
  for (const auto& [name, answer] :
       {std::pair{"plugin", 42}, {"other", 43}, {"without_id", 42}, {"other_without_id", 43}}) {
    const test::Plugin plugin{test::plugin_path(name)};
    EXPECT_EQ(run(plugin->refer()), answer) << name;
  }
}

TEST(Resolve, OpensAPlugInThatIsNotLoaded) {
  for (const char* name : {"plugin", "without_id"}) {
    const Rebuilt plugin{name};
    const mp::CodeReference reference = plugin.refer_and_unload();
    ASSERT_FALSE(test::is_loaded(plugin.path()));
    EXPECT_EQ(run(reference), 42);
    EXPECT_TRUE(test::is_loaded(plugin.path())) << "its code was handed out";
  }
}

TEST(Resolve, RefusesAPlugInThatWasRebuiltAndNamesBothBuilds) {
  for (const auto& [first, second] :
       {std::pair{"other", "plugin"}, {"other_without_id", "without_id"}}) {
    const Rebuilt plugin{first};
    const mp::CodeReference before = plugin.refer_and_unload();
    plugin.build(second);
    const mp::CodeReference after = plugin.refer_and_unload();
    EXPECT_EQ(before.path, after.path);
    EXPECT_REFUSED(before, os::to_string(before.module));
    EXPECT_REFUSED(before, os::to_string(after.module));
    EXPECT_REFUSED(before, plugin.path());
    EXPECT_FALSE(test::is_loaded(plugin.path()));
  }
}

TEST(Resolve, RefusesAPlugInThatIsGone) {
  const Rebuilt plugin{"other"};
  const mp::CodeReference reference = plugin.refer_and_unload();
  test::remove_file(plugin.path());
  EXPECT_REFUSED(reference, plugin.path());
#if MULTIPROCESSING_POSIX
  EXPECT_REFUSED(reference, "No such file");
#endif
}

#if MULTIPROCESSING_POSIX  // not on Windows: fork
TEST(ReferTo, OfAForkedChildWaitsForNoThreadThatStayedBehind) {
  // During the fork, behind the library's own handlers, a thread refers to the key for the first
  // time, and stands where it is to be kept.
  static std::thread first;
  static_cast<void>(mp::refer_to<Three>());
  in_fork = [] {
    static std::atomic<int> id{0};
    first = std::thread{[] {
      id = test::thread_id();
      static_cast<void>(mp::refer_to<Five>());
    }};
    while (id == 0 || !test::sleeps_in_futex(id)) std::this_thread::yield();
    in_fork = nullptr;
  };
  os::install_fork_handlers();
  test::Forked child{[] { EXPECT_EQ(run(mp::refer_to<Five>()), 5); }};
  first.join();
  EXPECT_EQ(child.join(), 0);
}
#endif

TEST(ReferTo, KeepsOneReferenceHoweverOftenAPlugInIsLoaded) {
  const auto kept = [] { return mp::detail::process_state().code.size(); };
  const Rebuilt plugin{"plugin"};
  const mp::CodeReference first = plugin.refer_and_unload();
  const std::size_t once = kept();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(plugin.refer_and_unload(), first);
  EXPECT_EQ(kept(), once);
}

// ---- function pointers
// ---------------------------------------------------------------------------

TEST(FunctionPointer, Travels) {
  EXPECT_EQ(there_and_back(&twice), &twice);
  EXPECT_EQ(there_and_back(&twice_noexcept), &twice_noexcept);
  EXPECT_EQ(there_and_back(&add<double>), &add<double>);
  EXPECT_EQ(there_and_back(&sum_of), &sum_of);
  EXPECT_EQ(there_and_back(&test::library_answer), &test::library_answer);
  EXPECT_EQ(there_and_back(static_cast<int (*)(int)>(nullptr)), nullptr);
}

TEST(FunctionPointer, OfTheCLibraryTravels) {
  EXPECT_EQ(there_and_back(&std::atoi)("7"), 7);
  EXPECT_EQ(there_and_back(&std::strlen)("four"), 4U);
  EXPECT_EQ(there_and_back(static_cast<double (*)(double)>(&std::sqrt))(4.), 2.);
}

TEST(FunctionPointer, OfAPlugInTravels) {
  const test::Plugin plugin{test::plugin_path("plugin")};
  EXPECT_EQ(there_and_back(plugin->answer), plugin->answer);
}

TEST(FunctionPointer, TravelsInsideOfOtherValues) {
  const std::vector<std::pair<int, int (*)(int)>> table{{1, &twice}, {2, nullptr}};
  EXPECT_EQ(there_and_back(table), table);
}

TEST(FunctionPointer, TravelsOnlyWithinTheTree) {
  EXPECT_THROW(mp::dumps(&twice), mp::SerializationError);
  EXPECT_THROW(mp::dumps(&Animal::heads), mp::SerializationError);
  const auto function = mp::dumps(&twice, &no_transit);
  EXPECT_THROW(mp::loads<int (*)(int)>(function), mp::SerializationError);
  const auto member = mp::dumps(&Animal::heads, &no_transit);
  EXPECT_THROW(mp::loads<decltype(&Animal::heads)>(member), mp::SerializationError);
}

TEST(FunctionPointer, IsRefusedAsAnotherType) {
  const auto bytes = mp::dumps(&twice, &no_transit);
  EXPECT_THROW(mp::loads<double (*)(double)>(bytes, &no_transit), mp::SerializationError);
  EXPECT_THROW(mp::loads<int (*)(int) noexcept>(bytes, &no_transit), mp::SerializationError);
}

TEST(FunctionPointer, IsRefusedOutsideOfCode) {
  static constexpr int data = 1;
  const os::Module module = os::module_of(address_of(&twice)).value();
  const auto heap = std::make_unique<int>();
  for (const std::uintptr_t place :
       {address_of(&data), address_of(&no_transit), address_of(heap.get()), module.base - 1}) {
    std::vector<std::byte> bytes;
    mp::Encoder encoder{bytes, &no_transit};
    encoder.write_number(std::uint8_t{1});
    mp::codec<mp::CodeReference>::encode(
        encoder, {module.id, module.path, place - module.base, mp::detail::type_hash<int(int)>()});
    EXPECT_THROW(mp::loads<int (*)(int)>(bytes, &no_transit), mp::SerializationError);
  }
  EXPECT_THROW(mp::dumps(reinterpret_cast<int (*)(int)>(heap.get()), &no_transit),
               mp::SerializationError);
}

TEST(FunctionPointer, EndsWhereItsBytesEnd) {
  expect_every_truncation_is_refused(&twice);
  expect_every_truncation_is_refused(&Animal::heads);
  expect_every_truncation_is_refused(&Animal::legs);
  for (const auto kind : {2, 3, 255}) {
    auto bytes = mp::dumps(&twice, &no_transit);
    bytes.front() = static_cast<std::byte>(kind);
    EXPECT_THROW(mp::loads<int (*)(int)>(bytes, &no_transit), mp::SerializationError) << kind;
    auto member = mp::dumps(&Animal::heads, &no_transit);
    member.front() = static_cast<std::byte>(kind);
    EXPECT_THROW(mp::loads<decltype(&Animal::heads)>(member, &no_transit), mp::SerializationError)
        << kind;
  }
}

TEST(FunctionPointer, IsCodeOrRefusedWithAnyBitFlipped) {
  expect_every_flip_is_refused_or_code(&twice);
  expect_every_flip_is_refused_or_code(&Animal::heads);
}

TEST(FunctionPointer, IsAKindAndAReferenceOrNothing) {
  EXPECT_EQ(mp::dumps(static_cast<int (*)(int)>(nullptr), &no_transit), std::vector{std::byte{0}});
  const os::Module module = os::module_of(address_of(&twice)).value();
  std::vector<std::byte> expected{std::byte{1}};
  mp::Encoder encoder{expected, &no_transit};
  encoder(mp::CodeReference{module.id, module.path, address_of(&twice) - module.base,
                            mp::detail::type_hash<int(int)>()});
  EXPECT_EQ(mp::dumps(&twice, &no_transit), expected);
}

// ---- member function pointers
// --------------------------------------------------------------------

TEST(MemberFunctionPointer, Travels) {
  const Dog dog;
  EXPECT_EQ((dog.*there_and_back(&Animal::heads))(), 1);
  EXPECT_EQ(there_and_back(&Animal::heads), &Animal::heads);
  EXPECT_EQ(there_and_back(static_cast<int (Animal::*)(int) const>(nullptr)), nullptr);
}

TEST(MemberFunctionPointer, IsStillVirtual) {
  const Dog dog;
  const Animal animal;
  const auto legs = there_and_back(&Animal::legs);
  EXPECT_EQ((dog.*legs)(2), 8);
  EXPECT_EQ((animal.*legs)(2), 2);
  EXPECT_EQ((dog.*there_and_back(&Animal::first))(), 1);
}

TEST(MemberFunctionPointer, AdjustsThis) {
  struct Both : Scale, Named {};  // Named lies behind Scale
  int (Both::*const length)() const = &Named::length;
  EXPECT_EQ((Both{}.*there_and_back(length))(), 4);
}

TEST(MemberFunctionPointer, OfAnotherTypeIsRefused) {
  EXPECT_THROW(
      mp::loads<int (Named::*)() const>(mp::dumps(&Animal::first, &no_transit), &no_transit),
      mp::SerializationError);
  EXPECT_THROW(
      mp::loads<int (Named::*)() const>(mp::dumps(&Animal::heads, &no_transit), &no_transit),
      mp::SerializationError);
}

TEST(MemberFunctionPointer, IsRefusedWhereNoTableHasAPlace) {
  using Pointer = decltype(&Animal::legs);
  std::uintptr_t words[2] = {};
  const Pointer legs = &Animal::legs;
  std::memcpy(&words, &legs, sizeof legs);
  const auto bytes_of = [](std::uintptr_t function, std::uintptr_t adjustment) {
    std::vector<std::byte> bytes;
    mp::Encoder encoder{bytes, &no_transit};
    encoder.write_number(std::uint8_t{2});
    encoder.write_number(adjustment);
    encoder.write_number(mp::detail::type_hash<Pointer>());
    encoder.write_number(function);
    return bytes;
  };
  EXPECT_EQ(mp::loads<Pointer>(bytes_of(words[0], words[1]), &no_transit), legs);
  for (const auto& [function, adjustment] :
       {std::pair{words[0] + 1, words[1]},                    // in the middle of an entry
        {words[0] + 4, words[1]},                             // likewise
        {words[0] + (std::uintptr_t{1} << 40), words[1]},     // far behind every table
        {words[0], words[1] + (std::uintptr_t{1} << 40)}}) {  // far outside of every object
    EXPECT_THROW(mp::loads<Pointer>(bytes_of(function, adjustment), &no_transit),
                 mp::SerializationError);
  }
}

TEST(MemberFunctionPointer, OfAVirtualFunctionIsSmallOrRefusedWithAnyBitFlipped) {
  using Pointer = decltype(&Animal::legs);
  std::vector<std::byte> bytes = mp::dumps(&Animal::legs, &no_transit);
  ASSERT_EQ(bytes.size(), 1 + 3 * sizeof(std::uint64_t));
  std::size_t taken = 0;
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    try {
      std::uintptr_t words[2] = {};
      const Pointer made = mp::loads<Pointer>(bytes, &no_transit);
      std::memcpy(words, &made, sizeof words);
      EXPECT_LE(words[0], mp::detail::max_table_offset + 1) << bit;
      EXPECT_LE(words[1], static_cast<std::uintptr_t>(mp::detail::max_adjustment)) << bit;
      ++taken;
    } catch (const mp::SerializationError&) {
    }
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
  // Another entry of the table, another part of the object: nothing says that they are not there.
  EXPECT_LE(taken, 64U);
}

// ---- lambdas and other callables
// -----------------------------------------------------------------

namespace {

int outside = 1;
[[maybe_unused]] const auto plain = [](int x) { return x + 1; };
[[maybe_unused]] const auto generic = [](auto x) { return x; };

}  // namespace

TEST(CapturelessLambda, TravelsWithoutAByte) {
  const auto local = [](int x) { return x + outside; };
  EXPECT_EQ(there_and_back(plain)(1), 2);
  EXPECT_EQ(there_and_back(generic)(std::string{"x"}), "x");
  EXPECT_EQ(there_and_back(local)(1), 2);
  EXPECT_TRUE(mp::dumps(local).empty());
}

TEST(CapturelessLambda, MayHaveACaptureDefaultThatCapturesNothing) {
  const auto lambda = [&](int x) { return x + outside; };
  static_assert(!std::is_default_constructible_v<decltype(lambda)>);
  EXPECT_EQ(there_and_back(lambda)(2), 3);
}

TEST(SpawnableCallable, IsWhatCanBeNamedInAnotherProcess) {
  static_assert(mp::SpawnableCallable<decltype(&twice)>);
  static_assert(mp::SpawnableCallable<decltype(twice)>);
  static_assert(mp::SpawnableCallable<decltype(&Animal::legs)>);
  static_assert(mp::SpawnableCallable<decltype(plain)>);
  static_assert(mp::SpawnableCallable<Scale>);
  static_assert(mp::SpawnableCallable<std::plus<>>);
}

TEST(SpawnableCallable, IsNoLambdaThatCaptures) {
  int x = 1;
  const auto by_value = [x] { return x; };
  const auto by_reference = [&x] { return x; };
  const auto moved = [p = std::make_unique<int>(1)] { return *p; };
  const auto changing = [x]() mutable { return ++x; };
  struct Holder {
    decltype(by_value) part;
  };
  static_assert(!mp::SpawnableCallable<decltype(by_value)>);
  static_assert(!mp::SpawnableCallable<decltype(by_reference)>);
  static_assert(!mp::SpawnableCallable<decltype(moved)>);
  static_assert(!mp::SpawnableCallable<decltype(changing)>);
  static_assert(!mp::Serializable<decltype(by_value)>);
  static_assert(!mp::Serializable<Holder>);
  static_assert(!mp::SpawnableCallable<std::function<void()>>);
  static_assert(!mp::SpawnableCallable<std::reference_wrapper<int(int)>>);
  static_assert(!mp::SpawnableCallable<decltype(std::bind_front(&twice, 1))>);
  SUCCEED();
}

TEST(IsClosureName, KnowsBothCompilersSpellings) {
  using mp::detail::is_closure_name;
  for (const char* name :
       {"main()::<lambda(int)>", "<lambda({anonymous}::X<std::greater<int> >*, bool (*)(int))>",
        "f<int>()::<lambda(auto:1)>", "a::b<lambda(int)>::<lambda()>", "(lambda at file.cpp:1:2)",
        "(anonymous namespace)::(lambda at a (copy).cpp:1:2)"}) {
    EXPECT_TRUE(is_closure_name(name)) << name;
  }
  for (const char* name : {"int", "void (*)(int)", "std::vector<main()::<lambda()> >",
                           "std::vector<(lambda at file.cpp:1:2)>", "main()::<lambda()>::Local",
                           "std::function<void ()>", "lambda", ">", ""}) {
    EXPECT_FALSE(is_closure_name(name)) << name;
  }
}

// ---- calls
// ---------------------------------------------------------------------------------------

namespace {

std::string trace;

void note(int number, const std::string& text) {
  trace = std::to_string(number) + text;
}

template <class F, class... A>
std::vector<std::byte> call(const F& function, const A&... arguments) {
  std::vector<std::byte> bytes;
  mp::Encoder encoder{bytes, &no_transit};
  mp::detail::encode_call(encoder, function, arguments...);
  return bytes;
}

void run(std::span<const std::byte> bytes) {
  mp::Decoder decoder{bytes, &no_transit};
  mp::detail::run_call(decoder);
}

}  // namespace

TEST(Call, RunsFunctionsWithTheirArguments) {
  trace.clear();
  run(call(&note, 1, std::string{"x"}));
  EXPECT_EQ(trace, "1x");
  run(call(note, 2, std::string{"y"}));
  EXPECT_EQ(trace, "2y");
}

TEST(Call, RunsWhateverInvokeTakes) {
  run(call([](int number) { trace = std::to_string(number); }, 5));
  EXPECT_EQ(trace, "5");
  run(call([](Scale scale, int x) { trace = std::to_string(scale(x)); }, Scale{3}, 4));
  EXPECT_EQ(trace, "12");
  run(call(&Named::length, Named{"four"}));
  run(call(Scale{3}, 4));
}

TEST(Call, LetsExceptionsOut) {
  EXPECT_THROW(run(call([] { throw std::out_of_range{"here"}; })), std::out_of_range);
}

TEST(Call, IsNotRunUnlessItsBytesAreWhole) {
  std::vector<std::byte> bytes = call(&note, 1, std::string{"x"});
  trace.clear();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(run(std::span{bytes}.first(size)), mp::SerializationError) << size;
  }
  bytes.push_back(std::byte{0});
  EXPECT_THROW(run(bytes), mp::SerializationError);
  EXPECT_EQ(trace, "");
}

TEST(Call, WithAnyBitFlippedRunsTheSameCodeOrNone) {
  std::vector<std::byte> bytes = call(&note, 1, std::string{"x"});
  const std::size_t reference = mp::dumps(mp::refer_to<Three>()).size();  // as long as any of ours
  const mp::CodeReference three = mp::refer_to<Three>();
  const std::size_t path_at = 4 + three.module.size() + 4;
  const std::size_t path_end = path_at + three.path.size();
  const std::size_t pointer_end = 2 * reference + 1;
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    const std::size_t at = bit / 8;
    // Where in a function's code a pointer leads nothing can check: that is not called here.
    if (at >= reference && at < pointer_end) continue;
    trace.clear();
    bytes[at] ^= std::byte{1} << (bit % 8);
    try {
      run(bytes);
      EXPECT_NE(trace, "") << bit;
      EXPECT_TRUE((at >= path_at && at < path_end) || at >= pointer_end) << bit;
    } catch (const mp::SerializationError&) {
      EXPECT_EQ(trace, "") << bit;
    }
    bytes[at] ^= std::byte{1} << (bit % 8);
  }
}

TEST(Call, HasADescriptorPerTypes) {
  EXPECT_NE(&(mp::detail::descriptor_for_call<decltype(&twice), int>()),
            &(mp::detail::descriptor_for_call<decltype(plain), int>()));
  EXPECT_EQ(&(mp::detail::descriptor_for_call<decltype(twice), int>()),
            &(mp::detail::descriptor_for_call<decltype(&twice), int>()));
  static_assert(!mp::SpawnableCall<decltype(&twice), std::string>);
  static_assert(!mp::SpawnableCall<decltype(&twice), int*>);
}
