/* SPDX-License-Identifier: MIT
 *
 * The verifier: watches a program's use of its heaps, module by module. It is off until
 * nth_verifier_start, which a program calls before it makes its first heap; nth_process_reset and
 * nth_seam_set switch it off and forget all of it. `libntheap-malloc.so` starts it when the
 * environment variable NTHEAP_VERIFIER says so (nth_verifier_parse has the grammar).
 *
 * Words used below:
 *   module   an executable or shared object, or a range of addresses that the program declared.
 *   owner    of an allocation: the module of the first stack frame that lies in no pass-through
 *            library (libc, libstdc++, libc++, libgcc_s, the malloc library, core).
 *   stop     something that is wrong: a code, four parameters, the stacks that go with them.
 *   layer    a group of checks that is switched on as one. */
#ifndef NTHEAP_VERIFIER_H
#define NTHEAP_VERIFIER_H

#include <ntheap/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Settings ------------------------------------------------------------------------------- */

/* Layers. */
#define NTH_VERIFY_LEAK 0x01u   /* what a module still owns when it is unloaded */
#define NTH_VERIFY_HEAPS 0x02u  /* misuse of heaps; stamps, fills, the delayed-free queue */
#define NTH_VERIFY_LOCKS 0x04u  /* critical sections */
#define NTH_VERIFY_MEMORY 0x08u /* stack memory freed as heap, executable heaps */
#define NTH_VERIFY_LOWRES 0x10u /* allocations fail at random */
#define NTH_VERIFY_BASICS                                                                          \
    (NTH_VERIFY_LEAK | NTH_VERIFY_HEAPS | NTH_VERIFY_LOCKS | NTH_VERIFY_MEMORY)

/* Page heap: how the heaps layer lays blocks out. */
#define NTH_PAGE_HEAP_LIGHT                                                                        \
    0u /* stamps before the block, a pattern behind it, looked at when freed */
#define NTH_PAGE_HEAP_FULL 1u /* each block ends at a page that cannot be accessed */

/* Options of page heap. */
#define NTH_PAGE_HEAP_BACKWARDS 0x1u /* full: the page that cannot be accessed stands in front */
#define NTH_PAGE_HEAP_UNALIGNED 0x2u /* full: blocks end exactly at the page, aligned or not */
#define NTH_PAGE_HEAP_NO_SYNC 0x4u   /* a heap without a lock may be used by one thread only */
#define NTH_PAGE_HEAP_LEAKS 0x8u     /* no full page heap; nth_verifier_exit tells what is left */

/* Global flags. */
#define FLG_HEAP_ENABLE_TAIL_CHECK 0x00000010u   /* htc */
#define FLG_HEAP_ENABLE_FREE_CHECK 0x00000020u   /* hfc */
#define FLG_HEAP_VALIDATE_PARAMETERS 0x00000040u /* hpc */
#define FLG_HEAP_VALIDATE_ALL 0x00000080u        /* hvc */
#define FLG_APPLICATION_VERIFIER 0x00000100u     /* vrf: the basic layers */
#define FLG_USER_STACK_TRACE_DB 0x00001000u      /* ust: stacks are kept; they always are */
#define FLG_HEAP_DISABLE_COALESCING 0x00200000u  /* dhc */
#define FLG_HEAP_PAGE_ALLOCS 0x02000000u         /* hpa: full page heap */

/* What a stop does (ErrorReport). With none of them the stop is off. */
#define NTH_STOP_ACTIVE 0x001u
#define NTH_STOP_BREAK 0x020u     /* breakpoint, where a debugger is there */
#define NTH_STOP_EXCEPTION 0x040u /* STATUS_VERIFIER_STOP is raised: code and four parameters */
#define NTH_STOP_LOG 0x080u       /* the hook, or the log, hears of it */
#define NTH_STOP_LOG_STACK 0x100u /* with its stacks */
#define NTH_STOP_DEFAULT (NTH_STOP_ACTIVE | NTH_STOP_BREAK | NTH_STOP_LOG | NTH_STOP_LOG_STACK)

#define NTH_SEVERITY_INFORMATION 0x03u
#define NTH_SEVERITY_WARNING 0x0Fu
#define NTH_SEVERITY_ERROR 0x3Fu

#define NTH_FLAVOR_FATAL 0x02u /* the process ends after it */
#define NTH_FLAVOR_ONCE 0x10u  /* told once a run */

/* What low resource simulation may refuse. */
#define NTH_LOWRES_HEAP_ALLOC 0x1u
#define NTH_LOWRES_VIRTUAL_ALLOC 0x2u /* making a heap */

#define NTH_VERIFIER_NAMES_BYTES 256u
#define NTH_VERIFIER_PATH_BYTES 512u
#define NTH_TRACE_DEPTH_MAX 32u
#define NTH_TRACE_DEPTH_DEFAULT 16u
#define NTH_DELAYED_COUNT_DEFAULT 4096u
#define NTH_DELAYED_BYTES_DEFAULT 0x1000000u /* 16 MiB of the program's bytes */
#define NTH_MAPPING_BUDGET_DEFAULT 60000u    /* of the 65,530 a Linux process may have */
#define NTH_LOWRES_PPM_DEFAULT 50000u        /* 5 % */
#define NTH_LOWRES_QUIET_MS_DEFAULT 500u

struct nth_stop;

/* All that can be set. Lists of modules are file names without path, parted by '+'; "*" is all. */
struct nth_verifier_settings {
    ULONG layers;
    ULONG page_heap;         /* NTH_PAGE_HEAP_LIGHT or _FULL */
    ULONG page_heap_options; /* NTH_PAGE_HEAP_BACKWARDS and on */
    SIZE_T full_size_min;    /* full for blocks of these sizes, */
    SIZE_T full_size_max;
    ULONG full_percent;                          /* for so many of a hundred, */
    char full_modules[NTH_VERIFIER_NAMES_BYTES]; /* and for these modules; "" is all */
    ULONG_PTR full_address_low; /* and with a return address in here on the stack; 0 and 0: any */
    ULONG_PTR full_address_high;
    ULONG global_flags;
    SIZE_T delayed_count_max; /* freed blocks held back */
    SIZE_T delayed_bytes_max; /* and bytes in them */
    ULONG mapping_budget;     /* mappings that full page heap may cause */
    ULONG trace_depth;        /* 1 to NTH_TRACE_DEPTH_MAX */
    ULONG lowres_ppm;         /* 0 to 1,000,000 */
    ULONG lowres_quiet_ms;    /* from the start on */
    ULONG lowres_kinds;
    uint64_t seed; /* of low resource simulation and of full_percent */
    char lowres_include[NTH_VERIFIER_NAMES_BYTES];
    char lowres_exclude[NTH_VERIFIER_NAMES_BYTES];
    char pass_through[NTH_VERIFIER_NAMES_BYTES]; /* besides the ones that always are */
    ULONG stop_report;                           /* NTH_STOP_ACTIVE and on, for all stops */
    BOOLEAN exception_on_stop;                   /* an exception in place of a break */
    BOOLEAN auto_disable_stop;         /* the same problem at the same place is told once */
    BOOLEAN plain_log;                 /* the log has a JSON object a line when FALSE */
    char log[NTH_VERIFIER_PATH_BYTES]; /* appended to; "" is standard error, as text */
    /* Called for a stop, with no lock held: it may use the heaps. NULL: the log. */
    void (*stop)(void *context, const struct nth_stop *stop);
    void *stop_context;
    /* Milliseconds, for the quiet time. NULL: the system's monotonic clock. */
    uint64_t (*now_ms)(void *context);
    void *now_context;
};

/** The settings with nothing switched on and every default in place.
 *
 * Units:  as in the structure.
 * Errors: none.
 * Source: [wdk:appverifier], [wdk:gflags]; D89. */
void nth_verifier_defaults(struct nth_verifier_settings *settings);

/** Read settings from text, on top of the defaults. Items are parted by ',', an item's values by
 * ':', names in a list by '+':
 *
 *     leak  heaps  locks  memory  basics
 *     pageheap=light|full[:backwards][:unaligned][:nosync][:leaks][:random=P][:size=A-B]
 *              [:dlls=NAME+NAME][:address=LOW-HIGH][:budget=N]
 *     flags=HEX or abbreviations joined by '+': htc hfc hpc hvc vrf ust dhc hpa
 *     lowres[=PPM[:QUIET-MS[:NAME+NAME]]]   fault[=RATE[:SECONDS]]   (RATE of 10,000)
 *     exclude=NAME+NAME  pass=NAME+NAME  seed=N  delayed=COUNT[:BYTES]  depth=N
 *     exceptions  once  text  log=PATH     (log comes last and takes the rest)
 *
 * Numbers are decimal, or hexadecimal after 0x. Two selectors of full page heap (size, dlls,
 * address, random) do not go together.
 *
 * Units:  as in the structure.
 * Errors: STATUS_INVALID_PARAMETER; `error` (may be NULL when `error_bytes` is 0) gets one line
 *         "character N: expected WHAT, found TEXT". `*settings` is untouched then.
 * Source: [wdk:appverifier] low resource simulation, [wdk:gflags] /p; D89. */
NTSTATUS nth_verifier_parse(const char *text, struct nth_verifier_settings *settings, char *error,
                            SIZE_T error_bytes);

/** Switch the verifier on for this process. Takes hold only where no heap has been made yet.
 *
 * Units:  none.
 * Errors: STATUS_UNSUCCESSFUL when there is a heap already or the verifier is on;
 *         STATUS_INVALID_PARAMETER for settings out of their ranges or without any layer or flag;
 *         STATUS_NO_MEMORY. Nothing is switched on then.
 * Source: [wdk:appverifier] testing applications; D89. */
NTSTATUS nth_verifier_start(const struct nth_verifier_settings *settings);

/** The layers that are on; 0 when the verifier is off. Units: none. Errors: none. Source: D89. */
ULONG nth_verifier_layers(void);

/** The global flags in force; 0 when the verifier is off. Units: none. Errors: none.
 * Source: [obs] A44. */
ULONG RtlGetNtGlobalFlags(void);

/** Change the low resource simulation on the fly: probability, and quiet time from now on.
 *
 * Units:  parts per million; milliseconds.
 * Errors: STATUS_INVALID_PARAMETER for more than 1,000,000; STATUS_UNSUCCESSFUL when the layer is
 *         off.
 * Source: [wdk:appverifier] debugger extension; D103. */
NTSTATUS nth_verifier_lowres(ULONG ppm, ULONG quiet_ms);

/* ---- Stacks --------------------------------------------------------------------------------- */

/* A frame: the return address as an offset from its module's base. */
struct nth_trace_frame {
    ULONG module;     /* number of a module, 0: in none that is known */
    ULONG_PTR offset; /* the address itself where there is no module */
};

/* A stack, innermost frame first: frames[0] called the heap. Valid until the verifier is off. */
struct nth_trace {
    ULONG count;
    BOOLEAN broken; /* could be walked no further than this, though there was more */
    const struct nth_trace_frame *frames;
};

/* A module, loaded or not any more. Valid until the verifier is off. */
struct nth_module_info {
    ULONG number;
    BOOLEAN loaded;
    BOOLEAN pass_through;
    const char *path;        /* as the dynamic linker has it, made absolute */
    const char *name;        /* the file name in it */
    const USHORT *wide_name; /* the same as UTF-16 */
    ULONG_PTR base;
    ULONG_PTR low; /* its addresses: [low, high) */
    ULONG_PTR high;
    SIZE_T live_count; /* allocations it owns, disowned ones left out */
    SIZE_T live_bytes;
};

/** What is known of module `number`, 1 and on, in the order in which they were first seen.
 * Units: bytes. Errors: FALSE when there is none. Source: D90. */
BOOLEAN nth_verifier_module(ULONG number, struct nth_module_info *info);

/** Name a frame: "libfoo.so!function+0x1f", "libfoo.so+0x113f" without a symbol (a stripped
 * library, a file that is gone or is not the one that was loaded), "0x55..." without a module.
 * Works when the module is unloaded. Cut to `text_bytes`, which is at least 1; always ends in NUL.
 *
 * Units:  bytes.
 * Errors: none.
 * Source: D95. */
void nth_verifier_frame_name(const struct nth_trace_frame *frame, char *text, SIZE_T text_bytes);

/* ---- Modules -------------------------------------------------------------------------------- */

/** dlclose, and then a look at what it unmapped: leaks are told before it returns. What
 * libntheap-malloc.so puts in dlclose's place.
 *
 * Units:  none.
 * Errors: as dlclose.
 * Source: D90. */
int nth_verifier_dlclose(void *handle);

/** Look at once for modules that were unloaded in any other way. Every heap call does it too.
 * Units: none. Errors: none. Source: D90. */
void nth_verifier_look(void);

/** Declare a range of code that was loaded by other means; it takes precedence over the object it
 * lies in. `name` is copied.
 *
 * Units:  bytes.
 * Errors: STATUS_INVALID_PARAMETER for an empty or wrapping range, or one that overlaps a declared
 *         one; STATUS_NO_MEMORY; STATUS_UNSUCCESSFUL when the verifier is off.
 * Source: D90. */
NTSTATUS nth_verifier_module_load(const char *name, PVOID base, SIZE_T bytes);

/** The declared range at `base` is unloaded now: leaks are told.
 *
 * Units:  none.
 * Errors: STATUS_INVALID_PARAMETER when none is declared there; STATUS_UNSUCCESSFUL when off.
 * Source: D90. */
NTSTATUS nth_verifier_module_unload(PVOID base);

/* ---- Stops ---------------------------------------------------------------------------------- */

/* Codes; the texts and layers are in <ntheap/stops.def>. */
enum nth_stop_code {
#define NTH_STOP(layer, code, name, text) NTH_STOP_##name = code,
#include <ntheap/stops.def>
#undef NTH_STOP
    NTH_STOP_NONE = 0
};

struct nth_stop {
    ULONG code;
    const char *layer; /* "Heaps" */
    const char *name;  /* "DOUBLE_FREE" */
    const char *text;  /* a sentence */
    ULONG severity;
    ULONG_PTR parameter[4];
    ULONG thread;                      /* the system's number of the thread */
    uint64_t serial;                   /* 1 and on, in the order of the stops */
    const struct nth_trace *trace;     /* where it was noticed; NULL at an unload */
    const struct nth_trace *allocated; /* of the block concerned, or NULL */
    const struct nth_trace *freed;     /* the same */
};

/** How many stops there were, silent and repeated ones left out. Units: none. Errors: none.
 * Source: D94. */
SIZE_T nth_verifier_stop_count(void);

/** Stop `idx`, 0 and on: the first 4,096 are kept. Valid until the verifier is off.
 * Units: none. Errors: NULL when out of range. Source: D94. */
const struct nth_stop *nth_verifier_stop_at(SIZE_T idx);

/** A stop in words, as the log has it: lines of text, or with `json` one JSON object in one line.
 *
 *     heaprig: stop 0x7 Heaps DOUBLE_FREE: a block freed twice
 *         parameters    0x7f5c10000000 0x7f5c10001010 0x64 0
 *         noticed at    #0 program!main+0x5a              (with `stacks`, "module" before it)
 *
 *     {"kind":"stop","code":7,"layer":"Heaps","name":"DOUBLE_FREE","text":"a block freed twice",
 *      "parameters":["0x7f5c10000000","0x7f5c10001010","0x64","0"],"process":9,"thread":9,
 *      "module":"...","noticed":["program!main+0x5a"],"allocated":[...],"freed":[...]}
 *
 * For hooks of one's own. Ends in NUL, and has no room past `text_bytes` (0: `text` may be NULL).
 * What is too long loses frames first, outermost of the last stack first, so that JSON is whole in
 * 4,096 bytes; then its end. `stop` is a hook's, one of nth_verifier_stop_at, or a copy of such,
 * until the verifier is off. With `stacks` it reads the files of modules.
 *
 * Returns the bytes of all of it, the NUL left out: `text_bytes` or more when something was left
 * out.
 *
 * Units:  bytes.
 * Errors: none.
 * Source: D94, D95. */
SIZE_T nth_verifier_stop_text(const struct nth_stop *stop, BOOLEAN json, BOOLEAN stacks, char *text,
                              SIZE_T text_bytes);

/** Set what the stop with this layer and name does: report bits (0 switches it off), flavor bits.
 *
 * Units:  none.
 * Errors: STATUS_INVALID_PARAMETER when there is no such stop, or for unknown bits;
 *         STATUS_UNSUCCESSFUL when the verifier is off.
 * Source: [wdk:appverifier] testing applications; D94. */
NTSTATUS nth_verifier_stop_set(const char *layer, const char *name, ULONG report, ULONG flavor);

/* ---- Looking at what is there --------------------------------------------------------------- */

/* Sums since the verifier was switched on. */
struct nth_verifier_summary {
    uint64_t allocation_count; /* served */
    uint64_t free_count;       /* reallocations that moved a block by hand count as one */
    uint64_t stop_count;
    uint64_t silenced_count; /* stops that were off, or told before */
    uint64_t leak_count;     /* of the stops: 0x900 */
    uint64_t unload_count;   /* modules */
    uint64_t disown_count;
    uint64_t refused_count; /* by low resource simulation */
    uint64_t full_count;    /* blocks of full page heap */
    uint64_t light_count;   /* blocks that full page heap left to light, for lack of mappings */
    uint64_t broken_count;  /* stacks that could not be walked */
    SIZE_T live_count;
    SIZE_T live_bytes;
    SIZE_T held_count; /* in the delayed-free queue */
    SIZE_T held_bytes;
    SIZE_T own_bytes; /* committed for the verifier's own tables */
};

/** Units: bytes. Errors: all zero when the verifier is off. Source: D94. */
void nth_verifier_summary(struct nth_verifier_summary *summary);

enum nth_allocation_state { NTH_ALLOCATION_LIVE = 1, NTH_ALLOCATION_HELD = 2 };

/* A tracked allocation. */
struct nth_allocation {
    HANDLE heap;
    PVOID user;
    SIZE_T user_bytes;
    PVOID real; /* with all that was put around it */
    SIZE_T real_bytes;
    enum nth_allocation_state state;
    BOOLEAN full; /* of full page heap */
    BOOLEAN disowned;
    ULONG owner; /* number of a module; 0: none is known, or it is gone */
    uint64_t serial;
    const struct nth_trace *allocated; /* stack of the last operation: this one, */
    const struct nth_trace *freed;     /* or this one when it is held */
};

/** Visit the allocations of a heap (NULL: all heaps) that are in use or held back, as of now, in
 * order of their making. `visit` returns FALSE to stop; it runs unlocked and may use the heaps;
 * what is allocated meanwhile may be left out. Returns the number visited.
 *
 * Units:  bytes.
 * Errors: 0 when the verifier is off.
 * Source: [sdk:verifierenumerateresource]; D104. */
SIZE_T nth_verifier_enumerate(HANDLE heap,
                              BOOLEAN (*visit)(void *context, const struct nth_allocation *block),
                              void *context);

enum nth_operation_kind { NTH_OPERATION_ALLOCATE, NTH_OPERATION_REALLOCATE, NTH_OPERATION_FREE };

/* An operation of the log. */
struct nth_operation {
    enum nth_operation_kind kind;
    ULONG thread;
    HANDLE heap;
    PVOID address; /* what was handed out, or freed */
    SIZE_T bytes;
    const struct nth_trace *trace;
};

/** The operations of the log that concern `address`, newest first: allocations that cover it, frees
 * of exactly it; NULL: all. The last 1,024 operations are kept. `visit` returns FALSE to stop; it
 * runs with no lock held.
 *
 * Units:  bytes.
 * Errors: 0 when the verifier is off.
 * Source: [wdk:appverifier] debugging stops; D104. */
SIZE_T nth_verifier_operations(PVOID address,
                               BOOLEAN (*visit)(void *context, const struct nth_operation *one),
                               void *context);

/** Does the verifier know a block, in use or held back, at exactly this address? FALSE when it is
 * off. Units: none. Errors: none. Source: D104. */
BOOLEAN nth_verifier_knows(LPCVOID block);

/** Write the summary to the log, and with NTH_PAGE_HEAP_LEAKS what is still allocated. Does nothing
 * when the verifier is off. Units: none. Errors: none. Source: D94, D102. */
void nth_verifier_exit(void);

#ifdef __cplusplus
}
#endif
#endif
