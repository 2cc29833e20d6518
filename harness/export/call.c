/* SPDX-License-Identifier: MIT
 *
 * Calls, whole walks and services in C. */
#include "emit_internal.h"

/* ---- Calls
 * ----------------------------------------------------------------------------------
 */

/* The name of the next thing that a call gives: of the step's block or heap, or
 * one more. */
static void name_next(struct emit *emit, const struct tape_step *step, const struct tape_call *call,
                      char name[24])
{
    const char gives = rig_tape_call_info(call->what)->gives;
    const bool own = call->main && step->phase == RIG_PHASE_PROGRAM;
    const bool block = step->op == RIG_OP_ALLOC || step->op == RIG_OP_REALLOC;
    unsigned instance = 0;
    const char *what = "block";
    unsigned number = 0;
    if (call->what == TAPE_GetProcessHeap) {
        what = "heap";
        instance = ++emit->heap_instances[0];
    } else if (gives == 'h' && own && step->op == RIG_OP_CREATE && step->heap < RIG_HEAP_COUNT) {
        what = "heap";
        number = step->heap;
        instance = ++emit->heap_instances[number];
    } else if (gives == 'p' && own && block) {
        what = "s";
        number = step->name % RIG_SLOT_COUNT;
        instance = ++emit->instances[number];
    } else {
        (void)snprintf(name, 24, "%s%u", gives == 'q' ? "handle" : "more", ++emit->more_count);
        return;
    }
    if (instance == 1) {
        (void)snprintf(name, 24, "%s%u", what, number);
    } else {
        (void)snprintf(name, 24, "%s%u_%u", what, number, instance);
    }
}

void rig_emit_arguments_put(struct emit *emit, struct text *text, const struct tape_call *call)
{
    const struct tape_call_info *info = rig_tape_call_info(call->what);
    rig_emit_put(text, "%s(", info->name);
    for (size_t idx = 0; info->takes[idx] != '\0'; idx++) {
        rig_emit_put(text, idx == 0 ? "" : ", ");
        rig_emit_put_argument(emit, text, call, idx);
    }
    rig_emit_put(text, ")");
}

/* Statements that print what out parameters hold. */
static void outs_put(struct emit *emit, struct text *text, const struct tape_call *call)
{
    const struct tape_call_info *info = rig_tape_call_info(call->what);
    for (size_t idx = 0; info->takes[idx] != '\0'; idx++) {
        const struct tape_data *data = &call->data[idx];
        if (!data->writable || rig_emit_in_arena(emit->tape, call->arguments[idx])) {
            continue;
        }
        switch (info->takes[idx]) {
        case 'A':
            rig_emit_put(text, "; give_array(array, %zu)", data->bytes / sizeof(PVOID));
            break;
        case 'O':
            rig_emit_put(text, "; give(\" 0x%%zx\", (size_t)user_value)");
            break;
        case 'o':
            rig_emit_put(text, "; give(\" 0x%%x\", (unsigned)user_flags)");
            break;
        case 'L':
            rig_emit_put(text, "; give(\" 0x%%zx\", length)");
            break;
        case 'Y':
            rig_emit_put(text, "; give(\" %%zu %%zu %%zu %%zu\", "
                               "summary.cbAllocated, summary.cbCommitted, "
                               "summary.cbReserved, summary.cbMaxReserve)");
            break;
        case 'i':
            for (size_t one = 0; (one + 1) * sizeof(uint32_t) <= data->bytes; one++) {
                rig_emit_put(text, "; give(\" 0x%%x\", (unsigned)information[%zu])", one);
            }
            break;
        case 'K': {
            const unsigned section = rig_emit_section_of(emit, call->arguments[idx]);
            rig_emit_put(text,
                         "; give(\" %%d %%d\", (int)section%u.LockCount, "
                         "(int)section%u.RecursionCount)",
                         section, section);
            break;
        }
        case 'W':
        case 'w': {
            const bool rtl = info->takes[idx] == 'W';
            const unsigned entry =
                rig_emit_entry_of_walk(emit, call->arguments[idx], info->takes[idx]);
            rig_emit_put(text,
                         "; give(\" \"); give_place(entry%u.%s); give(\" %%zu %%u %%u %%u\", "
                         "(size_t)entry%u.%s, (unsigned)entry%u.%s, (unsigned)entry%u.%s, "
                         "(unsigned)entry%u.%s)",
                         entry, rtl ? "DataAddress" : "lpData", entry, rtl ? "DataSize" : "cbData",
                         entry, rtl ? "OverheadBytes" : "cbOverhead", entry,
                         rtl ? "SegmentIndex" : "iRegionIndex", entry, rtl ? "Flags" : "wFlags");
            break;
        }
        default:
            break;
        }
    }
}

static void statement_put(struct emit *emit, struct text *text, const struct tape_step *step,
                          const struct tape_call *call)
{
    char made[1024];
    char name[24];
    struct text arguments = {made, sizeof(made), 0};
    const char gives = rig_tape_call_info(call->what)->gives;
    if (gives == 'p' || gives == 'h' || gives == 'q') {
        const unsigned number = call->what == TAPE_GetProcessHeap ? 0 : step->heap;
        name_next(emit, step, call, name);
        rig_emit_arguments_put(emit, &arguments, call);
        (void)fprintf(emit->globals, "static PVOID %s;\n", name);
        if (call->returned && call->result != 0) {
            if (gives != 'q' || call->what == TAPE_AddVectoredExceptionHandler) {
                (void)rig_emit_object_add(emit, call->result, name);
            }
            if (strncmp(name, "heap", 4) == 0 && number < RIG_HEAP_COUNT) {
                (void)snprintf(emit->heap_names[number], sizeof(emit->heap_names[number]), "%s",
                               name);
            }
        }
        if (gives == 'q') {
            rig_emit_put(text, "%s = %s; give(\"%%s\", %s == NULL ? \"0\" : \"there\")", name, made,
                         name);
        } else {
            rig_emit_put(text, "give_place(%s = %s)", name, made);
        }
    } else {
        rig_emit_arguments_put(emit, &arguments, call);
        static const char *const forms[] = {
            ['b'] = "give(\"%%u\", %s != 0)",
            ['n'] = "give(\"%%zu\", (size_t)%s)",
            ['s'] = "give(\"0x%%08x\", (unsigned)%s)",
            ['v'] = "%s; give(\"done\")",
        };
        char form[64];
        (void)snprintf(form, sizeof(form), "%s", forms[(unsigned char)gives]);
        char *hole = strstr(form, "%s");
        *hole = '\0';
        for (const char *from = form; *from != '\0'; from++) {
            rig_emit_put(text, "%c", *from);
            from += from[0] == '%' && from[1] == '%';
        }
        rig_emit_put(text, "%s%s", made, hole + 2);
    }
    outs_put(emit, text, call);
}

/* What a call of the operation that ended in a finding gave in the rig is part of the finding. */
static bool shows_finding(const struct emit *emit, const struct tape_step *step)
{
    return step->last && emit->tape->end == TAPE_FINDING;
}

static void came_write(struct emit *emit, const struct tape_call *call,
                       const struct tape_step *step)
{
    static char given[TEXT_MAX];
    (void)rig_emit_given(emit->tape, call, step, emit->seam, given, sizeof(given));
    (void)fprintf(emit->code, "    came(\"%s\");\n", given);
}

static const char *macro_of(const struct emit *emit, const struct tape_step *step, bool marked)
{
    (void)emit;
    const bool filtered =
        marked && (step->context == RIG_CONTEXT_FILTER || step->context == RIG_CONTEXT_CONTINUE);
    return filtered ? "CALL_FILTERED" : marked ? "CALL" : "LOOK";
}

unsigned rig_emit_memory_of(const struct emit *emit, unsigned heap_idx)
{
    for (unsigned idx = 0; idx < emit->base_count; idx++) {
        if (emit->bases[idx] == heap_idx + 1) {
            return idx;
        }
    }
    return RIG_HEAP_COUNT;
}

/* The CommitRoutine of a heap in the caller's memory may call that heap. */
static void routine_heap_write(struct emit *emit, const struct tape_step *step,
                               const struct tape_call *call)
{
    const struct object *heap = rig_emit_object_exact(emit, call->result);
    const unsigned memory = rig_emit_memory_of(emit, step->heap);
    if (call->what == TAPE_RtlCreateHeap && call->result != 0 && heap != NULL &&
        call->arguments[1] != 0 && memory < RIG_HEAP_COUNT && emit->uses_routine) {
        (void)fprintf(emit->code, "    routines[%u].heap = %s;\n", memory, heap->name);
    }
}

void rig_emit_call_write(struct emit *emit, const struct tape_step *step,
                         const struct tape_call *call, bool marked)
{
    char made[2048];
    struct text text = {made, sizeof(made), 0};
    const char *macro = macro_of(emit, step, marked);
    char filtered[96] = "";
    if (call->what == TAPE_RtlEnumProcessHeaps && call->arguments[0] != 0) {
        (void)fprintf(emit->code,
                      "    listing_stop = %u;\n    listing_status = 0x%xu;\n    "
                      "listing_calls = 0;\n",
                      step->list_stop, step->list_status);
    }
    statement_put(emit, &text, step, call);
    if (strcmp(macro, "CALL_FILTERED") == 0) {
        const char *heap = step->heap < RIG_HEAP_COUNT ? emit->heap_names[step->heap] : "";
        emit->uses_filter = true;
        (void)snprintf(filtered, sizeof(filtered), "%s, %s, ",
                       step->context == RIG_CONTEXT_FILTER && heap[0] != '\0' ? heap : "NULL",
                       step->context == RIG_CONTEXT_CONTINUE ? "EXCEPTION_CONTINUE_EXECUTION"
                                                             : "EXCEPTION_EXECUTE_HANDLER");
    }
    emit->uses_call = emit->uses_call || strcmp(macro, "CALL") == 0;
    (void)fprintf(emit->code, "    %s(%u, \"%s\", %s%s);\n", macro, step->idx,
                  rig_tape_call_info(call->what)->name, filtered, made);
    if (shows_finding(emit, step)) {
        came_write(emit, call, marked ? step : NULL);
    }
    routine_heap_write(emit, step, call);
    if (call->what == TAPE_RtlMultipleAllocateHeap && call->data[4].after_at != TAPE_NOWHERE) {
        for (size_t one = 0; one * sizeof(PVOID) < call->data[4].bytes; one++) {
            const uintptr_t address = rig_emit_word_at(emit->tape, call->data[4].after_at, one);
            char name[24];
            if (address != 0 && address != RIG_POISON &&
                rig_emit_object_exact(emit, address) == NULL) {
                (void)snprintf(name, sizeof(name), "more%u", ++emit->more_count);
                (void)fprintf(emit->globals, "static PVOID %s;\n", name);
                (void)fprintf(emit->code, "    %s = array[%zu];\n", name, one);
                (void)rig_emit_object_add(emit, address, name);
            } else if (address != 0 && address != RIG_POISON) {
                (void)fprintf(emit->code, "    %s = array[%zu];\n",
                              rig_emit_object_exact(emit, address)->name, one);
            }
        }
    }
}

/* ---- Whole walks
 * ----------------------------------------------------------------------------
 */

static bool is_walk(const struct tape_call *call)
{
    return call->what == TAPE_RtlWalkHeap || call->what == TAPE_HeapWalk;
}

/* How many calls from `idx` on are one walk from its beginning. */
size_t rig_emit_walk_length(const struct tape *tape, const struct tape_step *step, size_t idx)
{
    const struct tape_call *first = &tape->calls[idx];
    size_t count = 0;
    if (!is_walk(first) || step->op == RIG_OP_WALK_STEP || step->op == RIG_OP_MISUSE ||
        first->data[1].before_at == TAPE_NOWHERE ||
        rig_emit_word_at(tape, first->data[1].before_at, 0) != 0) {
        return 0;
    }
    while (idx + count < step->to) {
        const struct tape_call *call = &tape->calls[idx + count];
        if (call->what != first->what || call->arguments[0] != first->arguments[0] ||
            call->arguments[1] != first->arguments[1] || !call->returned) {
            break;
        }
        count++;
        if ((call->result != 0) == (call->what == TAPE_RtlWalkHeap)) {
            break; /* it ended */
        }
    }
    return count;
}

static uint64_t mix(uint64_t sum, const char *text)
{
    for (; *text != '\0'; text++) {
        sum = (sum ^ (unsigned char)*text) * 0x100000001b3u;
    }
    return sum;
}

void rig_emit_walk_given(const struct emit *emit, size_t from, size_t count, struct text *text)
{
    const struct tape *tape = emit->tape;
    const struct tape_call *last = &tape->calls[from + count - 1];
    const char *reason = "";
    uint64_t reports = 0;
    uint64_t sum = 0;
    for (size_t idx = from; idx + 1 < from + count; idx++) {
        char line[160];
        struct text one = {line, sizeof(line), 0};
        const struct tape_call *call = &tape->calls[idx];
        const struct entry entry = rig_emit_entry_of(tape, call, call->data[1].after_at);
        rig_emit_put_place(&one, tape, emit->seam, entry.address);
        rig_emit_put(&one, " %zu %u %u %u", entry.bytes, entry.overhead, entry.idx, entry.flags);
        sum = mix(sum, line);
    }
    rig_emit_put(text, last->what == TAPE_RtlWalkHeap ? "0x%08x" : "%u", (unsigned)last->result);
    rig_emit_put(text, " elements=%zu sum=%016llx", count - 1, (unsigned long long)sum);
    for (size_t idx = from; idx < from + count; idx++) {
        reports += tape->calls[idx].reports;
        reason = tape->calls[idx].reports > 0 ? tape->calls[idx].reason : reason;
    }
    if (reports > 0) {
        rig_emit_put(text, " reported=%u:%s", (unsigned)reports, reason);
    }
}

void rig_emit_walk_write(struct emit *emit, const struct tape_step *step, size_t from, size_t count)
{
    const struct tape_call *call = &emit->tape->calls[from];
    const bool rtl = call->what == TAPE_RtlWalkHeap;
    char made[256];
    char given[160];
    struct text text = {made, sizeof(made), 0};
    struct text came = {given, sizeof(given), 0};
    rig_emit_put_address(emit, &text, call->arguments[0], call->data[0].before_at);
    emit->uses_walk_rtl = emit->uses_walk_rtl || rtl;
    emit->uses_walk_win32 = emit->uses_walk_win32 || !rtl;
    (void)fprintf(emit->code, "    LOOK(%u, \"%s\", %s(%s));\n", step->idx,
                  rig_tape_call_info(call->what)->name, rtl ? "walk_rtl" : "walk_win32", made);
    if (shows_finding(emit, step)) {
        rig_emit_walk_given(emit, from, count, &came);
        (void)fprintf(emit->code, "    came(\"%s\");\n", given);
    }
}

/* ---- Services
 * -------------------------------------------------------------------------------
 */

/* The same plan in the words of pieces.txt, or NULL. */
static const char *plan_kind(unsigned kind)
{
    switch (kind) {
    case FAULT_PLAN_NONE:
        return "REFUSE_NONE";
    case FAULT_PLAN_NTH:
        return "REFUSE_NTH";
    case FAULT_PLAN_FROM:
        return "REFUSE_FROM";
    case FAULT_PLAN_BURST:
        return "REFUSE_BURST";
    case FAULT_PLAN_BUDGET:
        return "REFUSE_BUDGET";
    case FAULT_PLAN_LARGEST:
        return "REFUSE_LARGEST";
    case FAULT_PLAN_ELSEWHERE:
        return "LIE_ELSEWHERE";
    case FAULT_PLAN_LESS:
        return "LIE_LESS";
    default:
        return NULL;
    }
}

static void plan_write(struct emit *emit, const struct tape_call *call)
{
    const unsigned kind = (unsigned)call->arguments[0];
    const char *word = plan_kind(kind);
    emit->uses_refuse = true;
    if (kind == FAULT_PLAN_MOVES) {
        (void)fprintf(emit->code, "    pages_move();\n");
    } else if (kind == FAULT_PLAN_DIRTY || kind == FAULT_PLAN_SECRET) {
        (void)fprintf(emit->code, "    pages_dirty(%s);\n",
                      kind == FAULT_PLAN_SECRET ? "TRUE" : "FALSE");
    } else if (word != NULL) {
        (void)fprintf(emit->code, "    plan(0, %s, 0x%zxu, %zu, %zu);\n", word,
                      (size_t)call->arguments[1], (size_t)call->arguments[2],
                      (size_t)call->arguments[3]);
    } else {
        emit->lack = "a plan by paths, or of many heaps";
        (void)fprintf(emit->code, "    /* Left out: a plan by paths, or of many heaps. */\n");
    }
}

static void fill_write(struct emit *emit, const struct tape_call *call)
{
    struct object *object = rig_emit_object_exact(emit, call->arguments[0]);
    if (object == NULL) {
        return;
    }
    object->bytes = call->arguments[1];
    object->stamp = (uint32_t)call->arguments[2];
    object->filled = true;
    emit->uses_fill = true;
    (void)fprintf(emit->code, "    fill(%s, %zu, %u);\n", object->name, object->bytes,
                  object->stamp);
}

void rig_emit_service_write(struct emit *emit, const struct tape_step *step,
                            const struct tape_call *call)
{
    char made[256];
    struct text text = {made, sizeof(made), 0};
    switch (call->what) {
    case TAPE_POKE:
        rig_emit_put_address(emit, &text, call->arguments[0], TAPE_NOWHERE);
        if (call->arguments[2] == 0) {
            (void)fprintf(emit->code,
                          "    /* There is no such byte. */\n    NT_TRY\n    {\n"
                          "        nth_poke(%s, 0x%02x);\n    }\n    "
                          "NT_EXCEPT(nth_filter_all, NULL)\n"
                          "    {\n    }\n    NT_END_TRY\n",
                          made, (unsigned)call->arguments[1]);
        } else if (call->arguments[1] != 0) {
            (void)fprintf(emit->code, "    nth_poke(%s, nth_peek(%s) ^ 0x%02x);\n", made, made,
                          (unsigned)call->arguments[1]);
        }
        break;
    case TAPE_SEALED: {
        char heap[256];
        struct text owner = {heap, sizeof(heap), 0};
        rig_emit_put_address(emit, &owner, call->arguments[0], TAPE_NOWHERE);
        rig_emit_put_address(emit, &text, call->arguments[1], TAPE_NOWHERE);
        (void)fprintf(emit->code,
                      "    {\n        uint64_t value = 0;\n"
                      "        (void)nth_sealed_get(%s, %s, &value);\n"
                      "        (void)nth_sealed_put(%s, %s, value ^ 0x%06x%06xull);\n    }\n",
                      heap, made, heap, made, (unsigned)call->arguments[3],
                      (unsigned)call->arguments[2]);
        break;
    }
    case TAPE_BUDGET:
        emit->uses_refuse = true;
        if (call->arguments[0] == SIZE_MAX) {
            (void)fprintf(emit->code, "    plan(1, REFUSE_NONE, 0, 0, 0);\n");
        } else {
            (void)fprintf(emit->code, "    plan(1, REFUSE_BUDGET, 0, 0, %zu);\n",
                          (size_t)call->arguments[0]);
        }
        break;
    case TAPE_PLAN:
        plan_write(emit, call);
        break;
    case TAPE_INTERRUPT:
        emit->uses_refuse = true;
        (void)fprintf(emit->code, "    interrupt_code = 0x%xu;\n", (unsigned)call->arguments[0]);
        break;
    case TAPE_HOLDINGS:
        emit->uses_balance = true;
        (void)fprintf(emit->code, "    LOOK(%u, \"what core holds\", give_balance());\n",
                      step->idx);
        if (shows_finding(emit, step)) {
            (void)fprintf(emit->code, "    came(\"%zu %zu %zu\");\n", (size_t)call->arguments[0],
                          (size_t)call->arguments[1], (size_t)call->arguments[2]);
        }
        break;
    default:
        fill_write(emit, call);
        break;
    }
}
