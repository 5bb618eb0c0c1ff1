/* AVX-512 (F, DQ, VL, BW); empty where the compiler was not asked for them. */
#include "isa.h"
#if FR_COMPILES_AVX512
#define FR_BYTES 64
#include "body.inc.h"
const fr_kernels *const fr_avx512_f32 = &fr_table_f32, *const fr_avx512_f64 = &fr_table_f64;
const fr_format *const fr_avx512_int8 = &fr_format8_f32, *const fr_avx512_bf16 = &fr_format16_f32;
#else
const fr_kernels *const fr_avx512_f32 = 0, *const fr_avx512_f64 = 0;
const fr_format *const fr_avx512_int8 = 0, *const fr_avx512_bf16 = 0;
#endif
