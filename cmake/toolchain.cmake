# How everything is compiled: cache, linker, warnings as errors, sanitizers.
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion
                    -Wno-missing-field-initializers -Werror)
add_compile_options(-fstack-protector-strong)
add_link_options(-Wl,-z,relro,-z,now)
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1")
set(CMAKE_CXX_FLAGS_RELEASE "-O2")
if(NOT TANDEM_SANITIZE)
  add_compile_options($<$<CONFIG:Release>:-D_FORTIFY_SOURCE=2>)
endif()
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

if(TANDEM_SANITIZE)
  add_compile_options(-fsanitize=${TANDEM_SANITIZE} -fno-omit-frame-pointer -g1)
  # GCC 12 sees uninitialised members inside std::regex and std::optional once ASan is on.
  add_compile_options(-Wno-maybe-uninitialized)
  add_link_options(-fsanitize=${TANDEM_SANITIZE})
  if(TANDEM_SANITIZE MATCHES "undefined")
    # CAF 0.17.6 binds a null reference in detail/init_fun_factory.hpp.
    add_compile_options(-fno-sanitize=null -fno-sanitize-recover=undefined)
  endif()
  if(TANDEM_SANITIZE MATCHES "thread")
    add_compile_options(-Wno-tsan)
  endif()
endif()

# Coverage for libFuzzer in all of our code. Warnings are the other compiler's business.
if(TANDEM_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "TANDEM_FUZZ needs clang; the preset 'fuzz' asks for clang++-14")
  endif()
  add_compile_options(-Wno-error -w -g1 -fno-omit-frame-pointer -U_FORTIFY_SOURCE
                      -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=address,undefined)
endif()
