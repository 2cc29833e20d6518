/* SPDX-License-Identifier: MIT
 *
 * Full page heap: every block on pages of its own, next to one that cannot be accessed. Runs of
 * pages are cut from areas that the page source reserves; only a live block's pages are committed.
 * All of it runs with the verifier's lock held. Calls the page source. */
#include "verifier.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "page.h"

#if UINTPTR_MAX > 0xFFFFFFFFu
#define AREA_BYTES ((size_t)0x1000000)
#else
#define AREA_BYTES ((size_t)0x200000)
#endif
#define MAPPINGS_EACH 2u /* a stretch of accessible pages splits the area around it */

struct nth_page_area {
    struct nth_page_area *next;
    char *base;
    size_t bytes;
    size_t used_bytes;
    size_t committed_bytes;
};

struct nth_page_run {
    struct nth_page_run *next;
    char *base;
    size_t pages;
};

static struct nth_page_area *area_of(const char *address)
{
    struct nth_page_area *area = nth_verifier.areas;
    while (area != NULL && (uintptr_t)address - (uintptr_t)area->base >= area->bytes) {
        area = area->next;
    }
    return area;
}

bool nth_page_heap_covers(uintptr_t address)
{
    return area_of((const char *)address) != NULL;
}

/* Sizes past half of the addresses were refused before (verifier_call.c): no sum runs over. */
static struct nth_page_area *area_make(size_t wanted)
{
    const size_t bytes =
        wanted > AREA_BYTES / 4u ? nth_round_up(wanted, NTH_GRANULE_BYTES) : AREA_BYTES;
    struct nth_page_area *area = nth_verifier_take(sizeof(*area));
    void *place = NULL;
    if (area == NULL || nth_reserve(NTH_SITE(RESERVE, "pageheap.area"), bytes, &place) != NTH_OK) {
        return NULL;
    }
    *area = (struct nth_page_area){.next = nth_verifier.areas, .base = place, .bytes = bytes};
    nth_verifier.areas = area;
    nth_settle(place);
    return area;
}

static struct nth_page_run **runs_for(size_t pages)
{
    return &nth_verifier.runs[pages < NTH_PAGE_RUN_SIZES ? pages : NTH_PAGE_RUN_SIZES];
}

/* A free run of exactly so many pages, or a fresh one. */
static char *run_take(size_t pages)
{
    for (struct nth_page_run **at = runs_for(pages); *at != NULL; at = &(*at)->next) {
        struct nth_page_run *run = *at;
        if (run->pages == pages) {
            *at = run->next;
            run->next = nth_verifier.runs_spare;
            nth_verifier.runs_spare = run;
            return run->base;
        }
    }
    const size_t bytes = pages * NTH_PAGE_BYTES;
    struct nth_page_area *area = nth_verifier.areas;
    while (area != NULL && area->bytes - area->used_bytes < bytes) {
        area = area->next;
    }
    area = area != NULL ? area : area_make(bytes);
    if (area == NULL) {
        return NULL;
    }
    char *base = area->base + area->used_bytes;
    area->used_bytes += bytes;
    return base;
}

/* Without memory for the note of it, the run is not used again. */
static void run_give(char *base, size_t pages)
{
    struct nth_page_run *run = nth_verifier.runs_spare;
    if (run != NULL) {
        nth_verifier.runs_spare = run->next;
    } else {
        run = nth_verifier_take(sizeof(*run));
    }
    if (run != NULL) {
        struct nth_page_run **list = runs_for(pages);
        *run = (struct nth_page_run){.next = *list, .base = base, .pages = pages};
        *list = run;
    }
}

static void tell_budget(void)
{
    char text[160];
    const bool elsewhere = nth_verifier.set.stop != NULL && nth_verifier.set.log[0] != '\0';
    if (nth_verifier.budget_told || elsewhere) {
        return; /* with a hook and a log nothing is to be written here */
    }
    nth_verifier.budget_told = true;
    (void)snprintf(text, sizeof(text),
                   "heaprig: page heap: %u mappings are in use: further blocks are light\n",
                   nth_verifier.set.mapping_budget);
    (void)!write(STDERR_FILENO, text, strlen(text));
}

static void lay_out(struct nth_track *track, size_t bytes)
{
    const ULONG options = nth_verifier.set.page_heap_options;
    const size_t align = (options & NTH_PAGE_HEAP_UNALIGNED) != 0 ? 1u : 2u * sizeof(void *);
    track->user = (options & NTH_PAGE_HEAP_BACKWARDS) != 0
                      ? track->real
                      : track->real + track->real_bytes - nth_round_up(bytes, align);
    track->bytes = bytes;
}

enum nth_status nth_page_block_make(struct nth_track *track, size_t bytes)
{
    const bool backwards = (nth_verifier.set.page_heap_options & NTH_PAGE_HEAP_BACKWARDS) != 0;
    const size_t marked = bytes + NTH_MARK_BYTES + 2u * sizeof(void *);
    if (nth_verifier.mappings + MAPPINGS_EACH > nth_verifier.set.mapping_budget) {
        nth_verifier.sums.light_count++;
        tell_budget();
        return NTH_ABSENT;
    }
    const size_t data_bytes = nth_round_up(marked, NTH_PAGE_BYTES);
    char *base = run_take(data_bytes / NTH_PAGE_BYTES + 1u);
    if (base == NULL) {
        return NTH_NO_MEMORY;
    }
    char *data = base + (backwards ? NTH_PAGE_BYTES : 0u);
    if (nth_commit(NTH_SITE(COMMIT, "pageheap.block"), data, data_bytes, false) != NTH_OK) {
        run_give(base, data_bytes / NTH_PAGE_BYTES + 1u);
        return NTH_NO_MEMORY;
    }
    area_of(base)->committed_bytes += data_bytes;
    nth_forget(data, data_bytes);
    nth_verifier.mappings += MAPPINGS_EACH;
    nth_verifier.sums.full_count++;
    track->kind = NTH_TRACK_FULL;
    track->hold = base;
    track->hold_bytes = data_bytes + NTH_PAGE_BYTES;
    track->real = data;
    track->real_bytes = data_bytes;
    lay_out(track, bytes);
    return NTH_OK;
}

/* A page source that refuses leaves them accessible: then nobody notices a touch. */
void nth_page_block_hide(struct nth_track *track)
{
    if (!track->hidden && nth_decommit(NTH_SITE(DECOMMIT, "pageheap.block"), track->real,
                                       track->real_bytes) == NTH_OK) {
        area_of(track->real)->committed_bytes -= track->real_bytes;
        nth_verifier.mappings -= MAPPINGS_EACH;
        track->hidden = true;
    }
}

void nth_page_block_drop(struct nth_track *track)
{
    nth_page_block_hide(track);
    if (track->hidden) { /* otherwise the run stays as it is until all goes */
        run_give(track->hold, track->hold_bytes / NTH_PAGE_BYTES);
    }
}

void nth_page_areas_drop(void)
{
    while (nth_verifier.areas != NULL) {
        struct nth_page_area *area = nth_verifier.areas;
        nth_verifier.areas = area->next;
        nth_forget(area->base, area->bytes);
        nth_release(NTH_SITE(RELEASE, "pageheap.area"), area->base, area->bytes,
                    area->committed_bytes);
    }
}
