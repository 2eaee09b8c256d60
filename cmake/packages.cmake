# Where the libraries come from: the distribution's packages (scripts/deps.sh installs them).
find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(spdlog REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(prometheus-cpp REQUIRED COMPONENTS core)

# CLI11 2.1 of Debian and CAF 0.17 come without CMake packages.
function(tandem_find_library target header library)
  find_path(${target}_include ${header} REQUIRED)
  add_library(${target} INTERFACE IMPORTED)
  target_include_directories(${target} SYSTEM INTERFACE ${${target}_include})
  if(library)
    find_library(${target}_library ${library} REQUIRED)
    target_link_libraries(${target} INTERFACE ${${target}_library})
  endif()
endfunction()
tandem_find_library(CLI11::CLI11 CLI/CLI.hpp "")
tandem_find_library(CAF::core caf/typed_actor.hpp caf_core)
tandem_find_library(PCRE2::8bit pcre2.h pcre2-8)
tandem_find_library(SentencePiece::processor sentencepiece_processor.h sentencepiece)
if(TANDEM_TESTS AND NOT TANDEM_FUZZ)
  tandem_find_library(SentencePiece::trainer sentencepiece_trainer.h sentencepiece_train)
endif()
target_link_libraries(CAF::core INTERFACE Threads::Threads)

# Boost's compiled parts, once each: cmake/boost_json.cpp, cmake/boost_asio.cpp.
add_library(tandem_boost_json STATIC cmake/boost_json.cpp)
target_link_libraries(tandem_boost_json PUBLIC Boost::headers)
add_library(tandem_asio STATIC cmake/boost_asio.cpp)
target_compile_definitions(tandem_asio PUBLIC BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION
                           BOOST_ASIO_NO_DEPRECATED)
target_link_libraries(tandem_asio PUBLIC Boost::headers Threads::Threads)

# Tests are written for Catch2 2.13 (Debian 12). Where the distribution has version 3 (Ubuntu 24.04),
# a header of the old name stands in front of it.
if(TANDEM_TESTS)
  add_library(tandem_catch2 INTERFACE)
  find_path(catch2_single_header catch2/catch.hpp)
  if(NOT catch2_single_header)
    find_package(Catch2 3 REQUIRED)
    file(WRITE ${CMAKE_BINARY_DIR}/compat/catch2/catch.hpp
         "#pragma once\n#include <catch2/catch_all.hpp>\nusing Catch::Approx;\n")
    target_include_directories(tandem_catch2 SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/compat)
    target_link_libraries(tandem_catch2 INTERFACE Catch2::Catch2WithMain)
  endif()
endif()
