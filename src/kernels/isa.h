/* What each isa_*.c offers; null where it was compiled without its instructions. */
#ifndef FASTRNN_ISA_H
#define FASTRNN_ISA_H
#include "kernels.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && defined(__AVX512BW__)
#define FR_COMPILES_AVX512 1
#else
#define FR_COMPILES_AVX512 0
#endif

extern const fr_kernels *const fr_baseline_f32, *const fr_baseline_f64;
extern const fr_kernels *const fr_avx2_f32, *const fr_avx2_f64;
extern const fr_kernels *const fr_avx512_f32, *const fr_avx512_f64;

extern const fr_format *const fr_baseline_int8, *const fr_baseline_bf16;
extern const fr_format *const fr_avx2_int8, *const fr_avx2_bf16;
extern const fr_format *const fr_avx512_int8, *const fr_avx512_bf16;
extern const fr_format *const fr_amx_int8, *const fr_amx_bf16;
extern const fr_format *const fr_avxvnni, *const fr_avx512vnni, *const fr_avx512bf16;
#endif
