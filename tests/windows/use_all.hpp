// SPDX-License-Identifier: BSL-1.0
#pragma once
/// @file use_all.hpp
/// @brief A program that uses the library, the system and Boost.Asio.
#include <iostream>

namespace mp = multiprocessing;

int main() {
  mp::freeze_support();
  boost::asio::io_context context;
  boost::asio::steady_timer timer{context, std::chrono::milliseconds{1}};
  int answer = 0;
  timer.async_wait([&](const boost::system::error_code&) {
    mp::Queue<int> queue;
    mp::Process process{
        [](mp::Queue<int> to) { to.put(static_cast<int>(::GetCurrentProcessId())); }, queue};
    process.start();
    answer = queue.get() == process.pid() ? 0 : 1;
    process.join();
  });
  context.run();
  SOCKET socket = ::socket(AF_INET, SOCK_STREAM, 0);
  ::closesocket(socket);
  std::cout << "answer " << answer << '\n';
  return answer;
}
