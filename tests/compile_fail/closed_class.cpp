// SPDX-License-Identifier: BSL-1.0
// expect: or give it a default constructor and serialize(Archive&) or save/load, or a reduce()
// names: Account
#include <multiprocessing/serialization.hpp>

class Account {
 public:
  explicit Account(std::string owner) : owner_{owner} {}

 private:
  std::string owner_;
};
std::vector<std::byte> send(const std::optional<Account>& account) {
  return multiprocessing::dumps(account);
}
