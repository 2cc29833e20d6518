/* SPDX-License-Identifier: MIT
 *
 * The page source and the lock table that follow plans. Calls the real ones. */
#include "pages.h"

#ifndef _WIN32
#include <stdatomic.h>
#include <string.h>

#define CALL_MAX 128u /* API calls with a name of their own */
#define SITE_MAX 64u
#define PATH_MAX (CALL_MAX * SITE_MAX)
#define RUBBISH 0xA5

/* Kinds of call, as bit numbers of struct fault_plan's calls. */
enum kind {
    KIND_RESERVE = NTH_PAGE_RESERVE,
    KIND_COMMIT = NTH_PAGE_COMMIT,
    KIND_DECOMMIT = NTH_PAGE_DECOMMIT,
    KIND_RELEASE = NTH_PAGE_RELEASE,
    KIND_PROTECT = NTH_PAGE_PROTECT,
    KIND_REMAP = NTH_PAGE_REMAP,
    KIND_LOCK,
    KIND_ROUTINE
};

struct layer {
    struct fault_plan plan;
    uint32_t seen;          /* calls that the plan covers, since it set in */
    size_t left_pages;      /* BUDGET */
    uint64_t met[CALL_MAX]; /* PATH: a bit a site */
};

static struct {
    const struct nth_pages *real;
    struct nth_pages pages;
    const struct nth_locks *real_locks;
    struct nth_locks locks;
    struct layer layers[FAULT_LAYER_COUNT];
    bool rubbish; /* new pages are filled with it */
    struct fault_run run;
    struct fault_run last;
    uint16_t sequences[2][UINT16_MAX]; /* path of each call: of this run, of the one before */
    unsigned sequence;                 /* which of them is this run's */
    _Atomic int locks_held;
    void *begun_region;    /* what was reserved last for a segment or a large block, or NULL */
    void *last_region;     /* the same, once core has made something of it */
    uintptr_t short_first; /* what was reserved too short last, as it was asked for; or 0 and 0 */
    uintptr_t short_end;
    uintptr_t short_tables; /* core's own behind the blocks of that, or 0 */
    const char *calls[CALL_MAX];
    unsigned call_count;
    unsigned call;                        /* now */
    uint16_t path_of[CALL_MAX][SITE_MAX]; /* 1 + idx */
    struct fault_path paths[PATH_MAX];
    unsigned path_count;
} faults;

/* ---- Sites ---------------------------------------------------------------------------------- */

unsigned fault_site_count(void)
{
    return (unsigned)nth_site_count() + FAULT_SITE_MORE;
}

const char *fault_site_name(unsigned idx)
{
    static const char *const more[FAULT_SITE_MORE] = {"lock", "routine"};
    const unsigned count = (unsigned)nth_site_count();
    if (idx >= count) {
        return idx - count < FAULT_SITE_MORE ? more[idx - count] : NULL;
    }
    return nth_site_at(idx)->name;
}

const char *fault_site_call(unsigned idx)
{
    static const char *const more[FAULT_SITE_MORE] = {"create", "ask"};
    const unsigned count = (unsigned)nth_site_count();
    if (idx >= count) {
        return idx - count < FAULT_SITE_MORE ? more[idx - count] : NULL;
    }
    return fault_plan_calls()[nth_site_at(idx)->call];
}

static unsigned site_idx(const struct nth_site *site)
{
    return (unsigned)(site - nth_site_at(0));
}

/* ---- API calls and paths -------------------------------------------------------------------- */

void fault_calling(const char *call)
{
    if (faults.call_count > 0 && faults.calls[faults.call] == call) {
        return;
    }
    for (unsigned idx = 0; idx < faults.call_count; idx++) {
        if (faults.calls[idx] == call || strcmp(faults.calls[idx], call) == 0) {
            faults.call = idx;
            return;
        }
    }
    if (faults.call_count < CALL_MAX) {
        faults.call = faults.call_count++;
        faults.calls[faults.call] = call;
    }
}

static struct fault_path *path_now(unsigned site)
{
    uint16_t *number = &faults.path_of[faults.call][site];
    if (*number == 0) {
        faults.paths[faults.path_count] = (struct fault_path){
            .call = faults.call_count == 0 ? "" : faults.calls[faults.call],
            .site = site,
        };
        *number = (uint16_t)++faults.path_count;
    }
    return &faults.paths[*number - 1];
}

const struct fault_path *fault_path_at(unsigned idx)
{
    return idx < faults.path_count ? &faults.paths[idx] : NULL;
}

void fault_tally_forget(void)
{
    memset(faults.path_of, 0, sizeof(faults.path_of));
    faults.path_count = 0;
}

static enum nth_seam_status fault_page_remap(void *self, const struct nth_site *site, void *from,
                                             size_t bytes, void *to);

/* ---- Plans ---------------------------------------------------------------------------------- */

static bool covers(const struct fault_plan *plan, enum kind kind)
{
    return plan->calls == 0 || (plan->calls >> kind & 1u) != 0;
}

/* A number of pages that would be committed counts against a budget. */
static bool over_budget(struct layer *layer, enum kind kind, size_t pages)
{
    if (kind != KIND_COMMIT) {
        return false;
    }
    if (pages > layer->left_pages) {
        return true;
    }
    layer->left_pages -= pages;
    return false;
}

static bool first_on_path(struct layer *layer, unsigned site)
{
    const uint64_t bit = 1ull << site;
    const bool first = (layer->met[faults.call] & bit) == 0;
    layer->met[faults.call] |= bit;
    return first;
}

static bool layer_refuses(struct layer *layer, enum kind kind, unsigned site, size_t pages)
{
    const struct fault_plan *plan = &layer->plan;
    if (plan->kind == FAULT_PLAN_NONE || !covers(plan, kind)) {
        return false;
    }
    layer->seen++;
    switch (plan->kind) {
    case FAULT_PLAN_NTH:
        return layer->seen == plan->n;
    case FAULT_PLAN_FROM:
        return layer->seen >= plan->n;
    case FAULT_PLAN_BURST:
        return layer->seen >= plan->n && layer->seen - plan->n < plan->count;
    case FAULT_PLAN_BUDGET:
        return over_budget(layer, kind, pages);
    case FAULT_PLAN_LARGEST:
        return pages >= plan->n;
    case FAULT_PLAN_PATH:
        return first_on_path(layer, site);
    default:
        return false;
    }
}

static bool layer_lies(const struct layer *layer, enum kind kind, enum fault_plan_kind lie)
{
    return layer->plan.kind == lie && covers(&layer->plan, kind) && layer->seen == layer->plan.n;
}

static bool lied(enum kind kind, enum fault_plan_kind lie)
{
    for (unsigned idx = 0; idx < FAULT_LAYER_COUNT; idx++) {
        if (layer_lies(&faults.layers[idx], kind, lie)) {
            faults.run.lies++;
            return true;
        }
    }
    return false;
}

static uint64_t mixed(uint64_t digest, uint64_t more)
{
    return (digest ^ more) * 0x100000001B3ull;
}

static bool note(bool refused, enum kind kind, unsigned site)
{
    if (refused) {
        faults.run.refusals++;
        faults.run.given += kind == KIND_DECOMMIT || kind == KIND_RELEASE;
        faults.run.site = site;
    }
    return refused;
}

/* Each call is asked of all layers, so that each counts all. */
static bool refuses(enum kind kind, unsigned site, size_t pages)
{
    struct fault_path *path = path_now(site);
    struct layer *over = &faults.layers[FAULT_LAYER_OVER];
    if (faults.run.calls < UINT16_MAX) {
        faults.sequences[faults.sequence][faults.run.calls] = (uint16_t)(path - faults.paths);
    }
    faults.run.calls++;
    faults.run.digest = mixed(faults.run.digest, faults.call * SITE_MAX + site + 1u);
    path->met++;
    const bool own = layer_refuses(&faults.layers[FAULT_LAYER_PROGRAM], kind, site, pages);
    const bool dear = layer_refuses(&faults.layers[FAULT_LAYER_BUDGET], kind, site, pages);
    const bool laid = layer_refuses(over, kind, site, pages);
    if (laid) {
        faults.run.over++;
        path->once += over->plan.kind == FAULT_PLAN_NTH;
        path->good += over->plan.kind == FAULT_PLAN_FROM;
    }
    return note(own || dear || laid, kind, site);
}

void fault_plan_set(enum fault_layer layer, const struct fault_plan *plan)
{
    static const struct fault_plan none;
    struct layer *to = &faults.layers[layer];
    plan = plan == NULL || plan->kind >= FAULT_PLAN_KIND_COUNT ? &none : plan;
    if (to->plan.kind == FAULT_PLAN_PATH) {
        memset(to->met, 0, sizeof(to->met));
    }
    to->plan = *plan;
    to->seen = 0;
    to->left_pages = plan->n;
    if (plan->kind == FAULT_PLAN_MOVES) {
        faults.pages.remap = fault_page_remap;
    }
    if (plan->kind == FAULT_PLAN_DIRTY || plan->kind == FAULT_PLAN_SECRET) {
        faults.rubbish = true;
        faults.pages.zeroed = plan->kind == FAULT_PLAN_SECRET;
        faults.run.lies += plan->kind == FAULT_PLAN_SECRET;
    }
}

bool fault_routine_refuses(void)
{
    return refuses(KIND_ROUTINE, (unsigned)nth_site_count() + FAULT_SITE_ROUTINE, 0);
}

/* ---- Page source ---------------------------------------------------------------------------- */

static enum nth_seam_status told(enum nth_seam_status status, enum kind kind, unsigned site)
{
    (void)note(status != NTH_SEAM_OK, kind, site);
    return status;
}

/* Some place that core cannot use: outside the page source's span, off the granules, or where a
 * heap has memory already. A leaf of the map is reserved before the map knows of the region that it
 * is for: upon that one it would be believed (D83). */
static void *wrong_place(const struct nth_site *site, void *right, unsigned how)
{
    if (how % 3 == 2 && faults.last_region != NULL && strcmp(site->name, "map.leaf") != 0) {
        return faults.last_region;
    }
    return how % 3 == 1 ? (char *)right + NTH_PAGE_BYTES
                        : (void *)(uintptr_t)(faults.real->low + faults.real->span_bytes);
}

static unsigned how_of_lie(void)
{
    for (unsigned idx = 0; idx < FAULT_LAYER_COUNT; idx++) {
        if (faults.layers[idx].plan.kind == FAULT_PLAN_ELSEWHERE) {
            return faults.layers[idx].plan.count;
        }
    }
    return 0;
}

/* It lies in what was reserved too short, and which a heap has. */
static bool is_cut_off(const void *place)
{
    return (uintptr_t)place > faults.short_first && (uintptr_t)place < faults.short_end;
}

/* Upon blocks core takes it for a shortage. It does not look for its own tables (D83), behind the
 * blocks of a segment: no page source gives those. Nor is it given back, which would take from the
 * region what it has committed. */
static enum nth_seam_status give_cut_off(const void *base)
{
    const bool tables = faults.short_tables != 0 && (uintptr_t)base >= faults.short_tables;
    return tables ? NTH_SEAM_REFUSED : NTH_SEAM_OK;
}

static enum nth_seam_status fault_page_reserve(void *self, const struct nth_site *site,
                                               size_t bytes, void **base)
{
    (void)self;
    const unsigned idx = site_idx(site);
    if (refuses(KIND_RESERVE, idx, bytes / NTH_PAGE_BYTES)) {
        return NTH_SEAM_REFUSED;
    }
    /* Before there is a region, the first leaf of the map would lie in what was cut off, and core
     * looks for memory that heaps have, not for its own (D83). */
    const bool less = faults.last_region != NULL && lied(KIND_RESERVE, FAULT_PLAN_LESS);
    const size_t asked = less ? NTH_PAGE_BYTES : bytes;
    const enum nth_seam_status status = faults.real->reserve(faults.real->self, site, asked, base);
    if (status != NTH_SEAM_OK) {
        return told(status, KIND_RESERVE, idx);
    }
    if (lied(KIND_RESERVE, FAULT_PLAN_ELSEWHERE)) {
        void *right = *base;
        *base = wrong_place(site, right, how_of_lie());
        (void)note(true, KIND_RESERVE, idx); /* it comes to the same */
        return faults.real->release(faults.real->self, site, right, bytes);
    }
    if (is_cut_off(*base)) {
        (void)note(true, KIND_RESERVE, idx); /* that too */
        return give_cut_off(*base);
    }
    if (less) {
        faults.short_first = (uintptr_t)*base;
        faults.short_end = faults.short_first + bytes;
        faults.short_tables = 0;
    }
    const bool region = strcmp(site->name, "segment") == 0 || strcmp(site->name, "large") == 0;
    faults.begun_region = region ? *base : faults.begun_region;
    return NTH_SEAM_OK;
}

static enum nth_seam_status fault_page_commit(void *self, const struct nth_site *site, void *base,
                                              size_t bytes, BOOLEAN executable)
{
    (void)self;
    const unsigned idx = site_idx(site);
    if (refuses(KIND_COMMIT, idx, bytes / NTH_PAGE_BYTES)) {
        return NTH_SEAM_REFUSED;
    }
    const size_t asked = lied(KIND_COMMIT, FAULT_PLAN_LESS) ? NTH_PAGE_BYTES : bytes;
    const enum nth_seam_status status =
        faults.real->commit(faults.real->self, site, base, asked, executable);
    if (status != NTH_SEAM_OK) {
        return told(status, KIND_COMMIT, idx);
    }
    faults.run.bytes += asked;
    if (strstr(site->name, ".descriptor") != NULL) {
        faults.last_region = faults.begun_region;
        if (is_cut_off(base)) {
            faults.short_tables = (uintptr_t)base - (uintptr_t)base % NTH_GRANULE_BYTES;
        }
    }
    if (faults.rubbish) {
        memset(base, RUBBISH, asked);
    }
    return NTH_SEAM_OK;
}

static enum nth_seam_status fault_page_decommit(void *self, const struct nth_site *site, void *base,
                                                size_t bytes)
{
    (void)self;
    const unsigned idx = site_idx(site);
    if (refuses(KIND_DECOMMIT, idx, bytes / NTH_PAGE_BYTES)) {
        return NTH_SEAM_REFUSED;
    }
    return told(faults.real->decommit(faults.real->self, site, base, bytes), KIND_DECOMMIT, idx);
}

static enum nth_seam_status fault_page_release(void *self, const struct nth_site *site, void *base,
                                               size_t bytes)
{
    (void)self;
    const unsigned idx = site_idx(site);
    /* Taken back or not, no heap has it any more. */
    faults.begun_region = base == faults.begun_region ? NULL : faults.begun_region;
    faults.last_region = base == faults.last_region ? NULL : faults.last_region;
    faults.short_end = (uintptr_t)base == faults.short_first ? 0 : faults.short_end;
    if (refuses(KIND_RELEASE, idx, bytes / NTH_PAGE_BYTES)) {
        return NTH_SEAM_REFUSED;
    }
    return told(faults.real->release(faults.real->self, site, base, bytes), KIND_RELEASE, idx);
}

static enum nth_seam_status fault_page_protect(void *self, const struct nth_site *site, void *base,
                                               size_t bytes, BOOLEAN writable)
{
    (void)self;
    const unsigned idx = site_idx(site);
    if (refuses(KIND_PROTECT, idx, bytes / NTH_PAGE_BYTES)) {
        return NTH_SEAM_REFUSED;
    }
    return told(faults.real->protect(faults.real->self, site, base, bytes, writable), KIND_PROTECT,
                idx);
}

#if defined(__clang__)
#define UNWATCHED __attribute__((no_sanitize("address", "memory", "thread")))
#else
#define UNWATCHED __attribute__((no_sanitize("address", "thread")))
#endif

/* Whole words; what a sanitizer guards among them is none of the page source's business. */
UNWATCHED static void copy(void *to, const void *from, size_t bytes)
{
    const volatile uint64_t *source = from;
    volatile uint64_t *target = to;
    for (size_t idx = 0; idx < bytes / sizeof(*target); idx++) {
        target[idx] = source[idx];
    }
}

/* Where the real one does not move pages, their bytes are copied. */
static enum nth_seam_status move(const struct nth_site *site, void *from, size_t bytes, void *to)
{
    const struct nth_pages *real = faults.real;
    if (real->remap != NULL) {
        return real->remap(real->self, site, from, bytes, to);
    }
    if (real->commit(real->self, site, to, bytes, FALSE) != NTH_SEAM_OK) {
        return NTH_SEAM_REFUSED;
    }
    copy(to, from, bytes);
    return real->decommit(real->self, site, from, bytes);
}

static enum nth_seam_status fault_page_remap(void *self, const struct nth_site *site, void *from,
                                             size_t bytes, void *to)
{
    (void)self;
    const unsigned idx = site_idx(site);
    if (refuses(KIND_REMAP, idx, bytes / NTH_PAGE_BYTES)) {
        return NTH_SEAM_REFUSED;
    }
    return told(move(site, from, bytes, to), KIND_REMAP, idx);
}

const struct nth_pages *fault_pages_over(const struct nth_pages *pages)
{
    faults.real = pages;
    faults.pages = *pages;
    faults.pages.reserve = fault_page_reserve;
    faults.pages.commit = fault_page_commit;
    faults.pages.decommit = fault_page_decommit;
    faults.pages.release = fault_page_release;
    faults.pages.protect = fault_page_protect;
    faults.pages.remap = NULL;
    return &faults.pages;
}

/* ---- Locks ---------------------------------------------------------------------------------- */

static enum nth_seam_status fault_lock_create(void *self, void **lock)
{
    (void)self;
    const unsigned idx = (unsigned)nth_site_count() + FAULT_SITE_LOCK;
    if (refuses(KIND_LOCK, idx, 0)) {
        return NTH_SEAM_REFUSED;
    }
    return told(faults.real_locks->create(faults.real_locks->self, lock), KIND_LOCK, idx);
}

static void fault_lock_destroy(void *self, void *lock)
{
    (void)self;
    faults.real_locks->destroy(faults.real_locks->self, lock);
}

static void fault_lock_acquire(void *self, void *lock)
{
    (void)self;
    faults.real_locks->acquire(faults.real_locks->self, lock);
    atomic_fetch_add_explicit(&faults.locks_held, 1, memory_order_relaxed);
}

static BOOLEAN fault_lock_try(void *self, void *lock)
{
    (void)self;
    const BOOLEAN got = faults.real_locks->try_acquire(faults.real_locks->self, lock);
    atomic_fetch_add_explicit(&faults.locks_held, got != FALSE, memory_order_relaxed);
    return got;
}

static void fault_lock_release(void *self, void *lock)
{
    (void)self;
    atomic_fetch_sub_explicit(&faults.locks_held, 1, memory_order_relaxed);
    faults.real_locks->release(faults.real_locks->self, lock);
}

static void fault_lock_pause(void *self)
{
    (void)self;
    faults.real_locks->pause(faults.real_locks->self);
}

const struct nth_locks *fault_locks_over(const struct nth_locks *locks)
{
    faults.real_locks = locks;
    faults.locks = (struct nth_locks){
        .create = fault_lock_create,
        .destroy = fault_lock_destroy,
        .acquire = fault_lock_acquire,
        .try_acquire = fault_lock_try,
        .release = fault_lock_release,
        .pause = fault_lock_pause,
    };
    return &faults.locks;
}

/* ---- The run -------------------------------------------------------------------------------- */

void fault_plans_end(void)
{
    for (unsigned idx = 0; idx < FAULT_LAYER_COUNT; idx++) {
        fault_plan_set((enum fault_layer)idx, NULL);
    }
}

void fault_pages_reset(void)
{
    fault_plans_end();
    faults.rubbish = false;
    faults.pages.zeroed = faults.real->zeroed;
    faults.pages.remap = NULL;
    faults.begun_region = NULL;
    faults.last_region = NULL;
    faults.short_end = 0;
    faults.last = faults.run;
    faults.sequence = 1 - faults.sequence;
    memset(&faults.run, 0, sizeof(faults.run));
}

uint16_t fault_path_of_call(uint64_t number)
{
    if (number == 0 || number > faults.last.calls || number > UINT16_MAX) {
        return FAULT_PATH_NONE;
    }
    return faults.sequences[1 - faults.sequence][number - 1];
}

const struct fault_run *fault_run_last(void)
{
    return &faults.last;
}

const struct fault_run *fault_run_now(void)
{
    return &faults.run;
}

int fault_locks_held(void)
{
    return atomic_load_explicit(&faults.locks_held, memory_order_relaxed);
}
#endif
