# The CUDA toolkit, if there is one and it is wanted (TANDEM_CUDA: on, off, auto). What needs it are
# the kernels (gpu/cuda/kernels/*.cu) and the runtime driver; all else of gpu/cuda is built anyway.
# cuBLAS is opened when the program starts, so that building needs neither its headers nor 500 MB.
set(TANDEM_CUDA_ARCHITECTURES "80;90a" CACHE STRING "compute capabilities that kernels are compiled for")
set(TANDEM_KV_ORDER "block_major" CACHE STRING "block_major | layer_major: order of the KV pool on CUDA devices")

if(TANDEM_KV_ORDER STREQUAL "layer_major")
  target_compile_definitions(tandem_gpu PUBLIC TANDEM_KV_LAYER_MAJOR)
elseif(NOT TANDEM_KV_ORDER STREQUAL "block_major")
  message(FATAL_ERROR "TANDEM_KV_ORDER is '${TANDEM_KV_ORDER}'; allowed are block_major and layer_major")
endif()
target_link_libraries(tandem_gpu PRIVATE ${CMAKE_DL_LIBS})

# tandem_cuda_kernels(target): compiles every kernel file for every architecture and keeps the
# assembler's report beside the object, for tests/cuda/registers_test.py. CMake 3.25 drops C++20 for
# CUDA in silence and probes architectures that toolkit 13 no longer has, so nvcc is called as it is.
function(tandem_cuda_kernels target)
  file(GLOB kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/gpu/cuda/kernels/*.cu)
  set(flags ${TANDEM_NVCC_FLAGS} -Werror all-warnings)
  foreach(architecture ${TANDEM_CUDA_ARCHITECTURES})
    list(APPEND flags -gencode arch=compute_${architecture},code=sm_${architecture})
  endforeach()
  # Devices newer than all of them translate this once, at their first start.
  list(GET TANDEM_CUDA_ARCHITECTURES 0 oldest)
  list(APPEND flags -gencode arch=compute_${oldest},code=compute_${oldest})
  foreach(kernel ${kernels})
    get_filename_component(name ${kernel} NAME_WE)
    set(own ${flags})
    if(name STREQUAL "draw")
      list(APPEND own -fmad=false)  # weights are the host's to the bit
    endif()
    tandem_cuda_object(${target} ${kernel} ${name} "" ${own})
  endforeach()
endfunction()

# tandem_cuda_object(target source name pool flags…): one object of one file; in the ninja pool
# `pool`, if that is not empty.
function(tandem_cuda_object target source name pool)
  set(folder ${CMAKE_BINARY_DIR}/cuda)
  file(MAKE_DIRECTORY ${folder})
  set(object ${folder}/${name}.o)
  set(in_pool)
  if(pool)
    set(in_pool JOB_POOL ${pool})
  endif()
  string(JOIN " " command ${CCACHE} ${CUDAToolkit_NVCC_EXECUTABLE} ${ARGN} -MD -MF ${object}.d -c ${source} -o ${object})
  add_custom_command(OUTPUT ${object} BYPRODUCTS ${object}.report DEPENDS ${source} DEPFILE ${object}.d
                     COMMAND sh -c "${command} >${object}.report 2>&1 || { cat ${object}.report; exit 1; }"
                     COMMENT "Compiling CUDA kernels ${name}" ${in_pool} VERBATIM)
  target_sources(${target} PRIVATE ${object})
  set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
endfunction()

include(${CMAKE_CURRENT_LIST_DIR}/flashinfer.cmake)

if(NOT TANDEM_CUDA STREQUAL "off")
  find_package(CUDAToolkit 12.0 QUIET)
  if(CUDAToolkit_FOUND AND CUDAToolkit_NVCC_EXECUTABLE)
    target_compile_definitions(tandem_gpu PRIVATE TANDEM_HAS_CUDA)
    target_link_libraries(tandem_gpu PRIVATE CUDA::cudart_static)
    set(TANDEM_NVCC_FLAGS -std=c++20 -O3 --expt-relaxed-constexpr -Xptxas -v -Xcompiler -fPIC
        -ccbin ${CMAKE_CXX_COMPILER} -I ${CMAKE_SOURCE_DIR})
    if(TANDEM_KV_ORDER STREQUAL "layer_major")
      list(APPEND TANDEM_NVCC_FLAGS -DTANDEM_KV_LAYER_MAJOR)
    endif()
    tandem_cuda_kernels(tandem_gpu)
    tandem_flashinfer(tandem_gpu)
    set(TANDEM_HAS_CUDA ON)
    message(STATUS "CUDA toolkit ${CUDAToolkit_VERSION}: kernels for ${TANDEM_CUDA_ARCHITECTURES}, devices are looked for at start")
  elseif(TANDEM_CUDA STREQUAL "on")
    message(FATAL_ERROR "TANDEM_CUDA=on, but no CUDA toolkit of version 12.0 or newer was found; "
                        "install it or configure with TANDEM_CUDA=auto")
  else()
    message(STATUS "no CUDA toolkit: building for the host device alone")
  endif()
endif()
if(TANDEM_FLASHINFER STREQUAL "on" AND NOT TANDEM_HAS_CUDA)
  message(FATAL_ERROR "TANDEM_FLASHINFER=on needs the CUDA toolkit (TANDEM_CUDA)")
endif()
