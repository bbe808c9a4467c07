# SPDX-License-Identifier: BSL-1.0
# Finds what the library is built on, and makes it visible wherever the library is: a target that
# find_package() makes is known in one folder only, our users' folders are other ones.
include(${CMAKE_CURRENT_LIST_DIR}/boost_headers.cmake)

function(_multiprocessing_dependencies)
  foreach(name IN ITEMS Threads::Threads Boost::headers)
    if(NOT TARGET ${name})
      list(APPEND new ${name})
    endif()
  endforeach()
  find_package(Threads REQUIRED)
  multiprocessing_find_boost_headers(problem)
  if(problem)
    message(FATAL_ERROR "${problem}")
  endif()
  foreach(name IN LISTS new)
    set_target_properties(${name} PROPERTIES IMPORTED_GLOBAL TRUE)
  endforeach()
endfunction()
_multiprocessing_dependencies()
