# SPDX-License-Identifier: BSL-1.0
# multiprocessing_add_compiled(<library>): the target multiprocessing::compiled, which is <library> with its functions in
# an archive, compiled when somebody links it and by that project's own compiler and flags. Who has many files compiles
# each of them faster. Every file of a program links it, or none.
# Used by this tree and by the installed package.
function(multiprocessing_add_compiled library)
  if(TARGET multiprocessing::compiled)
    return()
  endif()
  add_library(multiprocessing_compiled STATIC EXCLUDE_FROM_ALL ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/compiled.cpp)
  target_link_libraries(multiprocessing_compiled PUBLIC ${library} $<$<PLATFORM_ID:Windows>:ws2_32>)
  target_compile_definitions(multiprocessing_compiled PUBLIC MULTIPROCESSING_COMPILED=1)
  set_target_properties(multiprocessing_compiled PROPERTIES POSITION_INDEPENDENT_CODE ON)
  add_library(multiprocessing::compiled ALIAS multiprocessing_compiled)
endfunction()
