# SPDX-License-Identifier: BSL-1.0
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(_dir ${CMAKE_INSTALL_LIBDIR}/cmake/multiprocessing)
install(TARGETS multiprocessing multiprocessing_main EXPORT multiprocessing-targets 
  FILE_SET HEADERS FILE_SET parts FILE_SET network_headers FILE_SET distributed_headers FILE_SET mpi_headers
  FILE_SET backends)
install(EXPORT multiprocessing-targets NAMESPACE multiprocessing:: DESTINATION ${_dir})
configure_package_config_file(cmake/config.cmake.in multiprocessing-config.cmake
  INSTALL_DESTINATION ${_dir})
# Before 1.0 a minor version may break: 0.1.3 serves who asks for 0.1, 0.2.0 does not.
write_basic_package_version_file(multiprocessing-config-version.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/multiprocessing-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/multiprocessing-config-version.cmake
  cmake/boost_headers.cmake
  cmake/compiled.cmake
  cmake/compiled.cpp
  cmake/gearman.cmake
  cmake/mpi.cmake
  cmake/network.cmake
  cmake/main.cpp
  DESTINATION ${_dir})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
