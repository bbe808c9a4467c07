// SPDX-License-Identifier: BSL-1.0
// expect: multiprocessing: a Queue cannot carry queues or connections, nor locks or events
// expect: pass them to the process when starting it, or send them through a duplex Pipe
// names: Lock
#include <multiprocessing/queues.hpp>
#include <multiprocessing/synchronize.hpp>

namespace mp = multiprocessing;

void send(const mp::Lock& lock) {
  mp::Queue<mp::Lock> locks;
  locks.put(lock);
}
