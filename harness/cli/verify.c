/* SPDX-License-Identifier: MIT
 *
 * heaprig verify: run a program under core's malloc library with the verifier on, then tell each
 * stop with its stacks, and the sums. The library writes a log, an object a line; every process
 * that comes of the command appends to it. Calls core's reader of settings and the system. */
#include "cli/cli.h"
#include "cli/preloaded.h"

#include <ntheap/verifier.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEXT_BYTES ((size_t)2048)

struct options {
    const char *command_name; /* argv[0] */
    char text[TEXT_BYTES];    /* settings, as NTHEAP_VERIFIER has them */
    bool json;
    const char *out; /* -o */
    char **command;
};

/* What all processes together say at their ends. */
struct sums {
    size_t process_count;
    size_t stop_count;
    double leaks;
    double allocations;
    double refused;
    double full;
    double light;
    double unwalked;
    double unloads;
    double disowned;
};

static int fail(const char *what, const char *why)
{
    (void)fprintf(stderr, "heaprig verify: %s: %s\n", what, why);
    return RIG_EXIT_REFUSED;
}

/* ---- Settings ------------------------------------------------------------------------------- */

/* One more item, `name` alone or name=value. What is wrong with it is told by the option's name. */
static void item_add(struct options *options, const char *option, const char *name,
                     const char *value)
{
    struct nth_verifier_settings settings;
    char item[TEXT_BYTES];
    char alone[TEXT_BYTES + 8];
    char error[256];
    const bool valued = value != NULL;
    const int len =
        snprintf(item, sizeof(item), "%s%s%s", name, valued ? "=" : "", valued ? value : "");
    (void)snprintf(alone, sizeof(alone), "leak,%s", item);
    const size_t room = sizeof(options->text) - strlen(options->text);
    if (len < 0 || (size_t)len + 8u >= room) {
        rig_cli_refuse(options->command_name, "%s: expected shorter settings", option);
    }
    if (!NT_SUCCESS(nth_verifier_parse(alone, &settings, error, sizeof(error)))) {
        unsigned long at = strtoul(error + strlen("character "), NULL, 10);
        const unsigned long before = strlen("leak,") + strlen(name) + valued;
        at = at > before ? at - before : 1;
        const char *what = strchr(error, ':');
        rig_cli_refuse(options->command_name, "%s: character %lu%s", option, at,
                       what != NULL ? what : error);
    }
    (void)snprintf(options->text + strlen(options->text), room, "%s%s",
                   options->text[0] != '\0' ? "," : "", item);
}

/* --lowres PPM[,quiet-ms[,module...]]: the first two commas become colons, the others plus signs.
 */
static void lowres_add(struct options *options, const char *value)
{
    char text[TEXT_BYTES];
    unsigned commas = 0;
    (void)snprintf(text, sizeof(text), "%s", value);
    for (char *at = text; *at != '\0'; at++) {
        if (*at == ',') {
            *at = commas++ < 2 ? ':' : '+';
        }
    }
    item_add(options, "--lowres", "lowres", text);
}

/* ---- Running -------------------------------------------------------------------------------- */

/* 0 and the program's status when it ran. */
static int command_run(const struct options *options, const char *library, const char *log,
                       int *status)
{
    char settings[TEXT_BYTES + RIG_PATH_BYTES];
    const struct rig_preloaded what = {
        .teller = "verify",
        .command = options->command,
        .shared = library,
        .variable = "NTHEAP_VERIFIER",
        .value = settings,
    };
    (void)snprintf(settings, sizeof(settings), "%s,log=%s", options->text, log);
    return rig_preloaded_run(&what, status);
}

/* ---- Telling -------------------------------------------------------------------------------- */

static const char *text_of(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(object, name));
    return text != NULL ? text : "";
}

static double number_of(const cJSON *object, const char *name)
{
    const cJSON *number = cJSON_GetObjectItem(object, name);
    return cJSON_IsNumber(number) ? number->valuedouble : 0;
}

static void frames_tell(FILE *to, const cJSON *object, const char *name, const char *title)
{
    unsigned number = 0;
    const cJSON *frame = NULL;
    cJSON_ArrayForEach(frame, cJSON_GetObjectItem(object, name))
    {
        (void)fprintf(to, "    %-13s #%u %s\n", number == 0 ? title : "", number,
                      cJSON_GetStringValue(frame));
        number++;
    }
}

static void stop_tell(FILE *to, const cJSON *stop)
{
    const bool left = strcmp(text_of(stop, "kind"), "left") == 0;
    const cJSON *parameter = NULL;
    if (left) {
        (void)fprintf(to, "still allocated at the end: %s, %.0f bytes\n", text_of(stop, "address"),
                      number_of(stop, "bytes"));
    } else {
        (void)fprintf(to, "stop 0x%X %s %s: %s\n    parameters   ",
                      (unsigned)number_of(stop, "code"), text_of(stop, "layer"),
                      text_of(stop, "name"), text_of(stop, "text"));
        cJSON_ArrayForEach(parameter, cJSON_GetObjectItem(stop, "parameters"))
        {
            (void)fprintf(to, " %s", cJSON_GetStringValue(parameter));
        }
        (void)fprintf(to, "\n");
    }
    if (cJSON_HasObjectItem(stop, "module")) {
        (void)fprintf(to, "    module        %s\n", text_of(stop, "module"));
    }
    frames_tell(to, stop, "noticed", "noticed at");
    frames_tell(to, stop, "allocated", "allocated at");
    frames_tell(to, stop, "freed", "freed at");
}

static void sums_add(struct sums *sums, const cJSON *summary)
{
    sums->process_count++;
    sums->leaks += number_of(summary, "leaks");
    sums->allocations += number_of(summary, "allocations");
    sums->refused += number_of(summary, "refused");
    sums->full += number_of(summary, "full");
    sums->light += number_of(summary, "light_for_lack");
    sums->unwalked += number_of(summary, "unwalked");
    sums->unloads += number_of(summary, "unloads");
    sums->disowned += number_of(summary, "disowned");
}

static void sums_tell(const struct options *options, FILE *to, const struct sums *sums, int status)
{
    const bool killed = WIFSIGNALED(status);
    if (!options->json) {
        (void)fprintf(to,
                      "%s: %s %d; %zu stops (%.0f leaks), %.0f allocations, %.0f modules unloaded, "
                      "%.0f disowned, %.0f refused, %.0f full blocks, %.0f light for lack of "
                      "mappings, %.0f stacks not walked; %zu processes told their sums\n",
                      options->command[0], killed ? "killed by signal" : "exit status",
                      killed ? WTERMSIG(status) : WEXITSTATUS(status), sums->stop_count,
                      sums->leaks, sums->allocations, sums->unloads, sums->disowned, sums->refused,
                      sums->full, sums->light, sums->unwalked, sums->process_count);
        return;
    }
    cJSON *object = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(object, "kind", "verified");
    (void)cJSON_AddStringToObject(object, "command", options->command[0]);
    (void)cJSON_AddNumberToObject(object, killed ? "signal" : "status",
                                  killed ? WTERMSIG(status) : WEXITSTATUS(status));
    (void)cJSON_AddNumberToObject(object, "stops", (double)sums->stop_count);
    (void)cJSON_AddNumberToObject(object, "leaks", sums->leaks);
    (void)cJSON_AddNumberToObject(object, "allocations", sums->allocations);
    (void)cJSON_AddNumberToObject(object, "unloads", sums->unloads);
    (void)cJSON_AddNumberToObject(object, "disowned", sums->disowned);
    (void)cJSON_AddNumberToObject(object, "refused", sums->refused);
    (void)cJSON_AddNumberToObject(object, "full", sums->full);
    (void)cJSON_AddNumberToObject(object, "light_for_lack", sums->light);
    (void)cJSON_AddNumberToObject(object, "unwalked", sums->unwalked);
    (void)cJSON_AddNumberToObject(object, "processes", (double)sums->process_count);
    char *text = cJSON_PrintUnformatted(object);
    (void)fprintf(to, "%s\n", text != NULL ? text : "{}");
    cJSON_free(text);
    cJSON_Delete(object);
}

/* Every line of the log. One that cannot be read is of a process that ended in its middle. */
static void log_tell(const struct options *options, FILE *log, FILE *to, struct sums *sums)
{
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, log) > 0) {
        cJSON *object = cJSON_Parse(line);
        const char *kind = text_of(object, "kind");
        if (object == NULL) {
            (void)fprintf(stderr, "heaprig verify: a line of the log was cut short\n");
        } else if (strcmp(kind, "summary") == 0) {
            sums_add(sums, object);
        } else {
            sums->stop_count += strcmp(kind, "stop") == 0;
            if (options->json) {
                (void)fputs(line, to);
            } else {
                stop_tell(to, object);
            }
        }
        cJSON_Delete(object);
    }
    free(line);
}

static int verify(const struct options *options)
{
    char library[RIG_PATH_BYTES];
    char folder[] = "/tmp/heaprig-verify-XXXXXX";
    char log_path[sizeof(folder) + 8];
    struct sums sums = {0};
    int status = 0;
    if (!rig_preloaded_find("libntheap-malloc.so", library)) {
        return fail("../lib/libntheap-malloc.so", "expected the library there; it comes with a "
                                                  "64-bit build without sanitizers");
    }
    if (strpbrk(library, " :") != NULL) {
        return fail(library, "expected a path without blanks and colons");
    }
    FILE *to = options->json ? stdout : stderr;
    if (options->out != NULL) {
        to = fopen(options->out, "w");
        if (to == NULL) {
            return fail(options->out, strerror(errno));
        }
    }
    if (mkdtemp(folder) == NULL) {
        return fail(folder, strerror(errno));
    }
    (void)snprintf(log_path, sizeof(log_path), "%s/log", folder);
    int result = command_run(options, library, log_path, &status);
    FILE *log = result == 0 ? fopen(log_path, "r") : NULL;
    if (log != NULL) {
        log_tell(options, log, to, &sums);
        (void)fclose(log);
    }
    if (result == 0 && log == NULL) {
        result = fail(options->command[0], "nothing was verified: expected a program that loads "
                                           "shared libraries and uses their malloc");
    } else if (result == 0) {
        sums_tell(options, to, &sums, status);
        result = sums.stop_count > 0   ? RIG_EXIT_FINDING
                 : WIFSIGNALED(status) ? 128 + WTERMSIG(status)
                                       : WEXITSTATUS(status);
    }
    (void)unlink(log_path);
    (void)rmdir(folder);
    if (options->out != NULL && fclose(to) != 0) {
        return fail(options->out, strerror(errno));
    }
    return result;
}

/* ---- Arguments ------------------------------------------------------------------------------ */

enum {
    KEY_LEAK = 256,
    KEY_HEAPS,
    KEY_LOCKS,
    KEY_MEMORY,
    KEY_PAGE_HEAP,
    KEY_FLAGS,
    KEY_LOWRES,
    KEY_FAULT,
    KEY_EXCLUDE,
    KEY_PASS,
    KEY_SEED,
    KEY_DELAYED,
    KEY_DEPTH,
    KEY_ONCE
};

static const struct argp_option argp_options[] = {
    {"leak", KEY_LEAK, 0, 0, "Tell what a module still owns when it is unloaded", 0},
    {"heaps", KEY_HEAPS, 0, 0, "Tell of misuse of heaps; stamps around blocks, freed ones held", 0},
    {"locks", KEY_LOCKS, 0, 0, "Tell of misuse of critical sections", 0},
    {"memory", KEY_MEMORY, 0, 0, "Tell of stack memory that is freed, and executable heaps", 0},
    {"pageheap", KEY_PAGE_HEAP, "full|light[:OPTION...]", 0,
     "Page heap; options: backwards, unaligned, nosync, leaks, random=P, size=A-B, dlls=NAME+NAME, "
     "address=LOW-HIGH, budget=N",
     0},
    {"flags", KEY_FLAGS, "FLAGS", 0, "Global flags: htc+hfc+hpc+hvc+vrf+ust+dhc+hpa, or 0x bits",
     0},
    {"lowres", KEY_LOWRES, "PPM[,QUIET-MS[,MODULE...]]", 0, "Allocations fail at random", 0},
    {"fault", KEY_FAULT, "RATE[:SECONDS]", 0, "The same, of 10,000, and seconds of quiet", 0},
    {"exclude", KEY_EXCLUDE, "NAME+NAME", 0, "Modules whose allocations never fail so", 0},
    {"pass", KEY_PASS, "NAME+NAME", 0, "Libraries that allocate for whoever calls them", 0},
    {"seed", KEY_SEED, "N", 0, "Of what is random (default: 1)", 0},
    {"delayed", KEY_DELAYED, "COUNT[:BYTES]", 0, "How many freed blocks are held back", 0},
    {"depth", KEY_DEPTH, "N", 0, "Frames of a stack, 1 to 32 (default: 16)", 0},
    {"once", KEY_ONCE, 0, 0, "Tell the same problem at the same place once", 0},
    {"output", 'o', "FILE", 0, "Write there (default: standard error; with --json, output)", 0},
    RIG_CLI_JSON,
    RIG_CLI_HELP,
    {0},
};

/* Options that are one item of the settings, by key. */
static const struct {
    int key;
    const char *option;
    const char *name;
} items[] = {{KEY_LEAK, "--leak", "leak"},          {KEY_HEAPS, "--heaps", "heaps"},
             {KEY_LOCKS, "--locks", "locks"},       {KEY_MEMORY, "--memory", "memory"},
             {KEY_ONCE, "--once", "once"},          {KEY_PAGE_HEAP, "--pageheap", "pageheap"},
             {KEY_FLAGS, "--flags", "flags"},       {KEY_FAULT, "--fault", "fault"},
             {KEY_EXCLUDE, "--exclude", "exclude"}, {KEY_PASS, "--pass", "pass"},
             {KEY_SEED, "--seed", "seed"},          {KEY_DELAYED, "--delayed", "delayed"},
             {KEY_DEPTH, "--depth", "depth"}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    for (size_t idx = 0; idx < sizeof(items) / sizeof(items[0]); idx++) {
        if (items[idx].key == key) {
            item_add(options, items[idx].option, items[idx].name, arg);
            return 0;
        }
    }
    switch (key) {
    case KEY_LOWRES:
        lowres_add(options, arg);
        return 0;
    case 'o':
        options->out = arg;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case ARGP_KEY_ARG:
        rig_cli_refuse(state->argv[0], "%s: expected -- before the command", arg);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .args_doc = "-- COMMAND [ARGUMENT...]",
    .doc = "Run a program with core's malloc and the verifier on, then tell each stop with its "
           "stacks, and the sums. Without a layer: leak, heaps, locks and memory. The exit status "
           "is 1 when there was a stop, and otherwise the program's.",
};

/* What stands behind "--" is the command's. */
static void arguments_parse(struct options *options, int argc, char **argv)
{
    struct nth_verifier_settings settings;
    int own = 1;
    while (own < argc && strcmp(argv[own], "--") != 0) {
        own++;
    }
    options->command_name = argv[0];
    rig_cli_parse(&argp, own, argv, options);
    options->command = own + 1 < argc ? &argv[own + 1] : NULL;
    if (options->command == NULL) {
        rig_cli_refuse(argv[0], "expected a command, as in: heaprig verify --leak -- ls");
    }
    if (!NT_SUCCESS(nth_verifier_parse(options->text, &settings, NULL, 0))) {
        item_add(options, "--leak", "basics", NULL);
    }
}

int rig_cli_verify(int argc, char **argv)
{
    struct options options = {.json = false};
    arguments_parse(&options, argc, argv);
    return verify(&options);
}
