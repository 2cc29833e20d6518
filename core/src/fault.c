/* SPDX-License-Identifier: MIT
 *
 * The signal side of exceptions: SIGSEGV and SIGBUS become access violations, and what nobody
 * here takes goes on to the handler that was there before. Everything but the installation runs
 * inside signal handlers: no allocation, no lock. Never an alternate stack: a jump off one costs
 * the sanitizers a hundred times as much. */
#define _GNU_SOURCE /* the names of the registers in ucontext_t */

#include "seh.h"

#include "probe.h"
#include "verifier.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

/* What the processor says about a fault. `kind` is ExceptionInformation[0]. */
struct fault_state {
    uintptr_t instruction;
    ULONG_PTR kind;
};

#if defined(__x86_64__) || defined(__i386__)

#if defined(__x86_64__)
#define REG_INSTRUCTION REG_RIP
#else
#define REG_INSTRUCTION REG_EIP
#endif

#define TRAP_PAGE_FAULT 14
#define PAGE_FAULT_WRITE 0x2u
#define PAGE_FAULT_FETCH 0x10u

/* The error code says what was tried for a page fault only. */
static struct fault_state fault_state_of(const siginfo_t *info, const ucontext_t *context)
{
    const greg_t *regs = context->uc_mcontext.gregs;
    struct fault_state state = {.instruction = (uintptr_t)regs[REG_INSTRUCTION],
                                .kind = EXCEPTION_READ_FAULT};
    unsigned error = regs[REG_TRAPNO] == TRAP_PAGE_FAULT ? (unsigned)regs[REG_ERR] : 0;
    (void)info;
    if ((error & PAGE_FAULT_FETCH) != 0) {
        state.kind = EXCEPTION_EXECUTE_FAULT;
    } else if ((error & PAGE_FAULT_WRITE) != 0) {
        state.kind = EXCEPTION_WRITE_FAULT;
    }
    return state;
}

#elif defined(__aarch64__)

/* No word about reading or writing in the portable part of the context: best effort. */
static struct fault_state fault_state_of(const siginfo_t *info, const ucontext_t *context)
{
    struct fault_state state = {.instruction = (uintptr_t)context->uc_mcontext.pc,
                                .kind = EXCEPTION_READ_FAULT};
    if ((uintptr_t)info->si_addr == state.instruction) {
        state.kind = EXCEPTION_EXECUTE_FAULT;
    }
    return state;
}

#else

static struct fault_state fault_state_of(const siginfo_t *info, const ucontext_t *context)
{
    (void)info;
    (void)context;
    return (struct fault_state){.instruction = 0, .kind = EXCEPTION_READ_FAULT};
}

#endif

static const int fault_signals[] = {SIGSEGV, SIGBUS};
#define SIGNAL_COUNT (sizeof(fault_signals) / sizeof(fault_signals[0]))

/* The actions found in our place. A slot is filled before it is published, and the last slots are
 * used in turn, so that a fault in one thread can read while another installs. Slot 0 keeps the
 * very first. */
#define FOUND_COUNT 4u

struct found {
    struct sigaction action[FOUND_COUNT];
    NTH_ATOMIC(unsigned) claimed_count;
    NTH_ATOMIC(unsigned) latest_idx;
};

static struct found found[SIGNAL_COUNT];

NTH_ATOMIC(unsigned) nth_fault_installed;

/* One arrival at our handler, by signal or by the call of a handler installed over it. */
struct arrival {
    int number;
    siginfo_t *info;
    ucontext_t *context;
};

/* A fault that is being passed on has its context linked to itself. A handler installed over ours
 * that calls us in turn would otherwise never see the end: it gets the very first action instead.
 * The mark goes with its fault: the system writes the context of each anew, with a null link, so
 * that a handler that jumps out leaves none behind. Nothing reads the link of a signal's context.
 */
static BOOLEAN arrival_is_chained(const struct arrival *arrival)
{
    return arrival->context->uc_link == arrival->context;
}

static struct found *found_for(int number)
{
    return number == fault_signals[0] ? &found[0] : &found[1];
}

static BOOLEAN action_is(const struct sigaction *action, void (*plain)(int))
{
    return (action->sa_flags & SA_SIGINFO) == 0 && action->sa_handler == plain;
}

/* Sent by a program (kill, raise), not made by an instruction. */
static BOOLEAN fault_is_sent(const siginfo_t *info)
{
    return info->si_code <= 0;
}

/* The instruction runs again after we return and ends the process; a sent signal is sent again. */
static void fault_default(int number, const siginfo_t *info)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = SIG_DFL;
    (void)sigaction(number, &action, NULL);
    if (fault_is_sent(info)) {
        (void)raise(number);
    }
}

/* With the signals blocked that the handler asked for, so that a fault inside it ends the process
 * as it would without us. */
static void fault_call(const struct sigaction *action, const struct arrival *arrival)
{
    sigset_t mask = action->sa_mask;
    sigset_t before;
    if ((action->sa_flags & SA_NODEFER) == 0) {
        (void)sigaddset(&mask, arrival->number);
    }
    (void)pthread_sigmask(SIG_BLOCK, &mask, &before);
    if ((action->sa_flags & SA_SIGINFO) != 0) {
        action->sa_sigaction(arrival->number, arrival->info, arrival->context);
    } else {
        action->sa_handler(arrival->number);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void fault_pass_on(const struct arrival *arrival)
{
    struct found *place = found_for(arrival->number);
    const BOOLEAN chained = arrival_is_chained(arrival);
    const struct sigaction action =
        place->action[chained ? 0 : nth_load_acquire(&place->latest_idx)];
    if (action_is(&action, SIG_IGN) && fault_is_sent(arrival->info)) {
        return;
    }
    if (action_is(&action, SIG_IGN) || action_is(&action, SIG_DFL)) {
        fault_default(arrival->number, arrival->info);
        return;
    }
    ucontext_t *const link = arrival->context->uc_link;
    arrival->context->uc_link = arrival->context;
    fault_call(&action, arrival);
    arrival->context->uc_link = link;
}

/* The kernel gives no address for one that is not canonical. */
static ULONG_PTR fault_address(const siginfo_t *info)
{
    return info->si_code == SI_KERNEL ? (ULONG_PTR)-1 : (ULONG_PTR)info->si_addr;
}

static void fault_count(const struct fault_state *state, BOOLEAN probing)
{
    BOOLEAN in_call = nth_self.call != NULL;
    if (probing) {
        nth_add(&nth_faults.in_probe, 1);
        return;
    }
    nth_add(in_call ? &nth_faults.in_call : &nth_faults.elsewhere, 1);
    nth_fault_watch watch = nth_load_relaxed(&nth_faults.watch);
    if (watch != NULL) {
        watch((PVOID)state->instruction, in_call); /* NOLINT: an address from a register */
    }
}

/* TRUE: go on at the instruction. Does not return when somebody handles the fault. */
static BOOLEAN fault_dispatch(const siginfo_t *info, ucontext_t *context)
{
    struct fault_state state = fault_state_of(info, context);
    struct nth_frame *frame = nth_self.frame;
    BOOLEAN probing = frame != NULL && frame->kind == NTH_FRAME_PROBE;
    fault_count(&state, probing);
    /* Unblock: the way out may be a jump, and the next fault needs the signal. */
    (void)pthread_sigmask(SIG_SETMASK, &context->uc_sigmask, NULL);
    if (probing) {
        nth_unwind(frame);
    }
    const BOOLEAN asked = frame != NULL || nth_vectored_any();
    if (!asked && !nth_verifying()) {
        return FALSE;
    }
    EXCEPTION_RECORD record = {.ExceptionCode = STATUS_ACCESS_VIOLATION,
                               .ExceptionAddress = (PVOID)state.instruction, /* NOLINT */
                               .NumberParameters = 2,
                               .ExceptionInformation = {state.kind, fault_address(info)}};
    if (nth_verifying()) {
        nth_verified_fault(&record, context, asked);
    }
    return asked && nth_dispatch(&record, context);
}

static void fault_handler(int number, siginfo_t *info, void *context)
{
    const int error = errno;
    const struct arrival arrival = {.number = number, .info = info, .context = context};
    if (arrival_is_chained(&arrival) || fault_is_sent(info) || !fault_dispatch(info, context)) {
        fault_pass_on(&arrival);
    }
    errno = error;
}

static void found_add(struct found *place, const struct sigaction *action)
{
    unsigned claimed = nth_add(&place->claimed_count, 1);
    unsigned idx = claimed == 0 ? 0 : 1 + (claimed - 1) % (FOUND_COUNT - 1);
    place->action[idx] = *action;
    nth_store_release(&place->latest_idx, idx);
}

static void signal_install(size_t idx)
{
    struct sigaction action;
    if (sigaction(fault_signals[idx], NULL, &action) != 0) {
        return;
    }
    if ((action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == fault_handler) {
        return;
    }
    found_add(&found[idx], &action);
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = fault_handler;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    (void)sigaction(fault_signals[idx], &action, NULL);
}

void nth_seh_install(void)
{
    for (size_t idx = 0; idx < SIGNAL_COUNT; idx++) {
        signal_install(idx);
    }
    nth_store_release(&nth_fault_installed, 1);
}
