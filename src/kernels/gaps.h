/* Gaps after the arrays of an arena. With -fsanitize=address a read or write in a gap is an error; other builds have no
 * gaps. */
#ifndef FASTRNN_GAPS_H
#define FASTRNN_GAPS_H

#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define FR_GAP 64
/* Allows access to the first `used` of `whole` bytes and forbids it to the rest. */
static inline void fr_fence(const char *at, size_t used, size_t whole)
{
    __asan_unpoison_memory_region(at, used);
    __asan_poison_memory_region(at + used, whole - used);
}
#else
#define FR_GAP 0
static inline void fr_fence(const char *at, size_t used, size_t whole)
{
    (void)at;
    (void)used;
    (void)whole;
}
#endif

#endif
