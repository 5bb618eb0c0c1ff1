/* The table of instruction sets, the check of which ones this processor has, and the helpers that need no vectors. */
#if defined(__linux__)
#define _GNU_SOURCE /* sched_getcpu, CPU_SET */
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#include "isa.h"
#include "work.h"
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define FR_X86 1
#include <cpuid.h>
#include <xmmintrin.h>
#endif

static int always(void) { return 1; }

static int has_avx2(void)
{
#ifdef FR_X86
    __builtin_cpu_init(); /* also asks the operating system whether it saves the registers */
    return fr_avx2_f32 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 0;
#endif
}

static int has_avx512(void)
{
#ifdef FR_X86
    __builtin_cpu_init();
    return fr_avx512_f32 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
#else
    return 0;
#endif
}

#ifdef FR_X86
static unsigned cpu_leaf7(int part, int word)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid_count(7, (unsigned)part, &a, &b, &c, &d))
        return 0;
    return word == 0 ? a : word == 2 ? c : d;
}

static int has_avx512vnni(void) { return cpu_leaf7(0, 2) >> 11 & 1; }
static int has_avx512bf16(void) { return cpu_leaf7(1, 0) >> 5 & 1; }
static int has_avxvnni(void) { return cpu_leaf7(1, 0) >> 4 & 1; }

/* Linux lets a process use the tiles when it has asked for them. */
static int has_amx(void)
{
#if defined(__linux__)
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    const unsigned tile_and_types = 1u << 24 | 1u << 25 | 1u << 22;
    return (cpu_leaf7(0, 3) & tile_and_types) == tile_and_types && has_avx512vnni() && has_avx512bf16() &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return 0;
#endif
}
#else
#define has_amx always
#define has_avx512vnni always
#define has_avx512bf16 always
#define has_avxvnni always
#endif

/* Asked only on processors that have the instruction set they belong to. */
static const fr_format *const no_format = 0;
static const fr_dot avx512_dots[] = {
    {"amx", &fr_amx_int8, &fr_amx_bf16, has_amx},
    {"vnni", &fr_avx512vnni, &no_format, has_avx512vnni},
    {"bf16", &no_format, &fr_avx512bf16, has_avx512bf16},
    {"plain", &fr_avx512_int8, &fr_avx512_bf16, always},
    {0, 0, 0, 0},
};
static const fr_dot avx2_dots[] = {
    {"vnni", &fr_avxvnni, &no_format, has_avxvnni},
    {"plain", &fr_avx2_int8, &fr_avx2_bf16, always},
    {0, 0, 0, 0},
};
static const fr_dot baseline_dots[] = {
    {"plain", &fr_baseline_int8, &fr_baseline_bf16, always},
    {0, 0, 0, 0},
};

static const fr_isa isa_table[] = {
    {"avx512", &fr_avx512_f32, &fr_avx512_f64, has_avx512, avx512_dots},
    {"avx2", &fr_avx2_f32, &fr_avx2_f64, has_avx2, avx2_dots},
#if defined(__aarch64__)
    {"neon", &fr_baseline_f32, &fr_baseline_f64, always, baseline_dots},
#else
    {"baseline", &fr_baseline_f32, &fr_baseline_f64, always, baseline_dots},
#endif
    {0, 0, 0, 0, 0},
};

const fr_isa *fr_isas(void) { return isa_table; }

uint64_t fr_flush_begin(void)
{
#if defined(FR_X86)
    const unsigned word = _mm_getcsr();
    _mm_setcsr(word | 0x8040); /* flush to zero, denormals are zero */
    return word;
#elif defined(__aarch64__) && defined(__GNUC__)
    uint64_t word;
    __asm__ volatile("mrs %0, fpcr" : "=r"(word));
    __asm__ volatile("msr fpcr, %0" : : "r"(word | (1ull << 24)));
    return word;
#else
    return 0;
#endif
}

void fr_flush_end(uint64_t word)
{
#if defined(FR_X86)
    /* Exception flags raised inside stay raised, as after any other arithmetic. */
    _mm_setcsr((unsigned)word | (_mm_getcsr() & 0x3f));
#elif defined(__aarch64__) && defined(__GNUC__)
    __asm__ volatile("msr fpcr, %0" : : "r"(word));
#else
    (void)word;
#endif
}

#if defined(__GNUC__) && !defined(_WIN32)
/* Turns of a barrier before it yields: about 20 us (bench/NOTES.md, Patience at a barrier). */
#define FR_PATIENCE 1000

void fr_barrier(fr_team *team)
{
    const int round = fr_load(&team->round);
    if (fr_add(&team->arrived, 1) == team->size) {
        fr_store(&team->arrived, 0);
        fr_store(&team->round, round + 1);
        return;
    }
    for (int turn = 0; fr_load(&team->round) == round; turn++) {
        if (turn > FR_PATIENCE)
            fr_yield();
        else
            fr_pause();
    }
}

void fr_team_end(fr_team *team)
{
    if (fr_load(&team->last) == FR_NO_ROUND)
        fr_store(&team->last, fr_load(&team->round) + 1);
}

int fr_team_ended(const fr_team *team) { return fr_load(&team->last) <= fr_load(&team->round); }

int fr_has_barrier(void) { return 1; }
#else
void fr_barrier(fr_team *team) { (void)team; }

void fr_team_end(fr_team *team) { (void)team; }

int fr_team_ended(const fr_team *team) { return team == 0; }

int fr_has_barrier(void) { return 0; }
#endif

#if defined(__linux__)
static __thread int role = 0;
static int caller_cpu = -1;

void fr_play(int new_role)
{
    role = new_role;
    fr_keep_apart();
}

void fr_keep_apart(void)
{
    cpu_set_t all, others;
    int cpu;
    if (role == 0 || (cpu = sched_getcpu()) < 0)
        return;
    if (role == FR_CALLER) {
        if (fr_load(&caller_cpu) != cpu)
            fr_store(&caller_cpu, cpu);
        return;
    }
    if (fr_load(&caller_cpu) != cpu || sched_getaffinity(0, sizeof all, &all) != 0)
        return;
    others = all;
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0)
        (void)sched_setaffinity(0, sizeof all, &all);
}
#else
void fr_play(int role) { (void)role; }

void fr_keep_apart(void) {}
#endif

uint64_t fr_fingerprint(const void *data, fr_int n, uint64_t seed)
{
    /* Eight independent chains keep the multiplier busy: about 16 bytes a cycle (bench/NOTES.md, Fingerprint). */
    const unsigned char *p = data;
    uint64_t lane[8];
    for (int i = 0; i < 8; i++)
        lane[i] = seed + 0x9e3779b97f4a7c15u * (uint64_t)(i + 1);
    for (; n >= 64; n -= 64, p += 64) {
        uint64_t w[8];
        memcpy(w, p, 64);
        for (int i = 0; i < 8; i++)
            lane[i] = (lane[i] ^ w[i]) * 0xd6e8feb86659fd93u + (lane[i] >> 29);
    }
    unsigned char tail[64] = {0};
    memcpy(tail, p, (size_t)n);
    uint64_t w[8], sum = seed ^ (uint64_t)n;
    memcpy(w, tail, 64);
    for (int i = 0; i < 8; i++) {
        lane[i] = (lane[i] ^ w[i]) * 0xd6e8feb86659fd93u;
        sum = (sum ^ (lane[i] ^ (lane[i] >> 32))) * 0x9e3779b97f4a7c15u;
    }
    return sum ^ (sum >> 32);
}
