/* SPDX-License-Identifier: MIT
 *
 * The operating system's page source: mmap, mprotect, madvise, mremap. Addresses are asked for in
 * one direction, so that what was released is not handed out again soon. */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "atomics.h"
#include "base.h"
#include "page.h"
#include "sanitize.h"

/* User addresses end at 2^47 on the 64-bit machines we run on; 32-bit ones at 2^32. */
#if UINTPTR_MAX > 0xFFFFFFFFu
#define OS_SPAN_BYTES (1ull << 47)
#define OS_WRAP_BYTES (1ull << 42) /* distance after which the cursor starts over */
#else
#define OS_SPAN_BYTES (1ull << 32)
#define OS_WRAP_BYTES (1ull << 30)
#endif

static NTH_ATOMIC(uintptr_t) os_cursor; /* next address to ask for, 0: let the system choose */
static NTH_ATOMIC(uintptr_t) os_first;  /* where it chose */

static void *map_at(uintptr_t hint, size_t bytes)
{
    return mmap((void *)hint, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

/* Anywhere, aligned by mapping more and giving back both ends. */
static void *map_aligned(size_t bytes)
{
    const size_t wide = bytes + NTH_GRANULE_BYTES;
    char *place = wide < bytes ? MAP_FAILED : map_at(0, wide);
    if (place == MAP_FAILED) {
        return NULL;
    }
    char *base = (char *)nth_round_up((uintptr_t)place, NTH_GRANULE_BYTES);
    const size_t before = (size_t)(base - place);
    if (before > 0) {
        (void)munmap(place, before);
    }
    (void)munmap(base + bytes, wide - before - bytes);
    return base;
}

static void *map_below(uintptr_t cursor, size_t bytes)
{
    const size_t span = nth_round_up(bytes, NTH_GRANULE_BYTES);
    const uintptr_t first = nth_load_relaxed(&os_first);
    if (cursor == 0 || span > cursor || first - cursor > OS_WRAP_BYTES) {
        return NULL;
    }
    const uintptr_t want = nth_round_down(cursor - span, NTH_GRANULE_BYTES);
    void *place = want == 0 ? MAP_FAILED : map_at(want, bytes);
    if (place == MAP_FAILED) {
        return NULL;
    }
    if ((uintptr_t)place != want) {
        (void)munmap(place, bytes);
        return NULL;
    }
    nth_store_relaxed(&os_cursor, want);
    return place;
}

static enum nth_seam_status os_reserve(void *self, const struct nth_site *site, size_t bytes,
                                       void **base)
{
    (void)self;
    (void)site;
    void *place = map_below(nth_load_relaxed(&os_cursor), bytes);
    if (place == NULL) {
        place = map_aligned(bytes);
        if (place == NULL) {
            return NTH_SEAM_REFUSED;
        }
        nth_store_relaxed(&os_first, (uintptr_t)place);
        nth_store_relaxed(&os_cursor, (uintptr_t)place);
    }
    nth_forget(place, bytes);
    *base = place;
    return NTH_SEAM_OK;
}

static enum nth_seam_status os_commit(void *self, const struct nth_site *site, void *base,
                                      size_t bytes, BOOLEAN executable)
{
    (void)self;
    (void)site;
    const int access = PROT_READ | PROT_WRITE | (executable ? PROT_EXEC : 0);
    return mprotect(base, bytes, access) == 0 ? NTH_SEAM_OK : NTH_SEAM_REFUSED;
}

static enum nth_seam_status os_decommit(void *self, const struct nth_site *site, void *base,
                                        size_t bytes)
{
    (void)self;
    (void)site;
    if (mprotect(base, bytes, PROT_NONE) != 0) {
        return NTH_SEAM_REFUSED;
    }
    nth_forget(base, bytes);
    (void)madvise(base, bytes, MADV_DONTNEED);
    return NTH_SEAM_OK;
}

static enum nth_seam_status os_release(void *self, const struct nth_site *site, void *base,
                                       size_t bytes)
{
    (void)self;
    (void)site;
    nth_forget(base, bytes);
    return munmap(base, bytes) == 0 ? NTH_SEAM_OK : NTH_SEAM_REFUSED;
}

static enum nth_seam_status os_protect(void *self, const struct nth_site *site, void *base,
                                       size_t bytes, BOOLEAN writable)
{
    (void)self;
    (void)site;
    const int access = PROT_READ | (writable ? PROT_WRITE : 0);
    return mprotect(base, bytes, access) == 0 ? NTH_SEAM_OK : NTH_SEAM_REFUSED;
}

/* mremap leaves a hole behind; it is closed again at once so that the reservation stays ours. */
static enum nth_seam_status os_remap(void *self, const struct nth_site *site, void *from,
                                     size_t bytes, void *to)
{
    (void)self;
    (void)site;
    if (mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED) {
        return NTH_SEAM_REFUSED;
    }
    const int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    (void)mmap(from, bytes, PROT_NONE, how, -1, 0);
    nth_forget(from, bytes);
    return NTH_SEAM_OK;
}

const struct nth_pages *nth_pages_os(void)
{
    static const struct nth_pages os = {
        .low = 0,
        .span_bytes = OS_SPAN_BYTES,
        .zeroed = TRUE,
        .reserve = os_reserve,
        .commit = os_commit,
        .decommit = os_decommit,
        .release = os_release,
        .protect = os_protect,
        .remap = os_remap,
    };
    return &os;
}
