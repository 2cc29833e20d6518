/* SPDX-License-Identifier: MIT
 *
 * Steps of a call asked one by one, in the middle of a call that found everything whole: what they
 * look at was damaged since, as another thread might. Each must notice by itself. See forged.c. */
#include "support/forge.h"

#include "api.h"
#include "call.h"
#include "lock.h"
#include "ops.h"
#include "region.h"
#include "report.h"
#include "sanitize.h"
#include "validate.h"
#include "verifier.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#define BYTES ((SIZE_T)100)
#define LARGE_BYTES ((SIZE_T)0x90000)
#define COUNT 600u
#define CHUNK_MAX 64u

/* ---- In the middle of a call ---- */

static struct nth_call call;

static struct nth_heap *begin(HANDLE heap)
{
    struct nth_heap *inside = nth_call_begin(&call, "a look", heap, 0);
    assert_non_null(inside);
    nth_call_gate(&call);
    return inside;
}

/* It noted this, and says so when it ends. */
static void end_with(HANDLE heap, enum nth_reason reason, const char *field)
{
    assert_true(nth_noted());
    rig_report_forget();
    nth_call_end(&call);
    assert_int_equal(rig_report_count(), 1);
    assert_int_equal(rig_report_last()->reason, reason);
    assert_ptr_equal(rig_report_last()->heap, heap);
    assert_string_equal(rig_report_last()->field, field);
    rig_report_forget();
    assert_true(HeapValidate(heap, 0, NULL));
    rig_report_demand_none();
}

static void end_silent(HANDLE heap)
{
    assert_false(nth_noted());
    nth_call_end(&call);
    assert_true(HeapValidate(heap, 0, NULL));
    rig_report_demand_none();
}

/* ---- Numbers past every table ---- */

static void numbers_past_the_tables_are_not_followed(void **state)
{
    (void)state;
    assert_int_equal(nth_bin_of(UINT64_MAX), NTH_BIN_COUNT - 1u);
    assert_true(nth_block_is_busy(NTH_BLOCK_LARGE));
    assert_false(nth_block_is_busy(NTH_BLOCK_NONE));
    assert_int_equal(nth_api_status((enum nth_status)99), STATUS_INVALID_PARAMETER);
    assert_false(nth_noted());
}

/* More in a magazine than it may hold, or than there is room for: sealed, and no fill all the same.
 */
static void a_magazine_holds_no_more_than_it_may(void **state)
{
    (void)state;
    static struct nth_cache cache;
    uint32_t fill = 0;
    nth_cache_fill_put(&cache, 3, 4u << NTH_FILL_LIMIT_SHIFT | 4u, 0x1234);
    assert_true(nth_cache_fill(&cache, 3, 0x1234, &fill));
    assert_int_equal(nth_fill_count(fill), 4);
    nth_cache_fill_put(&cache, 3, 4u << NTH_FILL_LIMIT_SHIFT | 5u, 0x1234);
    assert_false(nth_cache_fill(&cache, 3, 0x1234, &fill));
    nth_cache_fill_put(&cache, 3, (NTH_LFH_MAGAZINE_MAX + 1u) << NTH_FILL_LIMIT_SHIFT, 0x1234);
    assert_false(nth_cache_fill(&cache, 3, 0x1234, &fill));
}

/* ---- Regions ---- */

static void a_damaged_reach_ends_the_map_of_blocks(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = rig_block_new(heap, BYTES);
    struct nth_region *region = nth_region_of(block);
    const uint64_t offset = (uint64_t)(uintptr_t)block - NTH_HEADER_BYTES - region->base;
    assert_true(nth_tag_reaches(region, offset));
    region->reach ^= 1u;
    assert_false(nth_tag_reaches(region, offset));
    assert_null(nth_region_of(block));
    region->reach ^= 1u;
    assert_ptr_equal(nth_region_of(block), region);
}

static void an_address_past_its_region_has_none(void **state)
{
    (void)state;
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x100000, 0x2000, NULL, NULL);
    struct nth_region *region = nth_region_of(heap);
    const void *late = (const char *)heap + region->bytes - 1u;
    assert_ptr_equal(nth_region_of(late), region);
    region->bytes -= NTH_PAGE_BYTES;
    nth_region_seal_front(region);
    assert_null(nth_region_of(late));
    region->bytes += NTH_PAGE_BYTES;
    nth_region_seal_front(region);
    assert_ptr_equal(nth_region_of(late), region);
}

static void a_handle_whose_region_names_another_slot_is_none(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    HANDLE other = rig_heap_new();
    struct nth_region *region = nth_region_of(heap);
    const uint64_t kind = region->kind;
    const uint32_t kinds = (uint32_t)kind;
    region->kind = kinds | (uint64_t)nth_region_slot(nth_region_of(other)) << 32;
    nth_region_seal_front(region);
    assert_null(nth_heap_find(heap));
    region->kind = kinds | (uint64_t)0x7FFFFFFF << 32;
    nth_region_seal_front(region);
    assert_null(nth_heap_find(heap));
    region->kind = kind;
    nth_region_seal_front(region);
    assert_non_null(nth_heap_find(heap));
}

/* Pages stay where they are when the map of them cannot be believed. */
static void a_damaged_map_of_pages_is_not_written_anew(void **state)
{
    (void)state;
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x100000, 0x8000, NULL, NULL);
    struct nth_region *region = nth_region_of(heap);
    struct nth_heap *inside = begin(heap);
    const uint64_t committed = inside->state.committed_bytes;
    uint64_t last = 10;
    region->hold_bytes ^= 1u;
    assert_int_equal(nth_segment_decommit(inside, region, 6, 8), NTH_NO_MEMORY);
    assert_false(nth_noted());
    region->hold_bytes ^= 1u;
    uint64_t *const later = (uint64_t *)(uintptr_t)region->page_map + 2;
    *later ^= 1u;
    assert_int_equal(nth_segment_decommit(inside, region, 6, 8), NTH_NO_MEMORY);
    assert_false(nth_noted());
    *later ^= 1u;
    region->hold_bytes ^= 1u;
    assert_int_equal(nth_segment_commit(inside, region, 8, &last), NTH_CORRUPT);
    region->hold_bytes ^= 1u;
    assert_int_equal(inside->state.committed_bytes, committed);
    end_with(heap, NTH_CORRUPT_SEGMENT, "region");
}

/* With the word of segment `number` damaged no segment is added, and that is told. */
static struct nth_heap *no_segment_is_added(HANDLE heap, unsigned number)
{
    struct nth_heap *inside = begin(heap);
    struct nth_region *added = NULL;
    inside->segments[number] ^= 1u;
    assert_int_equal(nth_segment_add(inside, 0x1000, &added), NTH_CORRUPT);
    assert_null(added);
    inside->segments[number] ^= 1u;
    end_with(heap, NTH_CORRUPT_SEGMENT, "heap.segments");
    return inside;
}

static void a_damaged_directory_gives_no_number(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    for (unsigned count = 0; forge_inside(heap)->state.segment_count < 3; count++) {
        assert_non_null(HeapAlloc(heap, 0, 0x40000));
        assert_true(count < 1000u);
    }
    assert_int_equal(no_segment_is_added(heap, 1)->state.segment_count, 3);
}

static void a_large_block_is_checked_for_its_own_heap(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    HANDLE other = rig_heap_new();
    struct nth_region *region = nth_region_of(rig_block_new(other, LARGE_BYTES));
    struct nth_heap *inside = begin(heap);
    assert_int_equal(nth_large_check(inside, region), NTH_CORRUPT);
    end_with(heap, NTH_CORRUPT_LARGE_BLOCK, "large.region");
    assert_true(HeapValidate(other, 0, NULL));
}

static void what_only_seems_a_block_does_not_seem_live(void **state)
{
    (void)state;
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x100000, 0x2000, NULL, NULL);
    struct nth_region *region = nth_region_of(heap);
    PVOID slot = NULL;
    for (unsigned count = 0; count < 40u; count++) {
        slot = rig_block_new(heap, BYTES);
    }
    const struct nth_chunk chunk = forge_chunk_of(heap, slot);
    struct nth_heap *inside = begin(heap);
    assert_true(nth_target_seems_live(inside, slot));
    assert_false(nth_target_seems_live(inside, forge_chunk_user(&chunk)));
    assert_false(nth_target_seems_live(inside, (char *)heap + region->bytes - 0x1000));
    end_silent(heap);
}

/* ---- The front end ---- */

struct chunks {
    HANDLE heap;
    struct nth_chunk at[CHUNK_MAX];
    unsigned count;
};

/* Chunks of one class in the order of its list, each with slots free; magazines are empty. */
static void chunks_make(struct chunks *chunks)
{
    static PVOID slots[COUNT];
    uint64_t reference = 0;
    *chunks = (struct chunks){.heap = rig_heap_new()};
    for (unsigned idx = 0; idx < COUNT; idx++) {
        slots[idx] = rig_block_new(chunks->heap, BYTES);
    }
    for (unsigned idx = 0; idx < COUNT; idx += 2) {
        assert_true(HeapFree(chunks->heap, 0, slots[idx]));
    }
    (void)HeapCompact(chunks->heap, 0);
    const struct nth_chunk any = forge_chunk_of(chunks->heap, slots[COUNT - 1u]);
    struct nth_heap *inside = forge_inside(chunks->heap);
    assert_int_equal(nth_heap_open(inside, &inside->buckets[any.bucket].partial,
                                   NTH_CORRUPT_HEAP_STATE, NULL, &reference),
                     NTH_OK);
    while (reference != 0 && chunks->count < CHUNK_MAX) {
        const uint64_t address = nth_place_address(reference);
        struct nth_region *region = nth_region_of((void *)(uintptr_t)address);
        assert_non_null(region);
        const struct nth_block block =
            forge_block(chunks->heap, (PVOID)(uintptr_t)(address + NTH_HEADER_BYTES));
        struct nth_chunk *chunk = &chunks->at[chunks->count++];
        assert_int_equal(nth_chunk_read(inside, &block, chunk), NTH_OK);
        reference = forge_read(chunks->heap, forge_chunk_user(chunk), NTH_CHUNK_NEXT);
    }
    assert_true(chunks->count >= 3);
}

static PVOID in_chunk(const struct nth_chunk *chunk, uint64_t place)
{
    return nth_region_place(chunk->region, chunk->offset + place);
}

/* A neighbour on the list whose header is damaged, or a link of its own that is. */
static void a_chunks_neighbours_are_read_before_they_are_believed(void **state)
{
    (void)state;
    struct chunks chunks;
    uint32_t free_slots = 0;
    chunks_make(&chunks);
    const struct {
        unsigned damaged;
        uint64_t place;
        enum nth_reason reason;
        const char *field;
    } rows[] = {{2, 0, NTH_CORRUPT_BLOCK_HEADER, "block.header"},
                {0, 0, NTH_CORRUPT_BLOCK_HEADER, "block.header"},
                {1, NTH_CHUNK_NEXT, NTH_CORRUPT_CHUNK, "chunk.next"},
                {1, NTH_CHUNK_PREVIOUS, NTH_CORRUPT_CHUNK, "chunk.previous"}};
    for (unsigned idx = 0; idx < sizeof(rows) / sizeof(rows[0]); idx++) {
        PVOID place = in_chunk(&chunks.at[rows[idx].damaged], rows[idx].place);
        struct nth_heap *inside = begin(chunks.heap);
        rig_flip(place);
        assert_int_equal(nth_chunk_check(inside, &chunks.at[1], &free_slots), NTH_CORRUPT);
        rig_flip(place);
        end_with(chunks.heap, rows[idx].reason, rows[idx].field);
    }
}

/* A class's words are looked at before they are counted with. */
static void a_damaged_class_makes_no_chunk_and_counts_nothing(void **state)
{
    (void)state;
    struct chunks chunks;
    chunks_make(&chunks);
    const struct nth_chunk *first = &chunks.at[0];
    struct nth_heap *inside = begin(chunks.heap);
    struct nth_bucket *class = &inside->buckets[first->bucket];
    const uint64_t made = inside->state.chunk_count;
    rig_flip(&class->outstanding);
    assert_int_equal(nth_front_count(inside, BYTES), NTH_CORRUPT);
    rig_flip(&class->outstanding);
    assert_int_equal(inside->state.chunk_count, made);
    end_with(chunks.heap, NTH_CORRUPT_HEAP_STATE, "heap.buckets");
}

/* As many as can be counted are outstanding: one more is not counted, and none turns to nothing. */
static void a_count_that_is_full_stays_so(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    struct nth_heap *inside = begin(heap);
    const SIZE_T before = 5000;
    const SIZE_T after = 6000;
    uint64_t *word = &inside->buckets[nth_bucket_of(after)].outstanding;
    uint64_t count = 0;
    forge_class(heap, word, 0xFFFFF);
    assert_int_equal(nth_front_recount(inside, before, after), NTH_OK);
    assert_int_equal(nth_heap_open(inside, word, NTH_CORRUPT_HEAP_STATE, NULL, &count), NTH_OK);
    assert_int_equal(count, 0xFFFFF);
    forge_class(heap, word, 0);
    assert_int_equal(nth_front_recount(inside, before, after), NTH_OK);
    assert_int_equal(nth_heap_open(inside, word, NTH_CORRUPT_HEAP_STATE, NULL, &count), NTH_OK);
    assert_int_equal(count, 1);
    forge_class(heap, word, 0);
    end_silent(heap);
}

/* Chunks go back one by one, and a class that says it has none does not wrap around. */
static void a_class_without_chunks_gives_one_back(void **state)
{
    (void)state;
    static PVOID slots[COUNT];
    HANDLE heap = rig_heap_new();
    uint64_t count = 0;
    for (unsigned idx = 0; idx < COUNT; idx++) {
        slots[idx] = rig_block_new(heap, BYTES);
    }
    const struct nth_chunk chunk = forge_chunk_of(heap, slots[COUNT - 1u]);
    struct nth_heap *inside = forge_inside(heap);
    uint64_t *word = &inside->buckets[chunk.bucket].chunks;
    forge_class(heap, word, 0);
    for (unsigned idx = 0; idx < COUNT; idx++) {
        assert_true(HeapFree(heap, 0, slots[idx]));
    }
    (void)HeapCompact(heap, 0);
    assert_int_equal(inside->state.chunk_count, 0);
    assert_int_equal(nth_heap_open(inside, word, NTH_CORRUPT_HEAP_STATE, NULL, &count), NTH_OK);
    assert_int_equal(count, 0);
    assert_true(HeapValidate(heap, 0, NULL));
    rig_report_demand_none();
}

/* No more slots leave a chunk than it says are free, whatever its words name. */
static void a_chunk_gives_no_more_than_it_says(void **state)
{
    (void)state;
    struct chunks chunks;
    struct nth_block block = {.state = NTH_BLOCK_NONE};
    chunks_make(&chunks);
    const struct nth_chunk *first = &chunks.at[0];
    const uint32_t free_slots = first->free;
    assert_true(free_slots > 1u);
    struct nth_heap *inside = begin(chunks.heap);
    forge_word(chunks.heap, forge_chunk_user(first), NTH_CHUNK_INFO,
               1u << 16 | (uint64_t)first->slots << 7 | first->bucket);
    assert_int_equal(nth_front_take(inside, first->bucket, BYTES, &block), NTH_OK);
    assert_int_equal(block.state, NTH_BLOCK_SLOT_BUSY);
    assert_false(nth_noted());
    nth_call_end(&call);
    rig_report_forget();
    assert_false(HeapValidate(chunks.heap, 0, NULL));
    assert_int_equal(rig_report_last()->reason, NTH_CORRUPT_CHUNK);
    rig_report_forget();
    assert_true(HeapDestroy(chunks.heap));
    rig_report_forget();
}

static void caches_that_cannot_be_found_are_damage(void **state)
{
    (void)state;
    struct chunks chunks;
    uint64_t cached = 0;
    chunks_make(&chunks);
    struct nth_heap *inside = begin(chunks.heap);
    assert_true(inside->state.cache_count > 0);
    rig_flip(&inside->caches[0]);
    assert_int_equal(nth_front_check(inside, &cached), NTH_CORRUPT);
    rig_flip(&inside->caches[0]);
    end_with(chunks.heap, NTH_CORRUPT_CACHE, "heap.caches");
}

/* ---- Free lists ---- */

static void free_lists_are_ready_only_when_whole(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    struct nth_heap *inside = begin(heap);
    assert_int_equal(nth_freelist_ready_all(inside), NTH_OK);
    rig_flip(&inside->bin_map[0]);
    assert_int_equal(nth_freelist_ready_all(inside), NTH_CORRUPT);
    rig_flip(&inside->bin_map[0]);
    end_with(heap, NTH_CORRUPT_FREE_LIST, "heap.bin_map");
}

/* A word of the bitmap behind the one that has the list which is too small; their sum is made
 * right. */
static void a_list_that_is_too_small_leads_to_the_next_word(void **state)
{
    (void)state;
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x100000, 0x100000, NULL, NULL);
    struct nth_heap *inside = begin(heap);
    struct nth_block found;
    uint64_t units = 0;
    assert_int_equal(nth_backend_largest(inside, &units), NTH_OK);
    const uint32_t bin = nth_bin_of(units);
    uint64_t more = units;
    while (nth_bin_of(more + 1u) == bin) {
        more++;
    }
    assert_true(more > units);
    const uint32_t next = (bin + 1u) / NTH_WORD_BITS;
    assert_true(next < NTH_BIN_MAP_WORDS);
    assert_int_equal(nth_freelist_find(inside, more, &found), NTH_ABSENT);
    const uint64_t sum = inside->state.bin_map_sum;
    rig_flip(&inside->bin_map[next]);
    inside->state.bin_map_sum = nth_seal(inside->bin_map, NTH_BIN_MAP_WORDS, 0);
    assert_int_equal(nth_freelist_find(inside, more, &found), NTH_CORRUPT);
    rig_flip(&inside->bin_map[next]);
    inside->state.bin_map_sum = sum;
    end_with(heap, NTH_CORRUPT_FREE_LIST, "heap.bin_map");
}

/* ---- Looking at all of it ---- */

struct told {
    size_t count;
    struct nth_region *region;
    BOOLEAN damaged;
};

static BOOLEAN damage_the_reach(void *context, const struct nth_field *field)
{
    struct told *told = context;
    told->count++;
    if (!told->damaged && strcmp(field->name, "border.spare") == 0) {
        told->region->reach ^= 1u;
        told->damaged = TRUE;
    }
    return TRUE;
}

static BOOLEAN count_them(void *context, const struct nth_field *field)
{
    (void)field;
    ((struct told *)context)->count++;
    return TRUE;
}

/* Fields of blocks end where the map of blocks does. */
static void fields_end_where_the_map_does(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    struct told whole = {.region = nth_region_of(rig_block_new(heap, BYTES))};
    struct told part = {.region = whole.region};
    const size_t fields = nth_fields(heap, count_them, &whole);
    assert_int_equal(fields, whole.count);
    (void)nth_fields(heap, damage_the_reach, &part);
    part.region->reach ^= 1u;
    assert_true(part.damaged);
    assert_true(part.count > 10u && part.count < whole.count);
    assert_true(HeapValidate(heap, 0, NULL));
}

/* In the map of blocks over the middle of a block that is long enough to be looked at eight tags at
 * a time. */
static void a_start_inside_a_long_block_is_seen(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = rig_block_new(heap, 0x2000);
    struct nth_region *region = nth_region_of(block);
    const uint64_t offset = (uint64_t)(uintptr_t)block - region->base;
    uint8_t *tag = nth_tag_at(region, offset + 0x800u);
    *tag |= NTH_TAG_START;
    assert_false(HeapValidate(heap, 0, NULL));
    *tag = (uint8_t)(*tag & ~NTH_TAG_START);
    rig_report_forget();
    assert_true(HeapValidate(heap, 0, NULL));
}

static void user_information_of_large_blocks_is_validated(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    PVOID block = HeapAlloc(heap, HEAP_SETTABLE_USER_VALUE, LARGE_BYTES);
    assert_non_null(block);
    const struct nth_field field = rig_field_named(heap, "large.user_info", block);
    rig_report_forget();
    rig_flip(field.address);
    assert_false(HeapValidate(heap, 0, NULL));
    assert_int_equal(rig_report_last()->reason, NTH_CORRUPT_USER_INFO);
    rig_flip(field.address);
    rig_report_forget();
    assert_true(HeapValidate(heap, 0, NULL));
}

/* ---- Locks after a fork ---- */

static BOOLEAN try_nothing(void *self, void *lock)
{
    (void)self;
    (void)lock;
    return FALSE;
}

static enum nth_seam_status create_nothing(void *self, void **lock)
{
    (void)self;
    (void)lock;
    return NTH_SEAM_REFUSED;
}

static void a_lock_that_cannot_be_replaced_stays(void **state)
{
    (void)state;
    struct nth_locks locks = *nth_locks_os();
    struct nth_seam seam = rig_seam();
    void *lock = NULL;
    seam.locks = &locks;
    nth_seam_set(&seam);
    (void)rig_heap_new();
    assert_int_equal(locks.create(locks.self, &lock), NTH_SEAM_OK);
    assert_ptr_equal(nth_lock_renewed(lock), lock);
    locks.try_acquire = try_nothing;
    locks.create = create_nothing;
    assert_ptr_equal(nth_lock_renewed(lock), lock);
    locks = *nth_locks_os();
    locks.destroy(locks.self, lock);
    nth_process_reset();
}

/* ---- Gates ---- */

/* Who works in a heap may go on to what it needs while somebody forks; the fork waits for it. */
static void a_gate_inside_another_does_not_wait_for_a_fork(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    struct nth_heap *inside = forge_inside(heap);
    void *outer = nth_gate_enter(inside);
    assert_null(outer);
    nth_store_seq(&nth_process.forking, 1u);
    assert_ptr_equal(nth_gate_enter(&nth_process), inside);
    assert_ptr_equal(nth_load_relaxed(&nth_self.inside), &nth_process);
    nth_store_seq(&nth_process.forking, 0u);
    nth_gate_leave(inside);
    assert_ptr_equal(nth_load_relaxed(&nth_self.inside), inside);
    nth_gate_leave(outer);
    assert_null(nth_load_relaxed(&nth_self.inside));
}

/* Where the system has no barrier for all threads, each of them has its own. */
static void gates_close_by_fences_alone(void **state)
{
    (void)state;
    const bool fenced = nth_gate_fenced;
    struct chunks chunks;
    nth_gate_fenced = true;
    chunks_make(&chunks);
    assert_true(HeapLock(chunks.heap));
    assert_true(HeapUnlock(chunks.heap));
    assert_true(HeapValidate(chunks.heap, 0, NULL));
    assert_true(HeapDestroy(chunks.heap));
    nth_gate_fenced = fenced;
    rig_report_demand_none();
}

static void *use_a_heap(void *context)
{
    bool *used = context;
    HANDLE heap = HeapCreate(0, 0, 0);
    *used = heap != NULL && HeapAlloc(heap, 0, BYTES) != NULL && HeapDestroy(heap);
    return NULL;
}

/* The first test: nobody has used a heap yet, this thread neither. */
static void the_only_thread_that_knows_heaps_leaves(void **state)
{
    (void)state;
    for (unsigned turn = 0; turn < 2; turn++) {
        pthread_t thread;
        bool used = false;
        assert_int_equal(nth_self.state, NTH_THREAD_NEW);
        assert_int_equal(pthread_create(&thread, NULL, use_a_heap, &used), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_true(used);
    }
}

/* ---- The address map ---- */

static void what_reaches_past_the_arena_is_foreign(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    struct nth_region *region = nth_region_of(heap);
    char *late = (char *)(uintptr_t)(nth_process.low + nth_process.span_bytes - NTH_GRANULE_BYTES);
    const size_t bytes = 2u * NTH_GRANULE_BYTES;
    assert_null(nth_map_find_foreign((uintptr_t)late));
    assert_int_equal(nth_map_enter(late, bytes, region), NTH_OK);
    assert_ptr_equal(nth_map_find_foreign((uintptr_t)late), region);
    assert_ptr_equal(nth_map_find_foreign((uintptr_t)late + bytes - 1u), region);
    nth_map_remove(late, bytes);
    assert_null(nth_map_find_foreign((uintptr_t)late));
}

static void a_heap_without_a_whole_region_has_none_in_the_map(void **state)
{
    (void)state;
    HANDLE heap = rig_heap_new();
    struct nth_region *region = nth_region_of(heap);
    struct nth_heap *inside = forge_inside(heap);
    assert_ptr_equal(nth_map_any_of(inside), region);
    region->hold_bytes ^= 1u;
    assert_null(nth_map_any_of(inside));
    region->hold_bytes ^= 1u;
    assert_ptr_equal(nth_map_any_of(inside), region);
}

/* ---- Blocks and pages ---- */

#define OWN_BYTES ((SIZE_T)0x80000)

static struct nth_region *own_region;
static unsigned own_calls;

static uint64_t *last_own_word(void)
{
    const uint64_t words = nth_round_up((size_t)(own_region->bytes / NTH_PAGE_BYTES), 64) / 64;
    return (uint64_t *)(uintptr_t)own_region->page_map + words - 1u;
}

static NTSTATUS commit_and_damage(PVOID base, PVOID *address, PSIZE_T bytes)
{
    (void)base;
    own_calls++;
    assert_int_equal(mprotect(*address, *bytes, PROT_READ | PROT_WRITE), 0);
    if (own_region != NULL) { /* not when the heap is made */
        *last_own_word() ^= 1ull << 63;
    }
    return STATUS_SUCCESS;
}

/* While a CommitRoutine runs, the map of pages is damaged: what it committed is not taken. */
static void a_routine_that_damages_the_map_gives_nothing(void **state)
{
    (void)state;
    const SIZE_T all = OWN_BYTES + NTH_GRANULE_BYTES;
    char *mapping = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(mapping, MAP_FAILED);
    char *base = (char *)nth_round_up((uintptr_t)mapping, NTH_GRANULE_BYTES);
    assert_int_equal(mprotect(base, 0x2000, PROT_READ | PROT_WRITE), 0);
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted),
                                  .InitialCommit = 0x2000,
                                  .InitialReserve = OWN_BYTES,
                                  .CommitRoutine = commit_and_damage};
    own_region = NULL;
    HANDLE heap = RtlCreateHeap(0, base, 0, 0, NULL, &wanted);
    assert_ptr_equal(heap, base);
    own_region = nth_region_of(heap);
    own_calls = 0;
    const uint64_t committed = own_region->committed_pages;
    const struct rig_outcome outcome = rig_alloc(heap, HEAP_NO_SERIALIZE, 0x6000);
    rig_demand_value(&outcome, 0);
    assert_int_equal(own_calls, 1);
    assert_int_equal(own_region->committed_pages, committed);
    *last_own_word() ^= 1ull << 63;
    assert_true(HeapValidate(heap, 0, NULL));
    rig_report_demand_none();
    assert_true(HeapDestroy(heap));
    assert_int_equal(munmap(mapping, all), 0);
}

/* The next block begins with a page, and the map of pages is not whole. */
static void a_block_at_a_page_is_believed_by_a_whole_map_only(void **state)
{
    (void)state;
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x100000, 0x8000, NULL, NULL);
    const uint64_t border = NTH_PAGE_BYTES - NTH_BORDER_BYTES;
    PVOID block = rig_block_new(heap, (SIZE_T)(border - NTH_SEGMENT_FIRST - NTH_HEADER_BYTES));
    struct nth_region *region = nth_region_of(block);
    const struct nth_block first = forge_block(heap, block);
    assert_int_equal(first.offset + nth_block_bytes(&first), border);
    struct nth_heap *inside = begin(heap);
    bool present = false;
    assert_int_equal(nth_block_next(inside, region, border, &present), NTH_OK);
    assert_true(present);
    const uint64_t words = nth_round_up((size_t)(region->bytes / NTH_PAGE_BYTES), 64) / 64;
    uint64_t *mirror = (uint64_t *)(uintptr_t)region->page_map + words;
    *mirror ^= 1u;
    assert_int_equal(nth_block_next(inside, region, border, &present), NTH_CORRUPT);
    assert_false(present);
    *mirror ^= 1u;
    end_with(heap, NTH_CORRUPT_PAGE_MAP, "region.pages");
}

/* A walk stands at pages without memory, and the map says of the first that it has some. */
static void a_walk_does_not_go_on_by_a_damaged_map(void **state)
{
    (void)state;
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x100000, 0, NULL, NULL);
    struct nth_region *region = nth_region_of(rig_block_new(heap, BYTES));
    do {
        assert_true(HeapWalk(heap, &entry));
    } while ((entry.wFlags & PROCESS_HEAP_UNCOMMITTED_RANGE) == 0);
    const uint64_t page = ((uint64_t)(uintptr_t)entry.lpData - region->base) / NTH_PAGE_BYTES;
    assert_true(page < 64u);
    uint64_t *word = (uint64_t *)(uintptr_t)region->page_map;
    *word ^= 1ull << page;
    const struct rig_outcome outcome =
        rig_run(&(struct rig_args){.call = RIG_HEAP_WALK, .heap = heap, .extra = &entry});
    rig_demand_error(&outcome, FALSE, ERROR_INVALID_PARAMETER);
    rig_report_demand_field(NTH_CORRUPT_PAGE_MAP, heap, NULL, "region.pages");
    *word ^= 1ull << page;
    assert_true(HeapValidate(heap, 0, NULL));
}

/* The walk shows of a segment where its first block is: of a chunk, its first slot. */
static void a_damaged_chunk_at_the_start_of_a_segment_ends_a_walk(void **state)
{
    (void)state;
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x10000, 0x1000, NULL, NULL);
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    struct nth_heap *inside = forge_inside(heap);
    struct nth_block block = {.state = NTH_BLOCK_NONE};
    struct nth_region *region = NULL;
    for (unsigned count = 0; block.state != NTH_BLOCK_CHUNK; count++) {
        region = nth_region_of(rig_block_new(heap, BYTES));
        assert_true(count < 100000u);
        if (nth_region_number(region) > 0) {
            assert_true(nth_block_peek(inside, region, NTH_SEGMENT_FIRST, &block));
        }
    }
    PVOID info = nth_region_place(region, NTH_SEGMENT_FIRST + NTH_CHUNK_INFO);
    rig_flip(info);
    rig_report_forget();
    while (HeapWalk(heap, &entry)) {
        assert_int_equal(rig_report_count(), 0);
    }
    assert_int_equal(rig_report_count(), 1);
    assert_int_equal(rig_report_last()->reason, NTH_CORRUPT_CHUNK);
    assert_string_equal(rig_report_last()->field, "chunk.info");
    rig_report_forget();
    rig_flip(info);
    assert_true(HeapValidate(heap, 0, NULL));
}

/* The chunk that a magazine is filled from: its link to the next one is looked at first. */
static void a_magazine_is_not_filled_from_a_damaged_chunk(void **state)
{
    (void)state;
    struct chunks chunks;
    struct nth_block block = {.state = NTH_BLOCK_NONE};
    chunks_make(&chunks);
    PVOID place = in_chunk(&chunks.at[0], NTH_CHUNK_NEXT);
    struct nth_heap *inside = begin(chunks.heap);
    rig_flip(place);
    assert_int_equal(nth_front_take(inside, chunks.at[0].bucket, BYTES, &block), NTH_CORRUPT);
    rig_flip(place);
    end_with(chunks.heap, NTH_CORRUPT_CHUNK, "chunk.next");
}

/* As many segments as need no directory, and the first of them cannot be found. */
static void a_directory_is_not_begun_without_its_segment(void **state)
{
    (void)state;
    RTL_HEAP_PARAMETERS wanted = {.Length = sizeof(wanted), .SegmentReserve = 0x10000};
    HANDLE heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0x10000, 0x1000, NULL, &wanted);
    assert_non_null(heap);
    for (unsigned count = 0; forge_inside(heap)->state.segment_count < NTH_SEGMENT_NEAR_COUNT;
         count++) {
        assert_non_null(HeapAlloc(heap, 0, 0x7000));
        assert_true(count < 10000u);
    }
    assert_int_equal(no_segment_is_added(heap, 0)->state.directory_pages, 0);
}

/* ---- The verifier's lock ---- */

/* A call that is left while it holds the verifier's lock has been inside something else before. */
static void what_a_thread_was_inside_stays_when_the_verifier_is_left(void **state)
{
    (void)state;
    struct nth_verifier_settings settings;
    nth_verifier_defaults(&settings);
    settings.layers = NTH_VERIFY_LEAK;
    assert_int_equal(nth_verifier_start(&settings), STATUS_SUCCESS);
    (void)nth_verifier_enter();
    nth_verifier_abandon();
    assert_null(nth_load_relaxed(&nth_self.inside));
    (void)nth_verifier_enter();
    nth_store_release(&nth_self.inside, &nth_process);
    nth_verifier_abandon();
    assert_ptr_equal(nth_load_relaxed(&nth_self.inside), &nth_process);
    nth_store_release(&nth_self.inside, NULL);
    assert_false(nth_self.holds_verifier);
    nth_verifier_leave(nth_verifier_enter());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_only_thread_that_knows_heaps_leaves),
        TEST(numbers_past_the_tables_are_not_followed),
        TEST(a_magazine_holds_no_more_than_it_may),
        TEST(a_damaged_reach_ends_the_map_of_blocks),
        TEST(an_address_past_its_region_has_none),
        TEST(a_handle_whose_region_names_another_slot_is_none),
        TEST(a_damaged_map_of_pages_is_not_written_anew),
        TEST(a_damaged_directory_gives_no_number),
        TEST(a_large_block_is_checked_for_its_own_heap),
        TEST(what_only_seems_a_block_does_not_seem_live),
        TEST(a_chunks_neighbours_are_read_before_they_are_believed),
        TEST(a_damaged_class_makes_no_chunk_and_counts_nothing),
        TEST(a_count_that_is_full_stays_so),
        TEST(a_class_without_chunks_gives_one_back),
        TEST(a_chunk_gives_no_more_than_it_says),
        TEST(caches_that_cannot_be_found_are_damage),
        TEST(free_lists_are_ready_only_when_whole),
        TEST(a_list_that_is_too_small_leads_to_the_next_word),
        TEST(fields_end_where_the_map_does),
        TEST(a_start_inside_a_long_block_is_seen),
        TEST(user_information_of_large_blocks_is_validated),
        TEST(a_lock_that_cannot_be_replaced_stays),
        TEST(a_gate_inside_another_does_not_wait_for_a_fork),
        TEST(gates_close_by_fences_alone),
        TEST(what_reaches_past_the_arena_is_foreign),
        TEST(a_heap_without_a_whole_region_has_none_in_the_map),
        TEST(a_block_at_a_page_is_believed_by_a_whole_map_only),
        TEST(a_routine_that_damages_the_map_gives_nothing),
        TEST(a_walk_does_not_go_on_by_a_damaged_map),
        TEST(a_damaged_chunk_at_the_start_of_a_segment_ends_a_walk),
        TEST(a_magazine_is_not_filled_from_a_damaged_chunk),
        TEST(a_directory_is_not_begun_without_its_segment),
        TEST(what_a_thread_was_inside_stays_when_the_verifier_is_left),
    };
    return cmocka_run_group_tests_name("second looks", tests, NULL, NULL);
}
