/* SPDX-License-Identifier: MIT
 *
 * Confirming findings, and the finding `hang`. What runs in a signal handler calls only what may be
 * called there. */
#include "cli/confirm.h"

#include "cli/cli.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define HANG_BUDGET_FACTOR 10u
#define NOT_RUN 127 /* exit status of a process that could not begin */

/* ---- Text without stdio --------------------------------------------------------------------- */

struct text {
    char *out;
    size_t len;
    size_t room;
};

static void put(struct text *text, const char *word)
{
    while (*word != '\0' && text->len + 1 < text->room) {
        text->out[text->len++] = *word++;
    }
    text->out[text->len] = '\0';
}

static void put_number(struct text *text, unsigned long number)
{
    char digits[24];
    size_t at = sizeof(digits) - 1;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    put(text, digits + at);
}

static void write_all(int descriptor, const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        const ssize_t written = write(descriptor, text, left);
        if (written <= 0) {
            return;
        }
        text += written;
        left -= (size_t)written;
    }
}

/* ---- The fresh process ---------------------------------------------------------------------- */

static _Noreturn void child(const struct rig_confirm *confirm, bool hang, int out)
{
    char every[24];
    char timeout[24];
    struct text every_text = {every, 0, sizeof(every)};
    struct text timeout_text = {timeout, 0, sizeof(timeout)};
    const int input = fileno(confirm->input->file);
    sigset_t none;
    put_number(&every_text, confirm->check_every);
    put_number(&timeout_text, confirm->timeout_s * (hang ? HANG_BUDGET_FACTOR : 1));
    const char *const arguments[] = {
        "heaprig",
        "run",
        "--confirm",
        "--subject",
        confirm->subject,
        "--check-every",
        every,
        "--timeout",
        timeout,
        "--plan",
        confirm->plan == NULL ? "none" : confirm->plan,
        "-",
        NULL,
        NULL,
    };
    char *argv[sizeof(arguments) / sizeof(arguments[0])] = {NULL};
    for (size_t idx = 0; arguments[idx] != NULL; idx++) {
        argv[idx] = (char *)(uintptr_t)arguments[idx];
    }
    if (confirm->input->form == RIG_LOAD_TEXT) {
        static char text[] = "--text";
        argv[12] = text;
    }
    (void)sigemptyset(&none); /* a handler's own signal is blocked in it */
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (lseek(input, 0, SEEK_SET) == 0 && dup2(input, 0) == 0 && dup2(out, 1) == 1) {
        (void)execv("/proc/self/exe", argv);
    }
    _exit(NOT_RUN);
}

static void read_line(int from, char line[RIG_CONFIRM_LINE_BYTES])
{
    size_t len = 0;
    ssize_t got = 0;
    while (len + 1 < RIG_CONFIRM_LINE_BYTES &&
           (got = read(from, line + len, RIG_CONFIRM_LINE_BYTES - 1 - len)) > 0) {
        len += (size_t)got;
    }
    line[len] = '\0';
    line[strcspn(line, "\n")] = '\0';
}

void rig_confirm_run(const struct rig_confirm *confirm, bool hang,
                     char line[RIG_CONFIRM_LINE_BYTES])
{
    int ends[2];
    int status = 0;
    struct text text = {line, 0, RIG_CONFIRM_LINE_BYTES};
    line[0] = '\0';
    if (pipe(ends) != 0) {
        put(&text, "could not be run");
        return;
    }
    const pid_t pid = fork();
    if (pid == 0) {
        (void)close(ends[0]);
        child(confirm, hang, ends[1]);
    }
    (void)close(ends[1]);
    read_line(ends[0], line);
    (void)close(ends[0]);
    const bool ended = pid > 0 && waitpid(pid, &status, 0) == pid;
    text.len = strlen(line);
    if (ended && WIFSIGNALED(status)) {
        text.len = 0;
        put(&text, "killed by signal ");
        put_number(&text, (unsigned long)WTERMSIG(status));
    } else if (!ended || (text.len == 0 && WEXITSTATUS(status) == NOT_RUN)) {
        text.len = 0;
        put(&text, "could not be run");
    } else if (text.len == 0) {
        put(&text, "exit status ");
        put_number(&text, (unsigned long)WEXITSTATUS(status));
    }
}

void rig_confirm_program(const struct rig_cli_how *how, const struct rig_program *program,
                         bool hang, char line[RIG_CONFIRM_LINE_BYTES])
{
    uint8_t bytes[RIG_PROGRAM_BYTES_MAX];
    struct rig_input input = {.path = "-", .name = "a program", .form = RIG_LOAD_BINARY};
    const struct rig_confirm confirm = {
        .subject = how->subject->name,
        .check_every = how->check_every,
        .timeout_s = how->timeout_s,
        .input = &input,
    };
    const size_t len = rig_program_encode(program, bytes);
    input.file = tmpfile();
    if (input.file == NULL || fwrite(bytes, 1, len, input.file) != len || fflush(input.file) != 0) {
        (void)snprintf(line, RIG_CONFIRM_LINE_BYTES, "could not be run");
    } else {
        rig_confirm_run(&confirm, hang, line);
    }
    if (input.file != NULL) {
        (void)fclose(input.file);
    }
}

/* ---- The limit ------------------------------------------------------------------------------ */

static struct {
    const struct rig_confirm *confirm;
    char *name; /* of the input, as JSON */
    bool plain;
    bool json;
    const char *volatile call;
    volatile uint32_t step_idx;
} limit;

static void tell_hang(struct text *text, const char *call, bool reproduced)
{
    if (limit.json) {
        put(text, "{\"finding\":{\"file\":");
        put(text, limit.name);
        put(text, ",\"rule\":\"hang\",\"step\":");
        put_number(text, limit.step_idx);
        put(text, ",\"call\":\"");
        put(text, call);
        put(text, "\",\"reproduced\":");
        put(text, reproduced ? "true}}\n" : "false}}\n");
        return;
    }
    put(text, "FINDING hang: a call ends\n  file ");
    put(text, limit.name);
    put(text, ", step ");
    put_number(text, limit.step_idx);
    put(text, ": ");
    put(text, call);
    put(text, " had not ended after ");
    put_number(text, limit.confirm->timeout_s);
    put(text, " seconds of CPU time\n  a fresh process with ten times as long ");
    put(text, reproduced ? "did not end either: reproduced\n" : "ended: not reproduced\n");
}

static void time_is_up(int signal)
{
    static char out[8192];
    struct text text = {out, 0, sizeof(out)};
    const char *call = limit.call;
    (void)signal;
    rig_timeout_stop();
    if (call != NULL) {
        (void)fflush(stdout); /* the subject does not use stdio */
    }
    if (limit.plain) {
        put(&text, "hang ");
        put_number(&text, limit.step_idx);
        put(&text, "\n");
    } else {
        char line[RIG_CONFIRM_LINE_BYTES];
        rig_confirm_run(limit.confirm, true, line);
        tell_hang(&text, call != NULL ? call : "the rig", strncmp(line, "hang ", 5) == 0);
    }
    write_all(STDOUT_FILENO, out);
    _exit(RIG_EXIT_FINDING);
}

static void set(unsigned long seconds)
{
    const struct itimerval timer = {.it_value = {.tv_sec = (time_t)seconds}};
    (void)setitimer(ITIMER_PROF, &timer, NULL);
}

void rig_timeout_start(const struct rig_confirm *confirm, bool plain, bool json)
{
    struct sigaction action = {.sa_handler = time_is_up};
    cJSON *name = cJSON_CreateString(confirm->input->name);
    cJSON_free(limit.name);
    limit.confirm = confirm;
    limit.plain = plain;
    limit.json = json;
    limit.call = NULL;
    limit.name = cJSON_PrintUnformatted(name);
    cJSON_Delete(name);
    if (limit.name == NULL) {
        rig_cli_refuse("heaprig run", "%s: expected memory for its name", confirm->input->name);
    }
    (void)sigaction(SIGPROF, &action, NULL);
    set(confirm->timeout_s);
}

void rig_timeout_stop(void)
{
    set(0);
}

void rig_timeout_at(const char *call, uint32_t step_idx)
{
    limit.step_idx = step_idx;
    limit.call = call;
}
