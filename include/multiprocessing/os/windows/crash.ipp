// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/crash.hpp>

namespace multiprocessing::os {

inline CrashRecorder::CrashRecorder(CrashRecord& /*record*/) noexcept {}

inline CrashRecorder::~CrashRecorder() = default;

inline void CrashRecorder::prepare() noexcept {}

}  // namespace multiprocessing::os
