/* Products with bfloat16 weights by AVX-512 BF16; empty where the compiler was not asked for it. */
#include "isa.h"
#if FR_COMPILES_AVX512 && defined(__AVX512BF16__)
#define FR_BYTES 64
#include "dot_only.inc.h"
const fr_format *const fr_avx512bf16 = &fr_format16_f32;
#else
const fr_format *const fr_avx512bf16 = 0;
#endif
