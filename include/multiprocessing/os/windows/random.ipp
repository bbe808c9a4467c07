// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/random.hpp>
#include <multiprocessing/os/windows/api.ipp>

namespace multiprocessing::os {

// Looked up by name: to link against its library is not a header's to ask.
MULTIPROCESSING_INLINE void random_bytes(std::span<std::byte> into, std::error_code& ec) noexcept {
  ec.clear();
  if (into.empty()) return;
  using Generate = LONG(WINAPI*)(void* algorithm, unsigned char* into, ULONG size, ULONG flags);
  constexpr ULONG system_preferred = 2;  // BCRYPT_USE_SYSTEM_PREFERRED_RNG
  const HMODULE library =
      MULTIPROCESSING_SYSTEM(LoadLibraryExW)(L"bcrypt.dll", nullptr, LOAD_LIBRARY_SEARCH_SYSTEM32);
  if (library == nullptr) {
    ec = windows::last_error();
    return;
  }
  void* const address =
      reinterpret_cast<void*>(MULTIPROCESSING_SYSTEM(GetProcAddress)(library, "BCryptGenRandom"));
  const auto generate = reinterpret_cast<Generate>(address);
  const bool done =
      generate != nullptr && generate(nullptr, reinterpret_cast<unsigned char*>(into.data()),
                                      static_cast<ULONG>(into.size()), system_preferred) >= 0;
  ec = done ? std::error_code{} : windows::as_error(ERROR_GEN_FAILURE);
}

}  // namespace multiprocessing::os
