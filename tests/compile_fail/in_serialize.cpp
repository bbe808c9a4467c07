// SPDX-License-Identifier: BSL-1.0
// expect: multiprocessing: a pointer cannot travel to another process
// names: void* | void *
#include <multiprocessing/serialization.hpp>

class Session {
 public:
  template <class Archive>
  void serialize(Archive& archive) {
    archive(number_, handle_);
  }

 private:
  int number_ = 0;
  void* handle_ = nullptr;
};
std::vector<std::byte> send(const Session& session) {
  return multiprocessing::dumps(session);
}
