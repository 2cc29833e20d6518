/* SPDX-License-Identifier: MIT
 *
 * The seam: everything a rig may replace in core (page source, lock table, report hook,
 * terminate, seed), and everything it may ask core about itself (metadata fields, page-source
 * call sites). Programs that only use the heap need nothing from here. */
#ifndef NTHEAP_SEAM_H
#define NTHEAP_SEAM_H

#include <ntheap/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Outcome of a page-source or lock-table call. */
enum nth_seam_status {
    NTH_SEAM_OK = 0,
    NTH_SEAM_REFUSED = 1 /* the world has none left: becomes STATUS_NO_MEMORY */
};

/** The page-source functions, as named by call sites. */
enum nth_page_call {
    NTH_PAGE_RESERVE,
    NTH_PAGE_COMMIT,
    NTH_PAGE_DECOMMIT,
    NTH_PAGE_RELEASE,
    NTH_PAGE_PROTECT,
    NTH_PAGE_REMAP
};

/** One place in core that calls the page source. All of them stand in one linker section, so the
 * list is complete whether or not a site was ever reached. */
struct nth_site {
    const char *name; /* what the call is for, e.g. "segment.grow" */
    const char *file;
    unsigned line;
    enum nth_page_call call;
};

/** Number of call sites in core. Units: none. Errors: none. Source: DESIGN, page sources. */
size_t nth_site_count(void);

/** Call site `idx` (0 to nth_site_count() - 1), in link order. Units: none.
 * Errors: NULL when `idx` is out of range. Source: DESIGN, page sources. */
const struct nth_site *nth_site_at(size_t idx);

/** Where core gets memory. All sizes are bytes and multiples of NTH_PAGE_BYTES; addresses are page
 * aligned. `self` is passed back unchanged. Calls come from any thread, at most one at a time a
 * heap; core never holds a lock of its own that a page source could need.
 *
 * reserve   address space of `bytes`, aligned to NTH_GRANULE_BYTES, inaccessible.
 * commit    makes [base, base + bytes) readable and writable (and executable when `executable`).
 *           Committing committed pages keeps their contents.
 * decommit  contents are lost, pages inaccessible, address space kept.
 * release   gives back a whole reservation, committed or not. `bytes` is what was reserved.
 * protect   changes access of committed pages.
 * remap     optional (may be NULL): moves the committed pages [from, from + bytes) with their
 *           contents to `to`, which lies in another reservation and is not committed there;
 *           afterwards the pages at `from` are decommitted.
 * A refused call has changed nothing. */
struct nth_pages {
    void *self;
    uintptr_t low;        /* every address reserved lies in [low, low + span_bytes) */
    uint64_t span_bytes;
    BOOLEAN zeroed; /* freshly committed pages read zero */
    enum nth_seam_status (*reserve)(void *self, const struct nth_site *site, size_t bytes,
                                    void **base);
    enum nth_seam_status (*commit)(void *self, const struct nth_site *site, void *base,
                                   size_t bytes, BOOLEAN executable);
    enum nth_seam_status (*decommit)(void *self, const struct nth_site *site, void *base,
                                     size_t bytes);
    enum nth_seam_status (*release)(void *self, const struct nth_site *site, void *base,
                                    size_t bytes);
    enum nth_seam_status (*protect)(void *self, const struct nth_site *site, void *base,
                                    size_t bytes, BOOLEAN writable);
    enum nth_seam_status (*remap)(void *self, const struct nth_site *site, void *from,
                                  size_t bytes, void *to);
};

#define NTH_PAGE_BYTES 4096u
#define NTH_GRANULE_BYTES 65536u

/** The operating system's page source (mmap and friends). Never NULL. */
const struct nth_pages *nth_pages_os(void);

/** A deterministic page source inside one block of memory.
 *
 * `nth_arena_create` reserves `span_bytes` of address space (a multiple of NTH_GRANULE_BYTES) of
 * which at most `commit_max_bytes` are committed at any time; the same calls give the same
 * offsets from the arena's base every time. NULL when the system has no address space.
 * `nth_arena_reset` forgets everything and costs the bytes touched since the last reset.
 * `nth_arena_pages` is the table to hand to nth_seam_set.
 * Units: bytes. Errors: as above. Source: DESIGN, Memory. */
struct nth_arena;
struct nth_arena *nth_arena_create(size_t span_bytes, size_t commit_max_bytes);
void nth_arena_reset(struct nth_arena *arena);
void nth_arena_destroy(struct nth_arena *arena);
const struct nth_pages *nth_arena_pages(struct nth_arena *arena);

/** An arena for many short runs: pages that were committed once stay accessible to the machine, and
 * are cleared when committed again; what is not committed is poisoned. So resetting and committing
 * make no system call and no page fault once warm. Only a sanitizer that knows poison (ASan) can
 * guard pages in this way; without one this is nth_arena_create.
 * Units: bytes. Errors: NULL when the system has no address space. Source: DESIGN, Memory. */
struct nth_arena *nth_arena_create_resident(size_t span_bytes, size_t commit_max_bytes);

/** The same in every build: without a sanitizer nothing guards pages that are not committed, so what
 * touches them goes unnoticed. For runs that are looked at in other ways, and counted in thousands.
 * Units: bytes. Errors: NULL when the system has no address space. Source: DESIGN, Memory. */
struct nth_arena *nth_arena_create_open(size_t span_bytes, size_t commit_max_bytes);

/** What a page source has outstanding. */
struct nth_balance {
    size_t reserved_bytes;
    size_t committed_bytes;
    size_t reservation_count;
};

/** What an arena has handed out and not got back, by its own account: what nth_balance_now says while
 * core works on it. Units: bytes. Errors: none. Source: DESIGN, Memory. */
struct nth_balance nth_arena_balance(const struct nth_arena *arena);

/** Balance of all that core holds from the current page source; all zero right after
 * nth_process_reset(). Units: bytes. Errors: none. Source: DESIGN, Seam. */
struct nth_balance nth_balance_now(void);

/** Where core gets locks. A lock is not recursive (core counts) and never lives in heap memory.
 * create may refuse; acquire waits; try_acquire answers at once; pause is called in short waits
 * for other threads (a scheduler's switch point). `self` is passed back unchanged. */
struct nth_locks {
    void *self;
    enum nth_seam_status (*create)(void *self, void **lock);
    void (*destroy)(void *self, void *lock);
    void (*acquire)(void *self, void *lock);
    BOOLEAN (*try_acquire)(void *self, void *lock);
    void (*release)(void *self, void *lock);
    void (*pause)(void *self);
};

/** The default lock table (POSIX mutexes from a pool). Never NULL. */
const struct nth_locks *nth_locks_os(void);

/** Reasons for a report; the texts are in <ntheap/reasons.def>. */
enum nth_reason {
#define NTH_REASON(name, text) NTH_CORRUPT_##name,
#include <ntheap/reasons.def>
#undef NTH_REASON
    NTH_REASON_COUNT
};

/** One detected corruption or misuse. */
struct nth_report {
    enum nth_reason reason;
    HANDLE heap;       /* the handle as the caller gave it */
    PVOID block;       /* the caller's block, or the damaged block's user address, or NULL */
    const char *field; /* metadata field concerned ("block.header"), or NULL */
    const char *call;  /* the API call that noticed, e.g. "RtlFreeHeap" */
};

/** Name of a reason ("DOUBLE_FREE") and its sentence. Units: none.
 * Errors: "UNKNOWN" when out of range. Source: <ntheap/reasons.def>. */
const char *nth_reason_name(enum nth_reason reason);
const char *nth_reason_text(enum nth_reason reason);

/** A report as one line, as standard error has it where no hook is set:
 *
 *     heaprig: RtlFreeHeap: heap 0x..., block 0x..., field block.header: SENTENCE (DOUBLE_FREE)
 *
 * with "no field" where it has none. Ends in a new line and NUL, cut to `text_bytes` (0: `text` may
 * be NULL). Returns the bytes of the whole line, the NUL left out. Allocates nothing.
 * Units: bytes. Errors: none. Source: DESIGN, Seam. */
size_t nth_report_text(const struct nth_report *report, char *text, size_t text_bytes);

/** What a rig may replace; NULL members mean the default. */
struct nth_seam {
    const struct nth_pages *pages;
    const struct nth_locks *locks;
    /* Called once a call that noticed something, after the heap is unlocked and before the ruled
     * outcome. The default writes one line to standard error. */
    void (*report)(void *context, const struct nth_report *report);
    void *report_context;
    /* Called with STATUS_HEAP_CORRUPTION after the report when terminate-on-corruption is set,
     * and for an unhandled exception with its code. Must not return. Default: abort(). */
    void (*terminate)(void *context, NTSTATUS status);
    void *terminate_context;
    BOOLEAN seeded; /* take `seed` for the keys instead of the system's randomness */
    uint64_t seed;
};

/** Replace the seam. Destroys all heaps first (see nth_process_reset) and then copies `seam`;
 * NULL restores all defaults. The pointed-to tables must live until the next call. What the page
 * source refuses to take back even now is not asked for again, and stays in nth_balance_now().
 * Units: none. Errors: none. Source: DESIGN, Seam. */
void nth_seam_set(const struct nth_seam *seam);

/** Destroy every heap, the process heap with them, and forget the terminate flag, last error of
 * the calling thread, vectored handlers and caches. Keys are drawn again (same seed, same keys).
 * Afterwards nth_balance_now() is all zero, but for reservations whose descriptor was overwritten, so
 * that core does not know their extent any more, and what the page source would not take, which the
 * next reset tries again. No other thread may be inside core.
 * Units: none. Errors: none. Source: DESIGN, Seam. */
void nth_process_reset(void);

/** What a metadata field is for. */
enum nth_field_kind {
    NTH_FIELD_HEADER, /* a block's or slot's header */
    NTH_FIELD_LINK,   /* list link in a free block or chunk */
    NTH_FIELD_FOOTER, /* size of a free block, at its end */
    NTH_FIELD_CHUNK,  /* front-end chunk words */
    NTH_FIELD_USER,   /* user value and flags of a block */
    NTH_FIELD_MIRROR, /* plain copy of heap flags, never believed */
    NTH_FIELD_REGION, /* descriptor of a segment or large block */
    NTH_FIELD_TAG,    /* block-start map */
    NTH_FIELD_PAGES,  /* committed-page map */
    NTH_FIELD_CONFIG, /* heap settings, fixed after creation */
    NTH_FIELD_STATE,  /* heap totals and list heads */
    NTH_FIELD_CACHE,  /* per-thread front-end magazines */
    NTH_FIELD_MAP,    /* the process' own tables: addresses to regions, heaps */
    NTH_FIELD_SPARE   /* committed, and nothing: between structures and where pages end */
};

struct nth_field {
    const char *name; /* "block.header", stable across runs */
    enum nth_field_kind kind;
    PVOID address;
    size_t bytes;
    PVOID block; /* user address of the block it belongs to, or NULL */
};

/** Visit every metadata field of a heap, in a fixed order. The heap must not change meanwhile.
 * `visit` returns FALSE to stop. Returns the number visited, 0 for a bad handle.
 * Units: bytes. Errors: as said. Source: DESIGN, Seam. */
size_t nth_fields(HANDLE heap, BOOLEAN (*visit)(void *context, const struct nth_field *field),
                  void *context);

/** Visit the tables that core keeps for the whole process in memory of the page source: which region
 * covers an address, and slots of heaps past the first 256. No other thread may be inside core. Returns
 * the number visited. Units: bytes. Errors: none. Source: DESIGN, Seam. */
size_t nth_process_fields(BOOLEAN (*visit)(void *context, const struct nth_field *field),
                          void *context);

/** Read a sealed word of a heap's metadata, or write it, as somebody would who has the heap's keys: for
 * asking what of a forgery core still notices. `address` is that of an aligned word of one of the heap's
 * fields (nth_fields); values have 48 bits, what they mean says the field's header (block.h, front.h,
 * freelist.h). Sums over a word are renewed with it. Return FALSE, and change nothing, when the handle is
 * bad, which is reported, or no whole sealed word stands there, which is not; nor is other damage.
 * Units: none. Errors: as said. Source: DESIGN, Seam. */
BOOLEAN nth_sealed_get(HANDLE heap, LPCVOID address, uint64_t *value);
BOOLEAN nth_sealed_put(HANDLE heap, PVOID address, uint64_t value);

/** Write or read one byte anywhere, past sanitizers: for injecting damage. The byte must be
 * mapped. Units: bytes. Errors: none. Source: DESIGN, Sanitizers. */
void nth_poke(PVOID address, uint8_t value);
uint8_t nth_peek(LPCVOID address);

#ifdef __cplusplus
}
#endif
#endif
