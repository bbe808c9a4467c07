// SPDX-License-Identifier: BSL-1.0
// expect: multiprocessing: a Queue cannot carry queues or connections
// expect: pass them to the process when starting it, or send them through a duplex Pipe
// names: Queue
#include <multiprocessing/queues.hpp>

namespace mp = multiprocessing;

struct Job {
  int number;
  mp::Queue<int> answers;
};
void send(const Job& job) {
  mp::Queue<Job> jobs;
  jobs.put(job);
}
