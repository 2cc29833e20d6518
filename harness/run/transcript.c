/* SPDX-License-Identifier: MIT
 *
 * Steps as lines. Nothing that differs between processes gets into one: no address, no handle. */
#include "transcript.h"

#include "faults/catalog.h"
#include "program/text_words.h"
#include "program/verify.h"

#include "../model/watch.h"

#include <string.h>

#define LIST_SHOWN (RIG_LIST_MAX)

struct line {
    const struct rig_step *step;
    const struct rig_shadow *shadow;
    const struct rig_subject *subject;
    struct rig_text_sink sink;
};

/* ---- Places --------------------------------------------------------------------------------- */

/* The heap whose caller brought the memory that `address` lies in, or ends, or NULL. A walk names
 * the end of a region, and how far the caller's memory is from the subject's differs between
 * builds. */
static const struct rig_heap *heap_around(const struct rig_shadow *shadow, uintptr_t address)
{
    const struct rig_heap *ending = NULL;
    for (unsigned idx = 1; idx < RIG_SHADOW_HEAP_COUNT; idx++) {
        const struct rig_heap *heap = &shadow->heaps[idx];
        if (!heap->live || !heap->has_base || address < (uintptr_t)heap->handle) {
            continue;
        }
        if (address - (uintptr_t)heap->handle < heap->reserve_bytes) {
            return heap;
        }
        ending = address - (uintptr_t)heap->handle == heap->reserve_bytes ? heap : ending;
    }
    return ending;
}

void rig_transcript_place(const struct rig_shadow *shadow, const struct rig_subject *subject,
                          uintptr_t address, char out[RIG_TRANSCRIPT_PLACE_BYTES])
{
    struct rig_text_sink sink = {out, RIG_TRANSCRIPT_PLACE_BYTES, 0};
    const struct rig_heap *heap = heap_around(shadow, address);
    if (address == 0) {
        rig_text_put(&sink, "0");
    } else if (subject->offset == NULL) {
        rig_text_put(&sink, "there");
    } else if (heap != NULL) {
        rig_text_put(&sink, "h%u+0x%zx", heap->idx, (size_t)(address - (uintptr_t)heap->handle));
    } else {
        rig_text_put(&sink, "0x%zx", (size_t)subject->offset((const void *)address));
    }
}

static void put_place(struct line *line, uintptr_t address)
{
    char place[RIG_TRANSCRIPT_PLACE_BYTES];
    rig_transcript_place(line->shadow, line->subject, address, place);
    rig_text_put(&line->sink, "%s", place);
}

/* A new heap is not in the model yet: its caller's memory is known from the call alone. */
static void put_new_heap(struct line *line, uintptr_t handle)
{
    const struct rig_step *step = line->step;
    const uintptr_t base = (uintptr_t)step->create.base;
    if (base != 0 && handle >= base && handle - base < step->create.base_bytes) {
        rig_text_put(&line->sink, "base+0x%zx", (size_t)(handle - base));
    } else {
        put_place(line, handle);
    }
}

/* A handle by the heap's name; one that the model does not know by its place. */
static void put_handle(struct line *line, HANDLE handle)
{
    for (unsigned idx = 0; idx < RIG_SHADOW_HEAP_COUNT; idx++) {
        const struct rig_heap *heap = &line->shadow->heaps[idx];
        if (heap->live && heap->handle == handle && handle != NULL) {
            rig_text_put(&line->sink, "h%u", idx);
            return;
        }
    }
    put_place(line, (uintptr_t)handle);
}

/* ---- Digests -------------------------------------------------------------------------------- */

uint64_t rig_transcript_digest(uint64_t digest, const void *bytes, size_t len_bytes)
{
    const unsigned char *at = bytes;
    uint64_t sum = digest ^ 14695981039346656037u;
    for (size_t idx = 0; idx < len_bytes; idx++) {
        sum = (sum ^ at[idx]) * 1099511628211u;
    }
    return sum ^ 14695981039346656037u;
}

static uint64_t element_digest(const struct line *line, uint64_t digest,
                               const struct rig_element *element)
{
    struct rig_text_sink sink;
    char text[4 * RIG_TRANSCRIPT_PLACE_BYTES + 128];
    char places[3][RIG_TRANSCRIPT_PLACE_BYTES];
    const uintptr_t addresses[3] = {element->address, element->first_block, element->last_block};
    for (unsigned idx = 0; idx < 3; idx++) {
        rig_transcript_place(line->shadow, line->subject, addresses[idx], places[idx]);
    }
    sink = (struct rig_text_sink){text, sizeof(text), 0};
    rig_text_put(&sink, "%s %zu %u %u %u %zu %zu %s %s", places[0], element->bytes,
                 element->overhead, element->region_idx, element->flags, element->committed_bytes,
                 element->uncommitted_bytes, places[1], places[2]);
    return rig_transcript_digest(digest, text, strlen(text));
}

static uint64_t walk_digest(const struct line *line, const struct rig_walk *walk)
{
    uint64_t digest = 0;
    for (size_t idx = 0; idx < walk->count; idx++) {
        digest = element_digest(line, digest, &walk->elements[idx]);
    }
    return digest;
}

uint64_t rig_transcript_walk(const struct rig_walk *walk, const struct rig_shadow *shadow,
                             const struct rig_subject *subject)
{
    const struct line line = {.shadow = shadow, .subject = subject};
    return walk_digest(&line, walk);
}

/* ---- On what the call was made -------------------------------------------------------------- */

static bool reads(const struct rig_step *step, char operand)
{
    return step->phase == RIG_PHASE_PROGRAM && rig_op_reads(step->op, operand);
}

static void put_head(struct line *line)
{
    static const char *const phases[] = {"", " (check)", " (end)"};
    static const char *const contexts[] = {"", " filter", " continue", " locked"};
    const struct rig_step *step = line->step;
    rig_text_put(&line->sink, "%u %s%s", step->idx, step->call, phases[step->phase]);
    if (step->op == RIG_OP_MISUSE && step->misuse != NULL) {
        rig_text_put(&line->sink, " (misuse %s)", step->misuse->name);
    }
    if (step->heap != NULL) {
        rig_text_put(&line->sink, " h%u", step->heap->idx);
    }
    if (step->block != NULL || (reads(step, RIG_OPERAND_SLOT) && step->op != RIG_OP_CREATE)) {
        rig_text_put(&line->sink, " s%u", step->name);
    }
    if (step->flags != 0 && (reads(step, RIG_OPERAND_FLAGS) || step->op == RIG_OP_CREATE)) {
        rig_text_put(&line->sink, " flags=0x%x", step->flags);
    }
    if (reads(step, RIG_OPERAND_SIZE) && step->op != RIG_OP_CREATE) {
        rig_text_put(&line->sink, " size=%zu", step->size_bytes);
    }
    if (reads(step, RIG_OPERAND_CONTEXT)) {
        rig_text_put(&line->sink, "%s", contexts[step->context]);
    }
    if (step->second) {
        rig_text_put(&line->sink, " second");
    }
}

static void put_create(struct line *line)
{
    const struct rig_step *step = line->step;
    rig_text_put(&line->sink, " reserve=%zu commit=%zu%s%s%s%s", step->create.reserve_bytes,
                 step->create.commit_bytes, step->create.base != NULL ? " base" : "",
                 step->create.routine ? " routine" : "", step->create.lock ? " lock" : "",
                 step->create.has_parameters ? " parameters" : "");
}

/* What an operation passes besides names, flags and size. */
static void put_arguments(struct line *line)
{
    const struct rig_step *step = line->step;
    struct rig_text_sink *sink = &line->sink;
    switch (step->op) {
    case RIG_OP_CREATE:
        put_create(line);
        break;
    case RIG_OP_MULTI_ALLOC:
    case RIG_OP_MULTI_FREE:
        rig_text_put(sink, " count=%u nulls=%u", step->many_count, step->many_nulls);
        break;
    case RIG_OP_SET_USER_FLAGS:
        rig_text_put(sink, " reset=0x%x set=0x%x", step->user_reset, step->user_set);
        break;
    case RIG_OP_VERIFY:
        rig_text_put(sink, " %s", rig_verify_word(step->record->arg));
        if (step->record->value != 0) {
            rig_text_put(sink, " value=%u", step->record->value);
        }
        if (step->watched == NULL) {
            rig_text_put(sink, " off");
        }
        break;
    case RIG_OP_DAMAGE:
        rig_text_put(sink, " %s %s at ", step->damage->name,
                     step->damaged.name != NULL ? step->damaged.name : "bytes");
        put_place(line, step->damaged_at);
        break;
    case RIG_OP_QUERY:
    case RIG_OP_SET:
        rig_text_put(sink, " class=%u length=%zu%s%s", step->info_class, step->info_bytes,
                     step->handle_null ? " no-heap" : "", step->info_null ? " no-buffer" : "");
        break;
    case RIG_OP_PROCESS_HEAPS:
        rig_text_put(sink, " room=%u", step->list_room);
        break;
    case RIG_OP_ENUM_HEAPS:
        rig_text_put(sink, " stop=%u", step->list_stop);
        break;
    case RIG_OP_DOS_ERROR:
    case RIG_OP_SET_LAST_ERROR:
    case RIG_OP_RAISE:
        rig_text_put(sink, " code=0x%x", step->code);
        break;
    case RIG_OP_ADD_VECTORED:
    case RIG_OP_REMOVE_VECTORED:
    case RIG_OP_SECTION_INIT:
    case RIG_OP_SECTION_ENTER:
    case RIG_OP_SECTION_TRY:
    case RIG_OP_SECTION_LEAVE:
    case RIG_OP_SECTION_DELETE:
    case RIG_OP_WALK_STEP:
        rig_text_put(sink, " object=%u", step->object_idx);
        break;
    default:
        break;
    }
}

/* ---- What came back ------------------------------------------------------------------------- */

static void put_value(struct line *line)
{
    const struct rig_step *step = line->step;
    const uintptr_t value = step->outcome.value;
    switch (step->op) {
    case RIG_OP_ALLOC:
    case RIG_OP_REALLOC:
        put_place(line, value);
        break;
    case RIG_OP_CREATE:
        put_new_heap(line, value);
        break;
    case RIG_OP_PROCESS_HEAP:
        put_place(line, value);
        break;
    case RIG_OP_ADD_VECTORED: /* a handle of the subject's own making */
        rig_text_put(&line->sink, value != 0 ? "a handle" : "0");
        break;
    case RIG_OP_MISUSE: /* blocks that should not be there, and handles of no heap, have no name */
        if (value != 0 && value == (uintptr_t)step->bad.handle) {
            rig_text_put(&line->sink, "its handle");
            break;
        }
        rig_text_put(&line->sink, "0x%zx", (size_t)value);
        break;
    case RIG_OP_DESTROY:
        if (!step->win32 && step->heap != NULL && value == (uintptr_t)step->heap_before.handle) {
            rig_text_put(&line->sink, "its handle");
            break;
        }
        rig_text_put(&line->sink, "0x%zx", (size_t)value);
        break;
    default:
        rig_text_put(&line->sink, "0x%zx", (size_t)value);
        break;
    }
}

/* Numbers of an exception are the caller's own, sizes, or, with an access violation, an address. */
static void put_exception(struct line *line)
{
    const struct rig_step *step = line->step;
    const EXCEPTION_RECORD *record = &step->outcome.exception;
    const bool addresses = record->ExceptionCode == STATUS_ACCESS_VIOLATION;
    const bool nameless = addresses && (step->heap == NULL || step->op == RIG_OP_MISUSE) &&
                          step->op != RIG_OP_RAISE;
    rig_text_put(&line->sink, " %s 0x%x flags=0x%x (",
                 step->outcome.raised ? "raised" : "continued", record->ExceptionCode,
                 record->ExceptionFlags);
    for (DWORD idx = 0; idx < record->NumberParameters && idx < EXCEPTION_MAXIMUM_PARAMETERS;
         idx++) {
        rig_text_put(&line->sink, idx == 0 ? "" : " ");
        if (idx > 0 && nameless) {
            rig_text_put(&line->sink, "there");
        } else if (idx > 0 && addresses && step->op != RIG_OP_RAISE) {
            put_place(line, record->ExceptionInformation[idx]);
        } else {
            rig_text_put(&line->sink, "0x%zx", (size_t)record->ExceptionInformation[idx]);
        }
    }
    rig_text_put(&line->sink, ")");
}

static void put_outcome(struct line *line)
{
    const struct rig_outcome *outcome = &line->step->outcome;
    struct rig_text_sink *sink = &line->sink;
    put_value(line);
    if (outcome->raised || outcome->filter_runs > 0) {
        put_exception(line);
    }
    if (outcome->error_after != outcome->error_before) {
        rig_text_put(sink, " error=%u", outcome->error_after);
    }
    if (outcome->refusals > 0) {
        rig_text_put(sink, " refused=%llu", (unsigned long long)outcome->refusals);
    }
    if (outcome->starved) {
        rig_text_put(sink, " starved");
    }
    if (outcome->reports > 0) {
        rig_text_put(sink, " reported=%llu:%s", (unsigned long long)outcome->reports,
                     outcome->report.reason);
    }
    if (outcome->routine_runs > 0 || outcome->handler_runs > 0 || outcome->filter_runs > 0) {
        rig_text_put(sink, " ran=%u,%u,%u", outcome->routine_runs, outcome->handler_runs,
                     outcome->filter_runs);
    }
    if (outcome->blocked) {
        rig_text_put(sink, " waited");
    }
}

static void put_stops(struct line *line)
{
    const struct rig_watched *watched = line->step->watched;
    for (unsigned idx = 0; watched != NULL && idx < watched->told_count && idx < RIG_STOPS_MAX;
         idx++) {
        rig_text_put(&line->sink, "%s0x%x", idx == 0 ? " stops=" : ",", watched->told[idx].code);
    }
}

static void put_sight(struct line *line)
{
    const struct rig_sight *sight = &line->step->sight;
    struct rig_text_sink *sink = &line->sink;
    if (sight->size_known) {
        rig_text_put(sink, " said-size=%zu", sight->size_now);
    }
    if (sight->old_size_known) {
        rig_text_put(sink, " said-old-size=%zu", sight->old_size_now);
    }
    if (sight->overlaps) {
        rig_text_put(sink, " OVERLAPS");
    }
    if (sight->spoilt_at != RIG_NO_OFFSET) {
        rig_text_put(sink, " SPOILT-AT=%zu", sight->spoilt_at);
    }
    if (sight->dirty_at != RIG_NO_OFFSET) {
        rig_text_put(sink, " DIRTY-AT=%zu", sight->dirty_at);
    }
}

static void put_walk(struct line *line, const struct rig_walk *walk)
{
    rig_text_put(&line->sink, " elements=%zu%s digest=%016llx", walk->count,
                 walk->ended ? "" : " NOT-ENDED", (unsigned long long)walk_digest(line, walk));
}

static void put_list(struct line *line, size_t count)
{
    const struct rig_step *step = line->step;
    for (size_t idx = 0; idx < count && idx < LIST_SHOWN; idx++) {
        rig_text_put(&line->sink, idx == 0 ? " list=" : ",");
        put_handle(line, step->list[idx]);
    }
}

static void put_many(struct line *line)
{
    const struct rig_step *step = line->step;
    for (ULONG idx = 0; idx < step->many_count && idx < RIG_MANY_MAX; idx++) {
        const uintptr_t address = (uintptr_t)step->many_after[idx];
        rig_text_put(&line->sink, idx == 0 ? " array=" : ",");
        if (address == (uintptr_t)RIG_POISON) {
            rig_text_put(&line->sink, "-");
        } else {
            put_place(line, address);
        }
    }
}

static void put_element(struct line *line)
{
    const struct rig_element *element = &line->step->element;
    const bool found = (line->step->outcome.value != 0) == line->step->win32;
    if (found && !line->step->outcome.raised) {
        rig_text_put(&line->sink, " element=%016llx",
                     (unsigned long long)element_digest(line, 0, element));
    }
}

/* What an operation gives back besides its value. */
static void put_results(struct line *line)
{
    const struct rig_step *step = line->step;
    struct rig_text_sink *sink = &line->sink;
    switch (step->op) {
    case RIG_OP_WALK:
    case RIG_OP_COMPACT:
        if (step->walk != NULL) {
            put_walk(line, step->walk);
        }
        if (step->op == RIG_OP_COMPACT && step->phase == RIG_PHASE_END) {
            rig_text_put(sink, " span=%zu,%s", step->span_asked,
                         step->span_had ? "had" : "NOT-HAD");
        }
        break;
    case RIG_OP_WALK_STEP:
        put_element(line);
        break;
    case RIG_OP_SUMMARY:
        rig_text_put(sink, " cb=%u sizes=%zu,%zu,%zu,%zu", step->summary_cb, step->summary[0],
                     step->summary[1], step->summary[2], step->summary[3]);
        break;
    case RIG_OP_QUERY:
        rig_text_put(sink, " information=%u length=%zu", step->info_value,
                     (size_t)step->info_length);
        break;
    case RIG_OP_GET_USER_INFO:
        rig_text_put(sink, " user=0x%zx user-flags=0x%x", (size_t)(uintptr_t)step->user_value,
                     step->user_flags);
        break;
    case RIG_OP_MULTI_ALLOC:
    case RIG_OP_MULTI_FREE:
        put_many(line);
        break;
    case RIG_OP_PROCESS_HEAPS:
        put_list(line, step->list_room < step->outcome.value ? step->list_room
                                                             : (size_t)step->outcome.value);
        break;
    case RIG_OP_ENUM_HEAPS:
        put_list(line, step->list_calls);
        break;
    case RIG_OP_CHECK:
        rig_text_put(sink, " valid=%u blocks=%zu/%zu spoilt=%zu", step->valid, step->blocks_valid,
                     step->blocks_seen, step->spoilt_count);
        break;
    default:
        break;
    }
}

/* ---- Whole lines ---------------------------------------------------------------------------- */

static struct line line_begin(const struct rig_step *step, const struct rig_shadow *shadow,
                              const struct rig_subject *subject, char *out, size_t out_bytes)
{
    if (out_bytes != 0) {
        out[0] = '\0';
    }
    return (struct line){step, shadow, subject, {out, out_bytes, 0}};
}

size_t rig_transcript_line(const struct rig_step *step, const struct rig_shadow *shadow,
                           const struct rig_subject *subject, char *out, size_t out_bytes)
{
    struct line line = line_begin(step, shadow, subject, out, out_bytes);
    if (step->skipped != NULL) {
        rig_text_put(&line.sink, "%u %s: skipped: %s", step->idx, step->call, step->skipped);
        return line.sink.len_bytes;
    }
    if (step->nothing && step->phase == RIG_PHASE_PROGRAM) {
        rig_text_put(&line.sink, "%u %s: nothing to do it with", step->idx, step->call);
        return line.sink.len_bytes;
    }
    put_head(&line);
    put_arguments(&line);
    rig_text_put(&line.sink, " -> ");
    put_outcome(&line);
    put_results(&line);
    put_stops(&line);
    put_sight(&line);
    return line.sink.len_bytes;
}

size_t rig_transcript_outcome(const struct rig_step *step, const struct rig_shadow *shadow,
                              const struct rig_subject *subject, char *out, size_t out_bytes)
{
    struct line line = line_begin(step, shadow, subject, out, out_bytes);
    put_outcome(&line);
    put_results(&line);
    put_stops(&line);
    put_sight(&line);
    return line.sink.len_bytes;
}
