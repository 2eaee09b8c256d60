# Sources are found by folder; a new file needs no line here.
function(tandem_sources target folder)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.cpp ${CMAKE_SOURCE_DIR}/${folder}/host/*.cpp
       ${CMAKE_SOURCE_DIR}/${folder}/jinja/*.cpp ${CMAKE_SOURCE_DIR}/${folder}/answer/*.cpp
       ${CMAKE_SOURCE_DIR}/${folder}/cuda/*.cpp ${CMAKE_SOURCE_DIR}/${folder}/cuda/flashinfer/*.cpp)
  target_sources(${target} PRIVATE ${sources})
  target_include_directories(${target} PUBLIC ${CMAKE_SOURCE_DIR})
endfunction()

# tandem_library(folder PUBLIC|PRIVATE links…): the static library tandem_<folder> of one folder.
function(tandem_library folder)
  add_library(tandem_${folder} STATIC)
  tandem_sources(tandem_${folder} ${folder})
  target_link_libraries(tandem_${folder} ${ARGN})
endfunction()

# tandem_test(folder links…): one Catch2 program of tests/<folder>, named test_<folder>, known to ctest.
function(tandem_test folder)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${folder}/*.cpp)
  if(NOT sources)
    return()
  endif()
  add_executable(test_${folder} ${sources})
  target_link_libraries(test_${folder} PRIVATE tandem_test_main ${ARGN})
  add_test(NAME ${folder} COMMAND test_${folder} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
endfunction()
