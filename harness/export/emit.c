/* SPDX-License-Identifier: MIT
 *
 * From a tape to C. Addresses become variables: each block and heap that a call
 * gave has one, and what else is passed is written as a distance from the
 * nearest of them. What the program needs besides its calls are pieces of
 * pieces.txt, which the build embeds. */
#include "emit_internal.h"

#include "program/text.h"
#include "rules/contract.h"

/* ---- Steps
 * ----------------------------------------------------------------------------------
 */

static bool own_call(const struct tape_step *step, const struct tape_call *call)
{
    return call->main && !call->nested && call->what < TAPE_WHAT_COUNT &&
           call->second == step->second;
}

/* A step that makes one call of its own marks the last error before it, as the
 * rig does. */
static bool is_marked(const struct tape *tape, const struct tape_step *step)
{
    size_t count = 0;
    for (size_t idx = step->from; idx < step->to; idx++) {
        count += own_call(step, &tape->calls[idx]);
    }
    return count == 1 && step->op != RIG_OP_GET_LAST_ERROR && step->op != RIG_OP_SET_LAST_ERROR &&
           step->phase != RIG_PHASE_CHECK;
}

/* The calls of a step in parts: the second thread's own; how the first lets go
 * meanwhile, and takes again; all others. */
enum part { PART_ALL, PART_SECOND, PART_LET_GO, PART_TAKE_AGAIN, PART_REST, PART_NONE };

static bool lets_go(const struct tape_call *call)
{
    return !call->second && call->main &&
           (call->what == TAPE_HeapUnlock || call->what == TAPE_LeaveCriticalSection);
}

static bool takes_again(const struct tape_call *call)
{
    return !call->second && !call->main &&
           (call->what == TAPE_HeapLock || call->what == TAPE_EnterCriticalSection);
}

static enum part part_of(const struct tape *tape, const struct tape_step *step, size_t idx)
{
    const struct tape_call *call = &tape->calls[idx];
    size_t gone = 0;
    if (call->nested) {
        return PART_NONE;
    }
    if (!step->second || call->second) {
        return step->second ? PART_SECOND : PART_ALL;
    }
    for (size_t before = step->from; before < idx; before++) {
        gone += lets_go(&tape->calls[before]);
        gone -= gone > 0 && takes_again(&tape->calls[before]);
    }
    return lets_go(call)                   ? PART_LET_GO
           : takes_again(call) && gone > 0 ? PART_TAKE_AGAIN
                                           : PART_REST;
}

/* The rig's own calls around an operation's. */
static bool is_mark(const struct tape_step *step, const struct tape_call *call)
{
    return !own_call(step, call) &&
           (call->what == TAPE_SetLastError || call->what == TAPE_GetLastError);
}

static void calls_write(struct emit *emit, const struct tape_step *step, enum part part)
{
    const bool marked = is_marked(emit->tape, step);
    for (size_t idx = step->from; idx < step->to; idx++) {
        const struct tape_call *call = &emit->tape->calls[idx];
        if (part_of(emit->tape, step, idx) != part || is_mark(step, call)) {
            continue;
        }
        const size_t walk = rig_emit_walk_length(emit->tape, step, idx);
        if (call->what >= TAPE_WHAT_COUNT) {
            rig_emit_service_write(emit, step, call);
        } else if (walk > 0) {
            rig_emit_walk_write(emit, step, idx, walk);
            idx += walk - 1;
        } else {
            rig_emit_call_write(emit, step, call, marked && own_call(step, call));
        }
    }
}

/* Calls that print nothing: another one is in progress. */
static void plain_write(struct emit *emit, const struct tape_step *step, enum part part)
{
    for (size_t idx = step->from; idx < step->to; idx++) {
        const struct tape_call *call = &emit->tape->calls[idx];
        char made[512];
        struct text text = {made, sizeof(made), 0};
        if (part_of(emit->tape, step, idx) == part) {
            rig_emit_arguments_put(emit, &text, call);
            (void)fprintf(emit->code, "    %s%s;\n",
                          rig_tape_call_info(call->what)->gives == 'v' ? "" : "(void)", made);
        }
    }
}

static void second_write(struct emit *emit, const struct tape_step *step)
{
    emit->uses_thread = true;
    emit->code = emit->functions;
    (void)fprintf(emit->code,
                  "\n/* Made by the second thread. */\nstatic void second_%u(void)\n{\n",
                  step->idx);
    calls_write(emit, step, PART_SECOND);
    (void)fprintf(emit->code, "}\n");
    emit->code = emit->body;
    (void)fprintf(emit->code, "    second_begin(second_%u);\n", step->idx);
    if (step->outcome.blocked) {
        emit->uses_wait = true;
        (void)fprintf(emit->code, "    second_waits();\n");
        plain_write(emit, step, PART_LET_GO);
    }
    (void)fprintf(emit->code, "    second_end();\n");
    plain_write(emit, step, PART_TAKE_AGAIN);
    calls_write(emit, step, PART_REST);
}

/* The CommitRoutine's mode and the budget are no calls, but stand in the
 * program. */
static void record_write(struct emit *emit, const struct tape_step *step)
{
    char line[RIG_TEXT_LINE_BYTES_MAX];
    static const char *const phases[] = {"", "look at everything: ", "at the end: "};
    if (step->phase == RIG_PHASE_PROGRAM && step->idx < emit->program->count) {
        (void)rig_text_print_record(&emit->program->records[step->idx], line, sizeof(line));
        (void)fprintf(emit->code, "\n    /* %u: %s */\n", step->idx, line);
    } else {
        (void)fprintf(emit->code, "\n    /* %s%s */\n", phases[step->phase], step->call);
    }
}

/* Records that make no call pass the tape by: a routine's mode. */
static void routines_write(struct emit *emit, uint32_t from, uint32_t to)
{
    static const char *const modes[] = {"GRANT",      "REFUSE",    "REFUSE_ONCE", "GRANT_MORE",
                                        "GRANT_LESS", "ELSEWHERE", "RAISE",       "REENTER"};
    for (uint32_t idx = from; idx < to && idx < emit->program->count; idx++) {
        const struct rig_record *record = &emit->program->records[idx];
        const unsigned memory = rig_emit_memory_of(emit, record->heap % RIG_HEAP_COUNT);
        if (record->op == RIG_OP_ROUTINE && memory < RIG_HEAP_COUNT) {
            emit->uses_routine = true;
            (void)fprintf(emit->code,
                          "\n    /* %u: the CommitRoutine */\n    routines[%u].mode = %s;\n"
                          "    routines[%u].grants = %u;\n",
                          idx, memory, modes[record->arg % 8u], memory, record->value & 0xFu);
        }
    }
}

static void bytes_check(struct emit *emit, const struct tape_step *step)
{
    const struct rig_sight *sight = &step->sight;
    const char *name = NULL;
    for (size_t idx = emit->object_count; idx > 0 && name == NULL; idx--) {
        if (emit->objects[idx - 1].address == step->outcome.value) {
            name = emit->objects[idx - 1].name;
        }
    }
    if (name != NULL && sight->dirty_at != RIG_NO_OFFSET) {
        (void)fprintf(emit->code,
                      "    /* A byte that has to be zero. */\n"
                      "    finding = finding && %s != NULL && ((unsigned char "
                      "*)%s)[%zu] != 0;\n",
                      name, name, sight->dirty_at);
    }
    if (name != NULL && sight->spoilt_at != RIG_NO_OFFSET && step->op == RIG_OP_REALLOC) {
        emit->uses_fill = true;
        (void)fprintf(emit->code,
                      "    /* A byte that has to be what the program wrote. */\n"
                      "    finding = finding && %s != NULL && ((unsigned char *)%s)[%zu] != "
                      "written(%zu, %u);\n",
                      name, name, sight->spoilt_at, sight->spoilt_at, step->stamp);
    }
}

static void step_write(struct emit *emit, const struct tape_step *step)
{
    if (step->from == step->to && !step->last) {
        return;
    }
    emit->code = emit->body;
    emit->misused = step->op == RIG_OP_MISUSE;
    record_write(emit, step);
    if (step->last && emit->tape->end == TAPE_FINDING) {
        (void)fprintf(emit->code, "    finding = 1;\n");
    }
    if (step->second) {
        second_write(emit, step);
    } else {
        calls_write(emit, step, PART_ALL);
    }
    if (step->last && emit->tape->end == TAPE_FINDING) {
        bytes_check(emit, step);
    }
}

/* ---- The program
 * ----------------------------------------------------------------------------
 */

/* Made from pieces.txt by the build, see rules/embed.cmake. */
extern const unsigned char rig_pieces_bytes[];
extern const size_t rig_pieces_bytes_len;

static void piece(FILE *out, const char *name)
{
    char mark[64];
    const char *text = (const char *)rig_pieces_bytes;
    const size_t len = rig_pieces_bytes_len;
    const int mark_len = snprintf(mark, sizeof(mark), "== %s\n", name);
    const char *from = memmem(text, len, mark, (size_t)mark_len);
    RIG_CHECK(from != NULL);
    from += mark_len;
    const char *end = memmem(from, len - (size_t)(from - text), "\n== ", 4);
    const size_t bytes = end != NULL ? (size_t)(end + 1 - from) : len - (size_t)(from - text);
    (void)fwrite(from, 1, bytes, out);
}

static void piece_if(FILE *out, bool wanted, const char *name)
{
    if (wanted) {
        piece(out, name);
    }
}

static void head_write(const struct emit *emit, const char *name, FILE *out)
{
    const struct tape *tape = emit->tape;
    (void)fprintf(out, "/* Made by heaprig export from %s.\n *\n", name);
    for (unsigned idx = 0; idx < tape->broken_count; idx++) {
        const struct rig_clause_info *info = rig_clause_info(tape->broken[idx]);
        const struct rig_contract_row *row =
            rig_contract_find(rig_contract(), (struct rig_piece){info->id, strlen(info->id)});
        struct rig_ruling ruling;
        if (idx == 0) {
            (void)fprintf(out, " * Rule %s: %s.\n", rig_rule_name(info->rule),
                          rig_rule_sentence(info->rule));
        }
        if (row != NULL) {
            (void)fprintf(out, " * Clause %s: %.*s: %.*s\n", info->id, (int)row->condition.len,
                          row->condition.at, (int)row->outcome.len, row->outcome.at);
        } else if (rig_ruling_find(info->id, &ruling)) {
            (void)fprintf(out, " * Ruling %s: %.*s\n", info->id, (int)ruling.sentence.len,
                          ruling.sentence.at);
        }
    }
    switch (tape->end) {
    case TAPE_HELD:
        (void)fprintf(out, " * The run had no finding: this program makes its "
                           "calls, and returns 0.\n");
        break;
    case TAPE_FINDING:
        (void)fprintf(out, " * Exit status 1: the finding shows. 0: it does not.\n");
        break;
    case TAPE_DIED:
        (void)fprintf(out, " * The last call did not return in the rig: it killed "
                           "the process, or never "
                           "ended. Exit status\n * 0: it returned here.\n");
        break;
    }
    if (emit->lack != NULL) {
        (void)fprintf(out, " * Left out: %s.\n", emit->lack);
    }
    (void)fprintf(out,
                  " *\n * Build:  cc -std=c11 FILE.c -lntheap%s\n * --verbose "
                  "prints each call.\n */\n",
                  emit->uses_thread ? " -pthread" : "");
}

static void includes_write(const struct emit *emit, FILE *out)
{
    if (emit->uses_thread) {
        (void)fprintf(out, "#define _POSIX_C_SOURCE 200809L\n");
    }
    (void)fprintf(out, "#include <ntheap/heap.h>\n");
    piece_if(out, emit->seam, "seam_head");
    (void)fprintf(out, "#include <ntheap/seh.h>\n\n");
    piece(out, "head");
    piece_if(out, emit->uses_thread, "thread_head");
    if (emit->base_count > 0) {
        (void)fprintf(out, "\n#define MEMORY_COUNT %uu\n", emit->base_count);
    }
    if (emit->seam) {
        (void)fprintf(out, "\n#define SEED %uu\n", emit->program->seed);
    }
}

/* The calls written so far hold these words. */
static bool says(const struct emit *emit, const char *words)
{
    return strstr(emit->text[1], words) != NULL || strstr(emit->text[2], words) != NULL;
}

static void pieces_write(const struct emit *emit, FILE *out)
{
    piece(out, "state");
    piece(out, emit->seam ? "reports" : "no_reports");
    piece(out, "calls");
    if (emit->uses_call) {
        (void)fputc('\n', out);
        piece(out, "call");
    }
    piece_if(out, emit->uses_filter, "filter");
    piece_if(out, emit->tape->end == TAPE_FINDING, "came");
    piece_if(out, emit->seam, "arena");
    piece_if(out, emit->uses_refuse, "refuse");
    piece_if(out, says(emit, " plan("), "plan");
    piece_if(out, says(emit, "pages_move("), "moves");
    piece_if(out, says(emit, "pages_dirty("), "dirty");
    piece_if(out, emit->seam, "arena_begin");
    piece_if(out, emit->uses_refuse, "arena_refuse");
    piece_if(out, emit->seam, "arena_end");
    piece_if(out, emit->base_count > 0, "bases");
    const bool walks = emit->uses_walk_rtl || emit->uses_walk_win32;
    const bool gives = says(emit, "give_place(");
    if (walks || gives || emit->uses_array) {
        (void)fputc('\n', out);
        piece(out, emit->base_count > 0 ? "place_bases" : "place_none");
        piece_if(out, emit->seam, "place_arena");
        piece(out, "place_end");
    }
    piece_if(out, gives, "give_place");
    piece_if(out, emit->uses_array, "array");
    piece_if(out, emit->uses_walk_rtl || emit->uses_walk_win32, "walk");
    piece_if(out, emit->uses_walk_rtl, "walk_rtl");
    piece_if(out, emit->uses_walk_win32, "walk_win32");
    piece_if(out, emit->uses_fill, "fill");
    piece_if(out, emit->uses_differs, "differs");
    piece_if(out, emit->uses_routine, "routine");
    piece_if(out, emit->uses_listing, "listing");
    piece_if(out, says(emit, "handler_searches"), "handler_searches");
    piece_if(out, says(emit, "handler_continues"), "handler_continues");
    piece_if(out, says(emit, "handler_takes"), "handler_takes");
    piece_if(out, says(emit, "handler_babbles"), "handler_babbles");
    piece_if(out, emit->uses_balance, "balance");
    piece_if(out, emit->uses_thread, "thread");
    piece_if(out, emit->uses_wait, "thread_wait");
}

static void variables_write(const struct emit *emit, FILE *out)
{
    (void)fprintf(out, "\n/* What the calls gave. */\n%s", emit->text[0]);
    const struct {
        bool wanted;
        const char *text;
    } variables[] = {
        {emit->uses_out, "static PVOID user_value;\n"},
        {emit->uses_user_flags, "static ULONG user_flags;\n"},
        {emit->uses_length, "static SIZE_T length;\n"},
        {emit->uses_summary, "static HEAP_SUMMARY summary;\n"},
        {emit->uses_information, "static ULONG information[16];\n"},
        {emit->uses_array, "static PVOID array[64];\n"},
        {emit->uses_parameters, "static RTL_HEAP_PARAMETERS parameters;\n"},
        {emit->uses_raise, "static ULONG_PTR arguments[EXCEPTION_MAXIMUM_PARAMETERS];\n"},
    };
    for (size_t idx = 0; idx < sizeof(variables) / sizeof(variables[0]); idx++) {
        if (variables[idx].wanted) {
            (void)fputs(variables[idx].text, out);
        }
    }
}

static void main_write(const struct emit *emit, FILE *out)
{
    (void)fprintf(out, "\nint main(int argc, char **argv)\n{\n"
                       "    verbose = argc > 1 && strcmp(argv[1], \"--verbose\") == 0;\n");
    if (emit->seam) {
        (void)fprintf(out, "    arena_begin();\n");
    }
    (void)fprintf(out, "%s\n", emit->text[2]);
    if (emit->tape->end == TAPE_FINDING) {
        (void)fprintf(out, "    if (verbose) {\n"
                           "        printf(\"%%s\\n\", finding ? \"the finding "
                           "shows\" : \"no finding\");\n"
                           "    }\n");
    }
    (void)fprintf(out, "    return finding;\n}\n");
}

/* Memory of a caller is used in the order in which it comes. Heaps are found
 * again by their number.
 */
static void bases_find(struct emit *emit)
{
    const struct tape *tape = emit->tape;
    for (size_t idx = 0; idx < tape->step_count; idx++) {
        const struct tape_step *step = &tape->steps[idx];
        for (size_t at_call = step->from; at_call < step->to; at_call++) {
            const struct tape_call *call = &tape->calls[at_call];
            uintptr_t distance = 0;
            if (call->what == TAPE_RtlCreateHeap && call->arguments[1] != 0 &&
                rig_emit_base_of(tape, call->arguments[1], &distance)) {
                const unsigned number = (unsigned)(distance / BASE_BYTES);
                emit->bases[number] = (uintptr_t)step->heap + 1;
                emit->base_count = number + 1 > emit->base_count ? number + 1 : emit->base_count;
            }
        }
    }
}

static bool needs_seam(const struct tape *tape)
{
    bool needed = tape->end != TAPE_HELD || tape->refusals > 0 || tape->reports > 0;
    for (size_t idx = 0; idx < tape->call_count; idx++) {
        const unsigned what = tape->calls[idx].what;
        needed = needed || what == TAPE_POKE || what == TAPE_SEALED || what == TAPE_HOLDINGS ||
                 what == TAPE_BUDGET || what == TAPE_PLAN || tape->calls[idx].reports > 0;
    }
    for (size_t idx = 0; idx < tape->step_count; idx++) {
        needed =
            needed || tape->steps[idx].op == RIG_OP_MISUSE || tape->steps[idx].op == RIG_OP_DAMAGE;
    }
    return needed && tape->low != 0;
}

static void emit_begin(struct emit *emit, const struct tape *tape,
                       const struct rig_program *program)
{
    emit->tape = tape;
    emit->program = program;
    emit->seam = needs_seam(tape);
    emit->globals = open_memstream(&emit->text[0], &emit->text_bytes[0]);
    emit->functions = open_memstream(&emit->text[1], &emit->text_bytes[1]);
    emit->body = open_memstream(&emit->text[2], &emit->text_bytes[2]);
    RIG_CHECK(emit->globals != NULL);
    RIG_CHECK(emit->functions != NULL);
    RIG_CHECK(emit->body != NULL);
    bases_find(emit);
}

const char *rig_emit_program(const struct tape *tape, const struct rig_program *program,
                             const char *name, FILE *out)
{
    static struct emit made;
    struct emit *emit = &made;
    uint32_t next = 0;
    emit_begin(emit, tape, program);
    for (size_t idx = 0; idx < tape->step_count; idx++) {
        const struct tape_step *step = &tape->steps[idx];
        emit->code = emit->body;
        routines_write(emit, next, step->idx);
        next = step->idx > next ? step->idx : next;
        step_write(emit, step);
    }
    (void)fclose(emit->globals);
    (void)fclose(emit->functions);
    (void)fclose(emit->body);
    head_write(emit, name, out);
    includes_write(emit, out);
    pieces_write(emit, out);
    variables_write(emit, out);
    (void)fputs(emit->text[1], out);
    main_write(emit, out);
    for (unsigned idx = 0; idx < 3; idx++) {
        free(emit->text[idx]);
    }
    return emit->lack;
}

/* ---- The transcript
 * ------------------------------------------------------------------------- */

static void part_tell(struct emit *emit, const struct tape_step *step, enum part part, FILE *out)
{
    const bool marked = is_marked(emit->tape, step);
    static char given[TEXT_MAX];
    for (size_t idx = step->from; idx < step->to; idx++) {
        const struct tape_call *call = &emit->tape->calls[idx];
        const char *name = "what core holds";
        struct text text = {given, sizeof(given), 0};
        const size_t walk =
            call->what < TAPE_WHAT_COUNT ? rig_emit_walk_length(emit->tape, step, idx) : 0;
        if (part_of(emit->tape, step, idx) != part || is_mark(step, call) ||
            (call->what >= TAPE_WHAT_COUNT && call->what != TAPE_HOLDINGS)) {
            continue;
        }
        if (call->what == TAPE_HOLDINGS) {
            rig_emit_put(&text, "%zu %zu %zu", (size_t)call->arguments[0],
                         (size_t)call->arguments[1], (size_t)call->arguments[2]);
        } else if (walk > 0) {
            name = rig_tape_call_info(call->what)->name;
            rig_emit_walk_given(emit, idx, walk, &text);
            idx += walk - 1;
        } else {
            name = rig_tape_call_info(call->what)->name;
            (void)rig_emit_given(emit->tape, call, marked && own_call(step, call) ? step : NULL,
                                 emit->seam, given, sizeof(given));
        }
        (void)fprintf(out, "%u %s -> %s\n", step->idx, name, given);
    }
}

void rig_emit_transcript(const struct tape *tape, const struct rig_program *program, FILE *out)
{
    static struct emit made;
    made.tape = tape;
    made.program = program;
    made.seam = needs_seam(tape);
    for (size_t idx = 0; idx < tape->step_count; idx++) {
        const struct tape_step *step = &tape->steps[idx];
        part_tell(&made, step, step->second ? PART_SECOND : PART_ALL, out);
        if (step->second) {
            part_tell(&made, step, PART_REST, out);
        }
    }
}
