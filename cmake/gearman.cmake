# SPDX-License-Identifier: BSL-1.0
# multiprocessing_add_gearman(<library>): the target multiprocessing::gearman, which is <library>: the protocol is spoken by the
# library itself, so nothing else is linked. On Windows the system's sockets. Used by this tree and by the installed package.
function(multiprocessing_add_gearman library)
  if(TARGET multiprocessing::gearman)
    return()
  endif()
  add_library(multiprocessing_gearman INTERFACE IMPORTED GLOBAL)
  target_link_libraries(multiprocessing_gearman INTERFACE ${library} $<$<BOOL:${WIN32}>:ws2_32>)
  add_library(multiprocessing::gearman ALIAS multiprocessing_gearman)
endfunction()
