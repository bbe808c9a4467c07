// SPDX-License-Identifier: BSL-1.0
// expect: multiprocessing: a pointer cannot travel to another process
// names: char* | char *
#include <multiprocessing/queues.hpp>

void send(const char* text) {
  multiprocessing::Queue<const char*> queue;
  queue.put(text);
}
