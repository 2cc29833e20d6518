/* SPDX-License-Identifier: MIT
 *
 * The verifier inside core: its state, its memory, its lock, and what its parts need of each other.
 * core/VERIFIER.md tells how it is built. Bottom up: verifier_text (settings), verifier_name,
 * verifier_elf (symbols in bytes), verifier (state, memory, lock), verifier_symbol,
 * verifier_module, verifier_trace, verifier_stop, verifier_track (allocations), verifier_mark
 * (stamps and fills), verifier_page (full page heap), verifier_section (critical sections),
 * verifier_leak, verifier_look, verifier_call and verifier_heap (the calls of the API). The API
 * files ask nth_verifying() and nothing else of it. */
#ifndef NTH_VERIFIER_H
#define NTH_VERIFIER_H

#include <ntheap/seam.h>
#include <ntheap/verifier.h>

#include "atomics.h"
#include "base.h"
#include "process.h"
#include "sanitize.h"

#define NTH_PAGE_RUN_SIZES 32u
#define NTH_VERIFIER_STOP_MAX 4096u
#define NTH_VERIFIER_LOG_COUNT 1024u
#define NTH_VERIFIER_SECTION_HASH 256u
#define NTH_BUILD_ID_BYTES 20u
#define NTH_VERIFIER_KEEPS 16u /* functions of a library that keep what they allocate */

/* A block with stamps, in both word sizes; the user's bytes follow, then the suffix. */
struct nth_mark {
    uint32_t start_stamp;
    uint32_t check; /* over the three words that follow and the block's own address */
    uint64_t heap;
    uint64_t size_bytes;
    uint64_t serial;
    uint32_t spare;
    uint32_t end_stamp;
    uint8_t prefix[8];
};
#define NTH_MARK_BYTES 48u
#define NTH_SUFFIX_BYTES 8u

static_assert(sizeof(struct nth_mark) == NTH_MARK_BYTES, "blocks behind it stay aligned");
static_assert(offsetof(struct nth_mark, prefix) == 40, "the prefix touches the user's bytes");

struct nth_module {
    struct nth_module *next; /* newest first */
    struct nth_module_info info;
    uint8_t build_id[NTH_BUILD_ID_BYTES];
    uint32_t build_id_bytes;
    bool declared;                           /* by nth_verifier_module_load */
    bool found;                              /* while a scan runs */
    uint64_t scan;                           /* the scan that last saw it */
    uintptr_t keeps[NTH_VERIFIER_KEEPS * 2]; /* ranges of functions whose allocations it keeps */
    unsigned keeps_count;
    struct nth_track *first; /* live allocations that it owns, oldest first */
    struct nth_track *last;
};

enum nth_track_kind {
    NTH_TRACK_BARE,  /* as it lies in its heap */
    NTH_TRACK_TAIL,  /* with a tail pattern behind it (global flag htc) */
    NTH_TRACK_LIGHT, /* with stamps before it and a suffix behind it */
    NTH_TRACK_FULL   /* on pages of its own */
};

/* A heap, as the verifier sees it. */
struct nth_watched_heap {
    struct nth_watched_heap *next;
    HANDLE handle;
    struct nth_track *held_first; /* freed blocks, oldest first */
    struct nth_track *held_last;
    size_t held_count;
    size_t held_bytes;
    ULONG inside_thread; /* works in it now, without a lock */
    unsigned inside_count;
    ULONG first_thread; /* that ever did */
};

struct nth_track {
    struct nth_watched_heap *watched;
    struct nth_track *chain; /* the next with this hash */
    struct nth_track *older; /* of its owner's, or of the queue */
    struct nth_track *newer;
    HANDLE heap;
    char *user;
    size_t bytes;
    char *real; /* the heap's block, or the pages */
    size_t real_bytes;
    char *hold; /* full: all of the run of pages, guard included */
    size_t hold_bytes;
    const struct nth_trace *allocated;
    const struct nth_trace *freed;
    struct nth_module *owner; /* NULL: none, or unloaded, or disowned */
    ULONG owner_number;
    uint64_t serial;
    uint8_t kind;
    uint8_t state; /* enum nth_allocation_state */
    bool disowned;
    bool hidden;       /* full: its pages are not accessible any more */
    bool plain_resize; /* has user information: moved by the heap itself */
    ULONG resizing; /* the thread that does, or 0: what surrounds it is nobody else's to look at */
};

struct nth_section {
    struct nth_section *chain;
    RTL_CRITICAL_SECTION *at;
    const struct nth_trace *made;
    uintptr_t owner; /* the thread's record, as the section has it */
    ULONG owner_thread;
    LONG depth;
    void *lock;
};

enum nth_stop_row {
#define NTH_STOP(layer, code, name, text) NTH_STOP_ROW_##name,
#include <ntheap/stops.def>
#undef NTH_STOP
    NTH_STOP_ROW_COUNT
};

/* How a caller's stack was taken down. */
struct nth_stack {
    uintptr_t addresses[NTH_TRACE_DEPTH_MAX];
    unsigned count;
    bool broken;
};

/* Of the verifier's own memory; it stands at its own start. */
struct nth_verifier_chunk {
    struct nth_verifier_chunk *next;
    size_t bytes;
    size_t committed_bytes;
    size_t used_bytes;
};

struct nth_verifier {
    NTH_ATOMIC(uint32_t) on;
    ULONG layers;
    bool marks;  /* blocks carry stamps or are full */
    bool tracks; /* allocations are known one by one */
    ULONG global_flags;
    struct nth_verifier_settings set;
    void *lock;
    uint64_t started_ms;
    uint64_t quiet_until_ms;
    uint64_t random;
    char program[NTH_VERIFIER_PATH_BYTES];
    /* memory */
    struct nth_verifier_chunk *memory;
    struct nth_verifier_chunk *memory_around;
    /* modules */
    struct nth_module *modules;
    struct nth_module **module_at; /* by number - 1 */
    ULONG module_count;
    ULONG module_room;
    NTH_ATOMIC(uint64_t) adds; /* the dynamic linker's own counts, as last seen */
    NTH_ATOMIC(uint64_t) subs;
    uint64_t scans;
    struct nth_module *program_module;
    /* traces */
    struct nth_interned **traces;
    size_t trace_room;
    size_t trace_count;
    /* allocations */
    struct nth_track **tracks_by_user;
    size_t track_room;
    size_t track_count;
    struct nth_track *track_free;
    uint64_t serial;
    /* page heap */
    struct nth_page_area *areas;
    struct nth_page_run *runs[NTH_PAGE_RUN_SIZES + 1u]; /* free ones, by pages; the last: larger */
    struct nth_page_run *runs_spare;
    size_t mappings;
    bool budget_told;
    /* heaps */
    struct nth_watched_heap *heaps;
    struct nth_watched_heap *heaps_free;
    unsigned heap_count;
    unsigned heaps_changing; /* come or go just now */
    uint64_t heap_changes;   /* beginnings and ends of that, so far */
    /* sections */
    struct nth_section *sections[NTH_VERIFIER_SECTION_HASH];
    struct nth_section *sections_free;
    bool sections_missed; /* for lack of memory not all are known */
    /* stops */
    struct nth_stop **stops;
    size_t stop_count;
    struct nth_seen_stop *seen;
    ULONG stop_report[NTH_STOP_ROW_COUNT];
    ULONG stop_flavor[NTH_STOP_ROW_COUNT];
    bool stop_told[NTH_STOP_ROW_COUNT];
    /* operations */
    struct nth_operation *operations;
    uint64_t operation_count;
    struct nth_verifier_summary sums;
};

/* Hidden, so that asking costs no look into a table; but for mutants, whose tests look inside. */
#ifndef NTH_SHARED_INSIDE
__attribute__((visibility("hidden")))
#endif
extern struct nth_verifier nth_verifier;

/* Is the verifier on? The one question that the calls of the API ask. */
static inline bool nth_verifying(void)
{
    return NTH_UNLIKELY(nth_load_relaxed(&nth_verifier.on) != 0);
}

static inline bool nth_verifier_has(ULONG layer)
{
    return (nth_verifier.layers & layer) != 0;
}

/* Switch off and give all memory back; for nth_process_reset. */
void nth_verifier_reset(void);

/* A call of this thread was left by a fault: the verifier's lock with it. */
void nth_verifier_abandon(void);

/* The verifier's lock. Nothing of a heap is called while it is held: it is taken last. Fork waits
 * until nobody holds it. */
void *nth_verifier_enter(void);
void nth_verifier_leave(void *outer);

/* Memory of the verifier's own, cleared; kept until it is switched off. NULL when there is none. */
void *nth_verifier_take(size_t bytes);
/* The same, for what tells of the process around the heaps: modules and stacks. How much that is
 * differs between processes that make the same calls. So its first 256 KiB are had at the start,
 * and until they are full it takes nothing that a heap could have had, whoever calls from however
 * deep. */
void *nth_verifier_take_around(size_t bytes);

uint64_t nth_verifier_now_ms(void);
uint64_t nth_verifier_random(void);
ULONG nth_thread_number(void);

/* ---- verifier_text.c ---- */

/* True when every setting is in its range and something is switched on. */
bool nth_settings_hold(const struct nth_verifier_settings *set);

/* ---- verifier_name.c ---- */

/* True when a list "a+b" has `name`, or is "*". */
bool nth_names_have(const char *list, const char *name);

/* UTF-8 to UTF-16, a unit a byte at the most and 0 at the end; what is no UTF-8 stays as it is,
 * byte by byte. */
void nth_name_widen(const char *name, USHORT *wide);

/* ---- verifier_elf.c ---- */

/* What is in an ELF file, and the build ID of what was loaded: another file's tables are not
 * looked at. Without one any file will do. */
struct nth_elf {
    const char *bytes;
    size_t len_bytes;
    const uint8_t *build_id;
    uint32_t build_id_bytes;
};

/* The first build ID in notes, of at most NTH_BUILD_ID_BYTES: its length, 0 when there is none. */
uint32_t nth_elf_build_id(const char *notes, size_t bytes, uint8_t *id);

/* The function around `offset`, and the distance from its start. `name` is empty when the file
 * cannot tell; it is cut to `name_bytes`, which is 1 at least. */
void nth_elf_find(const struct nth_elf *elf, uintptr_t offset, char *name, size_t name_bytes,
                  size_t *distance);

/* Offsets of a function, by its dynamic symbol: [low, high), which is not empty. With `helpers`
 * from the end of the function before it on: what has no name there is taken for its own. */
bool nth_elf_range(const struct nth_elf *elf, const char *name, bool helpers, uintptr_t *low,
                   uintptr_t *high);

/* ---- verifier_module.c ---- */

/* Look at what the dynamic linker has, if it says that something changed: new modules are entered,
 * those that are gone are unloaded, with their leaks. No lock is held. */
void nth_modules_look(void);
/* Names of modules and what else wants no lock; at the start. */
void nth_modules_start(void);
/* With the lock held. */
struct nth_module *nth_module_of(uintptr_t address);
struct nth_module *nth_module_numbered(ULONG number);
/* Does the module keep, as its own, what is allocated below the function at this address? */
bool nth_module_keeps(const struct nth_module *module, uintptr_t address);

/* ---- verifier_symbol.c ---- */

/* nth_elf_find in the file of a module; a declared one has none. Calls the system only. */
void nth_symbol_find(const struct nth_module *module, uintptr_t offset, char *name,
                     size_t name_bytes, size_t *distance);

/* nth_elf_range in the file of a loaded object, as addresses. */
bool nth_symbol_range(const struct nth_module *module, const char *name, bool helpers,
                      uintptr_t *low, uintptr_t *high);

/* ---- verifier_trace.c ---- */

/* The stack from the frame that `caller` returns to on, which called the API. */
void nth_stack_take(struct nth_stack *stack, const void *caller);
/* With the lock held: the one trace for these addresses, NULL when there is no memory. */
const struct nth_trace *nth_trace_intern(const struct nth_stack *stack);
/* The module that an allocation with this stack belongs to. */
struct nth_module *nth_stack_owner(const struct nth_stack *stack);

/* ---- verifier_stop.c ---- */

struct nth_stop_wish {
    ULONG code;
    ULONG_PTR parameter[4];
    const struct nth_trace *trace;
    const struct nth_trace *allocated;
    const struct nth_trace *freed;
};

/* No lock is held. */
void nth_stop(const struct nth_stop_wish *wish);
bool nth_stops_start(void);

/* ---- verifier_words.c ---- */

/* A block that is left over, and the sums, as the log has them; ends in NUL. */
void nth_words_left(const struct nth_allocation *block, bool json, char *text, size_t text_bytes);
void nth_words_summary(const struct nth_verifier_summary *sums, bool json, char *text,
                       size_t text_bytes);

/* ---- verifier_track.c ---- */

/* All with the lock held. */
struct nth_track *nth_track_find(const void *user);
struct nth_track *nth_track_new(void); /* NULL: no memory */
void nth_track_drop(struct nth_track *track);
bool nth_track_enter(struct nth_track *track); /* false: no memory */
void nth_track_remove(struct nth_track *track);
void nth_track_own(struct nth_track *track, struct nth_module *owner);
void nth_track_disown(struct nth_track *track);
void nth_track_hold(struct nth_track *track); /* last in its heap's queue of freed blocks */
/* First of a heap's queue, when that is too long; out of queue and table. */
struct nth_track *nth_track_release(struct nth_watched_heap *heap);
void nth_track_unhold(struct nth_track *track);          /* out of the queue, wherever it stands */
struct nth_track *nth_track_around(const void *address); /* live or held, and covering it */
void nth_operation_log(enum nth_operation_kind kind, HANDLE heap, void *address, size_t bytes,
                       const struct nth_trace *trace);

/* ---- verifier_mark.c ---- */

#define NTH_FILL_LIGHT 0xE0u
#define NTH_FILL_FULL 0xC0u
#define NTH_FILL_FREED 0xF0u
#define NTH_FILL_SUFFIX_LIGHT 0xA0u
#define NTH_FILL_SUFFIX_FULL 0xD0u
#define NTH_FILL_PREFIX 0xB0u
#define NTH_FILL_TAIL 0xABu
#define NTH_FREE_WORD 0xFEEEFEEEu
#define NTH_FREE_WORD_OFFSET 16u
#define NTH_TAIL_BYTES (2u * (unsigned)sizeof(void *))

/* Bytes that a block of this kind has in the heap. */
size_t nth_mark_real_bytes(enum nth_track_kind kind, size_t bytes);
size_t nth_mark_before(enum nth_track_kind kind);
/* Fill bytes past sanitizers. */
void nth_mark_fill(char *at, uint8_t value, size_t bytes);
/* Stamp a live block; the bytes from `kept` on are filled unless `zeroed`. */
void nth_mark_live(const struct nth_track *track, size_t kept, bool zeroed);
/* Only poison what stands around it, as it is. */
void nth_mark_guard(const struct nth_track *track);
void nth_mark_freed(const struct nth_track *track);
/* 0 when all is whole, else the code of the stop; `*bad` is the stamp found, where it is one. */
ULONG nth_mark_check_live(const struct nth_track *track, ULONG_PTR *bad);
ULONG nth_mark_check_held(const struct nth_track *track);

/* ---- verifier_page.c ---- */

/* With the lock held. Pages for a block of this size, which becomes a full one; NTH_ABSENT when no
 * mapping is left for it: the block is light then. */
enum nth_status nth_page_block_make(struct nth_track *track, size_t bytes) NTH_MUST_USE;
void nth_page_block_hide(struct nth_track *track);
void nth_page_block_drop(struct nth_track *track);
bool nth_page_heap_covers(uintptr_t address);
void nth_page_areas_drop(void);

/* ---- verifier_section.c ---- */

void nth_section_made(RTL_CRITICAL_SECTION *section, const void *caller);
void nth_section_deleted(RTL_CRITICAL_SECTION *section, const void *caller);
/* In a child, before fork is over: the section is free, with another lock maybe. */
void nth_section_renewed(const RTL_CRITICAL_SECTION *section);
void nth_section_entered(RTL_CRITICAL_SECTION *section);
/* Before the section is used: a stop when it is not as it was left, or was never made. */
void nth_section_look(RTL_CRITICAL_SECTION *section, const void *caller);
void nth_section_left(RTL_CRITICAL_SECTION *section, bool owned, const void *caller);
/* Sections in [low, high) are forgotten, each after a stop with this code. P3 and P4 are given. */
void nth_sections_lost(uintptr_t low, uintptr_t high, ULONG code, ULONG_PTR third, ULONG_PTR fourth,
                       const struct nth_trace *trace);
/* The calling thread ends. */
void nth_sections_exit(void);

/* ---- verifier_leak.c ---- */

/* A module is gone: its leaks and locks are told. No lock is held. */
void nth_module_unloaded(struct nth_module *module);

/* ---- verifier_call.c, verifier_heap.c: the calls of the API while the verifier is on ---- */

struct nth_caller {
    const char *name;    /* of the call */
    const void *address; /* to which it returns */
};
#define NTH_RETURNS_TO __builtin_extract_return_addr(__builtin_return_address(0))
#define NTH_CALLER(call_name) (&(const struct nth_caller){(call_name), NTH_RETURNS_TO})

PVOID nth_verified_allocate(const struct nth_caller *caller, HANDLE handle, ULONG flags,
                            SIZE_T bytes, enum nth_status *status);
PVOID nth_verified_reallocate(const struct nth_caller *caller, HANDLE handle, ULONG flags,
                              PVOID block, SIZE_T bytes);
NTSTATUS nth_verified_free(const struct nth_caller *caller, HANDLE handle, ULONG flags,
                           PVOID block);
SIZE_T nth_verified_size(const struct nth_caller *caller, HANDLE handle, ULONG flags,
                         LPCVOID block);
BOOLEAN nth_verified_validate(const struct nth_caller *caller, HANDLE handle, ULONG flags,
                              LPCVOID block);
NTSTATUS nth_verified_disown(HANDLE handle, PVOID block);
/* The heap's own block for a user's; for calls on user values. */
PVOID nth_verified_real(PVOID block);
/* A live block of this heap on pages of its own, which the heap knows nothing of. */
bool nth_verified_full(HANDLE handle, const void *block);
/* The user's block for an element of a walk, and how many bytes it has; and the other way. */
void nth_verified_shown(void **data, uint64_t *bytes, uint64_t *overhead);
void *nth_verified_hidden(void *data);
/* A heap was made, or is to go. The first may refuse by low resource simulation. */
bool nth_verified_create_refused(const struct nth_caller *caller);
void nth_verified_created(const struct nth_caller *caller, HANDLE handle, ULONG flags);
bool nth_verified_destroying(const struct nth_caller *caller, HANDLE handle);
void nth_verified_destroyed(HANDLE handle);
/* A heap begins to come or to go, or that is over: until then other threads' lists need not add up,
 * nor in a child that was forked meanwhile. Being created and being destroyed say themselves that
 * it is over. */
void nth_verified_changing(bool begins);
uint64_t nth_verified_changes(void);
/* After a list of `count` heaps, begun when there had been so many `changes`. */
void nth_verified_listing(const struct nth_caller *caller, ULONG count, uint64_t changes);
ULONG nth_verified_create_flags(void);
/* A hardware fault outside core. */
void nth_verified_fault(EXCEPTION_RECORD *record, void *context, bool handled);

#endif
