# Kernel files and their instruction sets. GCC 12 has no -march=znver4 / sapphirerapids tuning that
# we want; the sets are named one by one, and the program chooses among them at start.
set_source_files_properties(gpu/host/kernels_avx512_bf16.cpp PROPERTIES COMPILE_OPTIONS "-O3;-march=x86-64-v4;-mavx512bf16")
set_source_files_properties(gpu/host/kernels_avx512.cpp PROPERTIES COMPILE_OPTIONS "-O3;-march=x86-64-v4")
set_source_files_properties(gpu/host/kernels_avx2.cpp PROPERTIES COMPILE_OPTIONS "-O3;-march=x86-64-v3")
set_source_files_properties(gpu/host/kernels_portable.cpp PROPERTIES COMPILE_OPTIONS "-O3")
