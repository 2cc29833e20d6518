/* SPDX-License-Identifier: MIT
 *
 * What core says to the sanitizers, and the only code of core that they do not watch. Without a
 * sanitizer everything here is empty or a plain access. */
#ifndef NTH_SANITIZE_H
#define NTH_SANITIZE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NTH_ASAN 1
#endif
#if __has_feature(memory_sanitizer)
#define NTH_MSAN 1
#endif
#if __has_feature(thread_sanitizer)
#define NTH_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define NTH_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define NTH_TSAN 1
#endif

/* ThreadSanitizer does not know membarrier(2): gates use full fences there. */
#if defined(NTH_TSAN)
#define NTH_FENCES_ONLY 1
#else
#define NTH_FENCES_ONLY 0
#endif

/* MemorySanitizer's shadow does not follow pages that move. */
#if defined(NTH_MSAN)
#define NTH_SHADOW_ONLY_IN_PLACE 1
#else
#define NTH_SHADOW_ONLY_IN_PLACE 0
#endif

/* AddressSanitizer traps every watched access to memory that was poisoned. */
#if defined(NTH_ASAN)
#define NTH_POISONS 1
#else
#define NTH_POISONS 0
#endif

#if defined(__clang__)
#define NTH_UNWATCHED __attribute__((no_sanitize("address", "memory")))
#elif defined(NTH_ASAN)
#define NTH_UNWATCHED __attribute__((no_sanitize("address")))
#else
#define NTH_UNWATCHED
#endif

/* Besides, ThreadSanitizer does not look: for bytes that may be an application's, which it may
 * write at the same time. Whatever is read there must prove itself. */
#if defined(__clang__)
#define NTH_GLANCE __attribute__((no_sanitize("address", "memory", "thread")))
#elif defined(NTH_ASAN)
#define NTH_GLANCE __attribute__((no_sanitize("address")))
#elif defined(NTH_TSAN)
#define NTH_GLANCE __attribute__((no_sanitize("thread")))
#else
#define NTH_GLANCE
#endif

#if defined(NTH_ASAN)
#include <sanitizer/asan_interface.h>
static inline void nth_poison(const void *ptr, size_t bytes)
{
    __asan_poison_memory_region(ptr, bytes);
}
static inline void nth_unpoison(const void *ptr, size_t bytes)
{
    __asan_unpoison_memory_region(ptr, bytes);
}
#elif defined(NTH_MSAN)
#include <sanitizer/msan_interface.h>
static inline void nth_poison(const void *ptr, size_t bytes)
{
    __msan_poison(ptr, bytes);
}
static inline void nth_unpoison(const void *ptr, size_t bytes)
{
    __msan_poison(ptr, bytes); /* a fresh block has no defined contents */
}
#else
static inline void nth_poison(const void *ptr, size_t bytes)
{
    (void)ptr;
    (void)bytes;
}
static inline void nth_unpoison(const void *ptr, size_t bytes)
{
    (void)ptr;
    (void)bytes;
}
#endif

/* Memory goes back to the system or to another use: it is ordinary again. */
#if defined(NTH_ASAN)
static inline void nth_forget(const void *ptr, size_t bytes)
{
    __asan_unpoison_memory_region(ptr, bytes);
}
#elif defined(NTH_MSAN)
static inline void nth_forget(const void *ptr, size_t bytes)
{
    __msan_unpoison(ptr, bytes);
}
#else
static inline void nth_forget(const void *ptr, size_t bytes)
{
    (void)ptr;
    (void)bytes;
}
#endif

#endif
