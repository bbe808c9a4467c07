// SPDX-License-Identifier: BSL-1.0
#pragma once
#include <multiprocessing/os/crash.hpp>

namespace multiprocessing::os {

MULTIPROCESSING_INLINE CrashRecorder::CrashRecorder(CrashRecord& /*record*/) noexcept {}

MULTIPROCESSING_INLINE CrashRecorder::~CrashRecorder() = default;

MULTIPROCESSING_INLINE void CrashRecorder::prepare() noexcept {}

}  // namespace multiprocessing::os
