# Kernel files and their instruction sets, named one by one; the program chooses among them at start.
# Contraction is off: results may not depend on which tile an expression was inlined into.
# -Wno-psabi: vectors are passed only between functions of one file.
set(kernel_flags -O3 -Wno-psabi -ffp-contract=off -fno-math-errno)
set_source_files_properties(gpu/host/kernels_portable.cpp PROPERTIES COMPILE_OPTIONS "${kernel_flags}")
set_source_files_properties(gpu/host/kernels_avx2.cpp PROPERTIES COMPILE_OPTIONS "${kernel_flags};-march=x86-64-v3")
set_source_files_properties(gpu/host/kernels_avx512.cpp PROPERTIES COMPILE_OPTIONS
                            "${kernel_flags};-march=x86-64-v4;-mprefer-vector-width=512")
set_source_files_properties(gpu/host/kernels_avx512_bf16.cpp PROPERTIES COMPILE_OPTIONS
                            "${kernel_flags};-march=x86-64-v4;-mavx512bf16;-mprefer-vector-width=512")
set_source_files_properties(gpu/host/kernels_amx_bf16.cpp PROPERTIES COMPILE_OPTIONS
                            "${kernel_flags};-march=x86-64-v4;-mavx512bf16;-mamx-tile;-mamx-bf16;-mprefer-vector-width=512")
