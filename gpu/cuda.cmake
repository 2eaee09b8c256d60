# The CUDA toolkit, if there is one and it is wanted (TANDEM_CUDA: on, off, auto).
if(NOT TANDEM_CUDA STREQUAL "off")
  find_package(CUDAToolkit 12.0 QUIET)
  if(CUDAToolkit_FOUND)
    target_compile_definitions(tandem_gpu PRIVATE TANDEM_HAS_CUDA)
    target_link_libraries(tandem_gpu PRIVATE CUDA::cudart_static)
    message(STATUS "CUDA toolkit ${CUDAToolkit_VERSION}: devices are looked for at start")
  elseif(TANDEM_CUDA STREQUAL "on")
    message(FATAL_ERROR "TANDEM_CUDA=on, but no CUDA toolkit of version 12.0 or newer was found; "
                        "install it or configure with TANDEM_CUDA=auto")
  else()
    message(STATUS "no CUDA toolkit: building for the host device alone")
  endif()
endif()
