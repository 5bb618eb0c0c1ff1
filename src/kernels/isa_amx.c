/* Products with 8-bit and bfloat16 weights by AMX; empty where the compiler was not asked for it. */
#include "isa.h"
#if FR_COMPILES_AVX512 && defined(__AVX512VNNI__) && defined(__AVX512BF16__) && defined(__AMX_INT8__) && \
    defined(__AMX_BF16__)
#define FR_BYTES 64
#include "dot_only.inc.h"
const fr_format *const fr_amx_int8 = &fr_format8_f32, *const fr_amx_bf16 = &fr_format16_f32;
#else
const fr_format *const fr_amx_int8 = 0, *const fr_amx_bf16 = 0;
#endif
