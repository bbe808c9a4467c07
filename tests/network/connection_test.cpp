// SPDX-License-Identifier: BSL-1.0
// Not on Windows: there are no Listener and Client there yet
#include <multiprocessing/network.hpp>

#include <connection/every_connection.hpp>

using namespace every_connection;

namespace {

std::pair<mp::Connection, mp::Connection> connected(mp::ListenerOptions options) {
  mp::Listener listener{std::move(options)};
  auto client = mp::Client(listener.address());
  return {listener.accept(), std::move(client)};
}

INSTANTIATE_TEST_SUITE_P(
    ,
    EveryConnection,
    testing::Values(Kind{"af_unix", [] { return connected({}); }, true},
                    Kind{"af_inet", [] { return connected({.family = mp::Family::af_inet}); }, true,
                         true}),
    [](const auto& kind) { return std::string{kind.param.name}; });

}  // namespace
