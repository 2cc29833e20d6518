/* SPDX-License-Identifier: MIT
 *
 * Numbers in a file that is mapped and shared. Also the far end of planted bugs, which tell here
 * that they were reached and that they made a difference (planted/planted.h). */
#include "stats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void nth_planted_mark(unsigned what);

static _Noreturn void refuse(const char *path)
{
    (void)fprintf(stderr, "HEAPRIG_STATS=%s: expected a file that can be written: %s\n", path,
                  strerror(errno));
    exit(2);
}

static struct rig_stats *stats_map(const char *path)
{
    const int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0 || ftruncate(file, (off_t)sizeof(struct rig_stats)) != 0) {
        refuse(path);
    }
    void *mapped =
        mmap(NULL, sizeof(struct rig_stats), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) {
        refuse(path);
    }
    close(file);
    return mapped;
}

struct rig_stats *rig_stats_now(void)
{
    static struct rig_stats unheard;
    static struct rig_stats *stats;
    if (stats == NULL) {
        const char *path = getenv("HEAPRIG_STATS");
        stats = path == NULL ? &unheard : stats_map(path);
    }
    return stats;
}

/* Whole, whichever of several processes is last. */
static void slowest_write(const char *path, const uint8_t *bytes, size_t len_bytes)
{
    char kept[4096];
    char begun[4096];
    if (snprintf(begun, sizeof(begun), "%s.slowest.%d", path, (int)getpid()) >=
        (int)sizeof(begun)) {
        return;
    }
    (void)snprintf(kept, sizeof(kept), "%s.slowest", path);
    FILE *file = fopen(begun, "we");
    if (file == NULL) {
        return;
    }
    const bool written = fwrite(bytes, 1, len_bytes, file) == len_bytes;
    if (fclose(file) != 0 || !written || rename(begun, kept) != 0) {
        (void)unlink(begun);
    }
}

void rig_stats_slow(struct rig_stats *stats, uint64_t processor_ns, const uint8_t *bytes,
                    size_t len_bytes)
{
    const char *path = getenv("HEAPRIG_STATS");
    if (processor_ns > atomic_load_explicit(&stats->slowest_ns, memory_order_relaxed)) {
        rig_stats_max(&stats->slowest_ns, processor_ns);
        if (path != NULL) {
            slowest_write(path, bytes, len_bytes);
        }
    }
}

void nth_planted_mark(unsigned what)
{
    if (what - 1 < 2) {
        atomic_store_explicit(&rig_stats_now()->planted[what - 1], 1, memory_order_relaxed);
    }
}
