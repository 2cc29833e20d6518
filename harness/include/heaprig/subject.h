/* SPDX-License-Identifier: MIT
 *
 * Bring your own heap. A subject is one table of functions: the heap calls under their documented
 * names and prototypes, so that a table is filled with `.HeapAlloc = HeapAlloc`, and a few
 * services that the rig needs around them. A call that the heap does not offer is NULL: its
 * operations are left out. harness/README.md leads through making one.
 *
 * The rig calls from two threads (where tell_waits is there), never from both at once, save that
 * one may wait for a lock inside a call while the other goes on. Nothing here is called while
 * another call of the same table is running in the same thread, save from a filter, a CommitRoutine
 * or an enumeration routine. */
#ifndef HEAPRIG_SUBJECT_H
#define HEAPRIG_SUBJECT_H

#include <heaprig/nt.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef _WIN32
#define RIG_NTAPI
#else
#define RIG_NTAPI NTAPI
#endif

/** Which promises a subject is held to. Clauses carry a level; those of the levels a subject claims
 * are judged, others are left out. */
enum rig_claim {
    RIG_CLAIM_BASIC = 1u, /* what any malloc promises: alignment, contents, zeroing, no overlap,
                             a failure that changes nothing. Not claimed: no clause at all */
    RIG_CLAIM_DOCUMENTED = 2u, /* the documents: binds every NT heap */
    RIG_CLAIM_RULINGS = 4u /* core/SOURCES.md: exactly one outcome where documents leave several */
};

/** What the subject noticed by itself and told through its own channel: core's report hook. */
struct rig_report {
    const char *reason; /* "DOUBLE_FREE", static */
    HANDLE heap;
    PVOID block;
    const char *field; /* static, or NULL */
    const char *call;  /* "RtlFreeHeap", static */
};

/** One piece of metadata, as the subject describes itself to faults. */
struct rig_field {
    const char *name; /* "block.header", static, the same in every run */
    unsigned kind;    /* of the subject's own numbering */
    PVOID address;
    size_t bytes;
    PVOID block; /* user address of the block it belongs to, or NULL */
};

struct fault_plan; /* <faults/plan.h> */

/** What it holds from the system. */
struct rig_holdings {
    size_t reserved_bytes;
    size_t committed_bytes;
    size_t reservation_count;
};

/** Refusals of the system's memory. */
struct rig_refusals {
    const char *site;      /* where the last one was met, static; NULL: there was none */
    const char *call;      /* what was refused there: "commit" */
    uint64_t kept_count;   /* of all: what was to be given back and was not taken */
    uint64_t lie_count;    /* calls that did not do what they said */
    uint64_t over_count;   /* refusals by the plan laid over the run */
    uint64_t call_count;   /* calls that could have been refused */
    uint64_t commit_bytes; /* committed since the reset, those given back since among them */

    /* Of the run that the last reset ended, with that reset: */
    uint64_t last_call_count;
    uint64_t last_over_count; /* refusals by the plan laid over it */
    uint64_t last_digest;     /* of the sequence of calls */
    uint64_t last_commit_bytes;
};

/** A stop of the subject's verifier. */
struct rig_stop {
    unsigned code;
    const char *layer; /* "Heaps", static */
    const char *name;  /* "DOUBLE_FREE", static */
    unsigned severity;
    uintptr_t parameter[4];
    unsigned thread;
    bool noticed;      /* there is a stack of where it was noticed, */
    bool allocated;    /* one of the block's allocation, */
    bool freed;        /* and one of its freeing */
    bool stack_second; /* the second parameter is the stack of the allocation */
    char module[16];   /* the third one as text, where it is a module's name */
    char owner[16];    /* module of the innermost frame of the allocation's stack */
};

/** Sums of the subject's verifier since it was switched on. */
struct rig_verified {
    uint64_t layers; /* that are on: 1 leak, 2 heaps, 4 locks, 8 memory, 16 low resources */
    uint64_t stops;
    uint64_t silenced;
    uint64_t leaks;
    uint64_t unloads;
    uint64_t disowned;
    uint64_t refused; /* by low resource simulation */
    uint64_t full;    /* blocks of full page heap */
    uint64_t light;   /* left to light for lack of mappings */
    size_t live_count;
    size_t live_bytes;
    size_t held_count;
    size_t held_bytes;
};

/** An allocation that it knows. */
struct rig_allocation {
    HANDLE heap;
    uintptr_t user;
    size_t user_bytes;
    uintptr_t real;
    size_t real_bytes;
    bool held; /* freed and held back */
    bool full;
    bool disowned;
    char owner[16];   /* name of the module, "" when it has none */
    char made_in[16]; /* module of the innermost frame of its last operation */
    bool is_program;  /* the owner is the program's own file */
};

/** An operation of its log. */
struct rig_logged {
    unsigned kind; /* 0 allocate, 1 reallocate, 2 free */
    HANDLE heap;
    uintptr_t address;
    size_t bytes;
    bool stack; /* there is one */
};

/** A vectored handler, as AddVectoredExceptionHandler takes it. */
typedef LONG(RIG_NTAPI *RIG_VECTORED_HANDLER)(EXCEPTION_POINTERS *info);

/** A filter: answers EXCEPTION_EXECUTE_HANDLER (1), _CONTINUE_SEARCH (0), _CONTINUE_EXECUTION (-1).
 */
typedef LONG(RIG_NTAPI *rig_filter)(EXCEPTION_POINTERS *info, void *context);

struct rig_subject {
    const char *name;
    unsigned claims; /* OR of enum rig_claim */

    /* ---- Services. All optional but guard and reset. ---- */

    /** Run body(context); TRUE when it returned, FALSE with *record filled when an exception left
     * it. A fault outside the subject's own calls must not be caught. A heap without exceptions
     * just calls body and returns TRUE: its faults end the process. */
    BOOLEAN (*guard)(void (*body)(void *context), void *context, EXCEPTION_RECORD *record);

    /** The same with a filter that is asked before anything is unwound. NULL: programs' filters are
     * left out. */
    BOOLEAN (*guard_filter)
    (void (*body)(void *context), void *context, rig_filter filter, void *filter_context,
     EXCEPTION_RECORD *record);

    /** Forget everything: all heaps, last error, handlers. Called before each program with a number
     * that decides whatever the subject would draw at random. */
    void (*reset)(uint32_t seed);

    /** How often the system's memory was refused to the subject since reset. NULL: not known, then
     * a failure for lack of memory is believed. */
    uint64_t (*refusals)(void);

    /** Grant at most `pages` more committed pages from now on (SIZE_MAX: no limit but the
     * subject's own). NULL: memory cannot be limited. */
    void (*budget)(size_t pages);

    /** Refuse or lie by this plan from now on; NULL: no more. NULL service: plans are skipped. */
    void (*plan)(const struct fault_plan *plan);

    /** Visit every run of memory that the subject has committed, lowest first. NULL: not known, and
     * memory cannot be accounted for. */
    void (*committed)(void (*visit)(void *context, PVOID base, size_t bytes), void *context);

    /** The same beside the program's own plan, for whoever runs the program: counted from now on,
     * and through the next reset as well. NULL: programs cannot be swept. */
    void (*plan_over)(const struct fault_plan *plan);

    /** The call ("HeapAlloc", static) that is made next: paths are told apart by it. */
    void (*calling)(const char *call);

    /** A CommitRoutine of the program is asked: TRUE when a plan has it refuse. */
    BOOLEAN (*routine_refused)(void);

    /** More about refusals since reset. NULL: not known. */
    void (*refused)(struct rig_refusals *refusals);

    /** What the system says that the subject holds: the other side of `holdings`. NULL: not known.
     */
    struct rig_holdings (*granted)(void);

    /** Number of locks that are held now. NULL: not known. */
    size_t (*locks_held)(void);

    /** Visit every piece of metadata of a heap in a fixed order; `visit` answers FALSE to stop. The
     * NULL heap: what belongs to all of them. Names of committed bytes that mean nothing end in
     * ".spare". Returns the number visited. NULL: damage to metadata is skipped. */
    size_t (*fields)(HANDLE heap, BOOLEAN (*visit)(void *context, const struct rig_field *field),
                     void *context);

    /** Write or read one mapped byte, past any sanitizer. NULL: damage is skipped. */
    void (*poke)(PVOID address, uint8_t value);
    uint8_t (*peek)(LPCVOID address);

    /** Read or write the value of a sealed word of a heap's metadata, as somebody would who has its
     * keys; FALSE where there is none, or a damaged one. NULL: words have no seals, or nobody can
     * make them, and forgeries are skipped. */
    BOOLEAN (*sealed_get)(HANDLE heap, LPCVOID address, uint64_t *value);
    BOOLEAN (*sealed_put)(HANDLE heap, PVOID address, uint64_t value);

    /** Leave the next call that asks for pages by raising `code` out of the middle of it; 0: no
     * more. NULL: calls are not interrupted. */
    void (*interrupt)(DWORD code);

    /** The status with which the subject asked for the end of the process since reset, 0 when it
     * did not: it raised that status in place of ending. NULL: what would end the process is
     * skipped. */
    NTSTATUS (*ended)(void);

    /** What the subject holds from the system now. NULL: not known. */
    struct rig_holdings (*holdings)(void);

    /** Number of reports since reset, the last one in *last. NULL: it makes none. */
    uint64_t (*reports)(struct rig_report *last);

    /** The last report, and an exception (asked for in its filter), in words: at most `bytes` of
     * them, a NUL among them. The answer is the bytes of all that there is to say, as snprintf's.
     * NULL: it has no words. */
    size_t (*report_text)(char *text, size_t bytes);
    size_t (*exception_text)(const EXCEPTION_RECORD *record, char *text, size_t bytes);

    /** Have `wait` called, in the waiting thread, whenever a call is about to wait for a lock that
     * another thread holds. NULL: programs' second thread is left out. */
    void (*tell_waits)(void (*wait)(void));

    /** An address in a form that is the same in every process: offset from the memory the subject
     * works in. NULL: addresses are left out of transcripts. */
    uintptr_t (*offset)(const void *address);

    /* ---- The verifier. NULL `verify`: programs that want one are run without. ---- */

    /** Switch it on with settings in its own grammar; right after reset, before any call. FALSE
     * when it does not take hold. */
    BOOLEAN (*verify)(const char *settings);

    /** A stretch of code is a module from now on, until it is unloaded. */
    NTSTATUS (*module_load)(const char *name, PVOID base, size_t bytes);
    NTSTATUS (*module_unload)(PVOID base);

    /** dlclose, and a look at what it unmapped. */
    int (*module_close)(void *handle);

    /** Stop number `idx` since it was switched on, when there is one; the answer is their number.
     */
    size_t (*stops)(size_t idx, struct rig_stop *stop);

    /** The same in words, as report_text: as lines or as a JSON object, with its stacks or without.
     * 0: it is not remembered. */
    size_t (*stop_text)(size_t idx, bool json, bool stacks, char *text, size_t bytes);

    /** What it sums up. */
    void (*verified)(struct rig_verified *sums);

    /** Visit allocations in use or held back, of a heap or (NULL) all, in order of their making. */
    size_t (*allocations)(HANDLE heap,
                          BOOLEAN (*visit)(void *context, const struct rig_allocation *one),
                          void *context);

    /** Is there one at exactly this address? NULL: not to be asked. */
    BOOLEAN (*knows)(LPCVOID address);

    /** Visit the log, newest first: what concerns `address`. */
    size_t (*logged)(PVOID address, BOOLEAN (*visit)(void *context, const struct rig_logged *one),
                     void *context);

    /** Another probability and quiet time; so many milliseconds pass. */
    NTSTATUS (*lowres)(ULONG ppm, ULONG quiet_ms);
    void (*clock)(uint64_t ms);

    /** What a stop does: report bits and flavor bits as documented. */
    NTSTATUS (*stop_set)(const char *layer, const char *name, ULONG report, ULONG flavor);

    /** What it would tell at the end of the process. */
    void (*verify_end)(void);

    /** And what that was, as report_text; 0: not known. */
    size_t (*end_text)(char *text, size_t bytes);

    /** The global flags in force. */
    ULONG (*global_flags)(void);

    /* ---- The calls, as documented ---- */
#define RIG_CALL(result, name, arguments) result(RIG_NTAPI *name) arguments;
#include <heaprig/calls.def>
};

/** The subjects that ship. On Windows `ntdll` is the system's heap; elsewhere `core` is ntheap;
 * `malloc` the C library's or sanitizer's malloc family behind HeapAlloc, HeapReAlloc and HeapFree
 * of one heap. Units: none. Errors: none. */
const struct rig_subject *rig_subject_core(void);
const struct rig_subject *rig_subject_ntdll(void);
const struct rig_subject *rig_subject_malloc(void);

/** `core` on memory that stays accessible whether or not it is committed, where no sanitizer guards
 * it: many runs a second. For the whole process, before the first run. Units: none. Errors:
 * asserted. */
const struct rig_subject *rig_subject_core_open(void);

/** A shipped subject by name, or NULL. Units: none. Errors: as said. */
const struct rig_subject *rig_subject_find(const char *name);

/** Shipped subject number `idx`, from 0, the default one; NULL past the last. Units: none.
 * Errors: as said. */
const struct rig_subject *rig_subject_at(size_t idx);

#ifdef __cplusplus
}
#endif
#endif
