// SPDX-License-Identifier: BSL-1.0
#include <multiprocessing/network.hpp>

#include <connection/every_connection.hpp>
#include <network/connected.hpp>

using namespace every_connection;
using test::connected;
using test::local_family;

namespace {

INSTANTIATE_TEST_SUITE_P(
    ,
    EveryConnection,
    testing::Values(Kind{local_family, [] { return connected({}); }, true},
                    Kind{"af_inet", [] { return connected({.family = mp::Family::af_inet}); }, true,
                         true}),
    [](const auto& kind) { return std::string{kind.param.name}; });

}  // namespace

// What a stranger would write to make us call the middle of a function of ours: nobody can show
// that a pointer is one, so code comes from our own tree alone.
TEST(StreamConnection, TakesNoCodeFromTheOtherEnd) {
  using Function = int (*)(const char*);
  mp::Transit transit;
  auto message = mp::dumps<Function>(&std::puts, &transit);
  const auto append = [&message](const void* from, std::size_t size) {
    const auto* const bytes = static_cast<const std::byte*>(from);
    message.insert(message.end(), bytes, bytes + size);
  };
  constexpr auto name = mp::detail::type_name<Function>();
  append(name.data(), name.size());
  const mp::detail::ObjectTrailer trailer{mp::detail::type_hash<Function>(),
                                          static_cast<std::uint32_t>(name.size()), 0};
  append(&trailer, sizeof trailer);
  append(&mp::detail::object_mark, sizeof mp::detail::object_mark);
  auto ends = connected({});
  mp::Connection& ours = ends.first;
  mp::Connection& strangers = ends.second;
  strangers.send_bytes(message);
  const std::string told =
      text_of<mp::SerializationError>([&] { static_cast<void>(ours.recv<Function>()); });
  EXPECT_NE(told.find("code cannot travel"), std::string::npos) << told;
  strangers.send(4);
  EXPECT_EQ(ours.recv<int>(), 4);
}
