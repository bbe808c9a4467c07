# SPDX-License-Identifier: BSL-1.0
# multiprocessing_add_mpi(<library>): the target multiprocessing::mpi, which is <library> and MPI's C interface. Without
# MPI no target, and a line that says so. A macro, because finding MPI for C enables that language.
# Used by this tree and by the installed package.
macro(multiprocessing_add_mpi library)
  if(NOT TARGET multiprocessing::mpi AND NOT WIN32 AND NOT CMAKE_CROSSCOMPILING)
    get_property(_multiprocessing_languages GLOBAL PROPERTY ENABLED_LANGUAGES)
    if(NOT "C" IN_LIST _multiprocessing_languages)
      enable_language(C)
    endif()
    if(NOT TARGET MPI::MPI_C)
      # For C: what it finds for C++ links bindings that MPI has dropped.
      find_package(MPI QUIET COMPONENTS C)
      if(TARGET MPI::MPI_C)
        set_target_properties(MPI::MPI_C PROPERTIES IMPORTED_GLOBAL TRUE)
      endif()
    endif()
    if(TARGET MPI::MPI_C)
      add_library(multiprocessing_mpi INTERFACE IMPORTED GLOBAL)
      target_link_libraries(multiprocessing_mpi INTERFACE ${library} MPI::MPI_C)
      target_compile_definitions(multiprocessing_mpi INTERFACE
        MULTIPROCESSING_MPI OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)
      add_library(multiprocessing::mpi ALIAS multiprocessing_mpi)
    else()
      message(STATUS "multiprocessing::mpi is left out: no MPI (Debian, Ubuntu: apt install openmpi-bin libopenmpi-dev)")
    endif()
  endif()
endmacro()
