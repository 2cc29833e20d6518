/* SPDX-License-Identifier: MIT
 *
 * In place of an engine: which inputs of a target are worth keeping, and how small they can be, for
 * ci/corpus.sh. A feature is an edge of what carries counters, or a clause in a state of its heap.
 * An input is kept when it has features that neither the base nor smaller inputs have; then as much
 * of it goes as can while it keeps those that are its own. Each kept input goes into the folder
 * under its own name, and a line goes to standard output:
 *
 *   name <tab> bytes before <tab> bytes now <tab> own features <tab> what they are
 *
 * Whatever runs lies in the file `running` of the folder, which goes at the end: where the process
 * died, that is the input it died of. */
#include "stats.h"

#include "run/check.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INPUT_BYTES_MAX 65536u
#define PATH_BYTES 4096u
#define WHAT_BYTES 160u   /* of a reason */
#define WHAT_NAMES_MAX 3u /* functions, and clauses, that a reason names */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

/* Called by what the compiler puts into counted files. */
void __sanitizer_cov_8bit_counters_init(uint8_t *begin, uint8_t *end);
void __sanitizer_cov_pcs_init(const uintptr_t *begin, const uintptr_t *end);
void __sanitizer_symbolize_pc(void *pc, const char *format, char *out, size_t out_bytes)
    __attribute__((weak));

/* The states of clauses: program_target.c has them, the text target has none. */
extern uint8_t __start___libfuzzer_extra_counters[] __attribute__((weak));
extern uint8_t __stop___libfuzzer_extra_counters[] __attribute__((weak));

struct input {
    const char *path;
    const char *name;
    uint8_t *bytes;
    size_t len_bytes;
    size_t len_before;
    uint32_t *features;
    size_t feature_count;
    bool kept;
};

static struct {
    size_t head; /* bytes at the front that stay */
    size_t unit; /* bytes that go together */
    bool reduce;
    time_t until; /* 0: no limit */
    const char *out;
} options = {.unit = 1, .reduce = true};

static uint8_t *edges;
static size_t edge_count;
static const uintptr_t *pcs;
static uint32_t *holders; /* of each feature: how many inputs have it; the base counts for two */
static size_t feature_max;
static uint32_t *feature_list; /* of the input that ran last */
static int running;
static unsigned long run_count;

void __sanitizer_cov_8bit_counters_init(uint8_t *begin, uint8_t *end)
{
    edges = begin;
    edge_count = (size_t)(end - begin);
}

void __sanitizer_cov_pcs_init(const uintptr_t *begin, const uintptr_t *end)
{
    (void)end;
    pcs = begin;
}

static _Noreturn void refuse(const char *what, const char *expected)
{
    (void)fprintf(stderr, "distil: %s: expected %s\n", what, expected);
    exit(2);
}

static void *memory(size_t count, size_t bytes)
{
    void *got = calloc(count == 0 ? 1 : count, bytes);
    if (got == NULL) {
        refuse("memory", "more of it");
    }
    return got;
}

/* ---- Running -------------------------------------------------------------------------------- */

static size_t state_count(void)
{
    return (size_t)(__stop___libfuzzer_extra_counters - __start___libfuzzer_extra_counters);
}

static size_t features_read(void)
{
    size_t count = 0;
    for (size_t idx = 0; idx < edge_count; idx++) {
        if (edges[idx] != 0) {
            feature_list[count++] = (uint32_t)idx;
        }
    }
    for (size_t idx = 0; idx < state_count(); idx++) {
        if (__start___libfuzzer_extra_counters[idx] != 0) {
            feature_list[count++] = (uint32_t)(edge_count + idx);
        }
    }
    return count;
}

/* The features of an input, sorted, in `feature_list`. */
static size_t run(const uint8_t *bytes, size_t len)
{
    uint8_t *exact = memory(len, 1); /* so that reading past it shows */
    memcpy(exact, bytes, len);
    if (ftruncate(running, 0) != 0 || pwrite(running, bytes, len, 0) != (ssize_t)len) {
        refuse("running", "room for a file");
    }
    memset(edges, 0, edge_count);
    if (state_count() != 0) {
        memset(__start___libfuzzer_extra_counters, 0, state_count());
    }
    const bool refused = LLVMFuzzerTestOneInput(exact, len) != 0;
    run_count++;
    free(exact);
    return refused ? 0 : features_read();
}

static bool had(uint32_t feature, size_t count)
{
    size_t from = 0;
    while (from < count) {
        const size_t middle = (from + count) / 2;
        if (feature_list[middle] == feature) {
            return true;
        }
        if (feature_list[middle] < feature) {
            from = middle + 1;
        } else {
            count = middle;
        }
    }
    return false;
}

/* What it has in two runs: the first use of something may reach more than later ones. */
static void input_run(struct input *input)
{
    const size_t first = run(input->bytes, input->len_bytes);
    uint32_t *list = memory(first, sizeof(*list));
    size_t count = 0;
    memcpy(list, feature_list, first * sizeof(*list));
    const size_t again = run(input->bytes, input->len_bytes);
    for (size_t idx = 0; idx < first; idx++) {
        if (had(list[idx], again)) {
            list[count++] = list[idx];
        }
    }
    free(input->features);
    input->features = list;
    input->feature_count = count;
}

/* ---- Inputs --------------------------------------------------------------------------------- */

static void input_read(struct input *input, const char *path)
{
    static uint8_t bytes[INPUT_BYTES_MAX];
    FILE *file = fopen(path, "rb");
    const char *slash = strrchr(path, '/');
    input->path = path;
    input->name = slash == NULL ? path : slash + 1;
    input->len_bytes = file == NULL ? 0 : fread(bytes, 1, sizeof(bytes), file);
    if (file == NULL || ferror(file) != 0) {
        refuse(path, "a file that can be read");
    }
    (void)fclose(file);
    input->bytes = memory(input->len_bytes, 1);
    memcpy(input->bytes, bytes, input->len_bytes);
    input->len_before = input->len_bytes;
}

static int path_order(const void *one, const void *other)
{
    return strcmp(*(const char *const *)one, *(const char *const *)other);
}

/* The files of a folder, by name. */
static size_t folder_list(const char *folder, char ***paths)
{
    size_t count = 0;
    size_t room = 0;
    DIR *stream = opendir(folder);
    if (stream == NULL) {
        refuse(folder, "a folder that can be read");
    }
    const struct dirent *entry;
    *paths = NULL;
    while ((entry = readdir(stream)) != NULL) {
        char path[PATH_BYTES];
        struct stat status;
        const int len = snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (len >= (int)sizeof(path) || stat(path, &status) != 0 || !S_ISREG(status.st_mode)) {
            continue;
        }
        if (count == room) {
            room = room * 2 + 64;
            *paths = realloc(*paths, room * sizeof(**paths));
            RIG_CHECK(*paths != NULL);
        }
        (*paths)[count] = strdup(path);
        RIG_CHECK((*paths)[count] != NULL);
        count++;
    }
    (void)closedir(stream);
    if (count != 0) {
        qsort(*paths, count, sizeof(**paths), path_order);
    }
    return count;
}

/* What the base reaches is nobody's own. */
static void base_run(const char *folder)
{
    char **paths;
    const size_t count = folder_list(folder, &paths);
    for (size_t idx = 0; idx < count; idx++) {
        struct input input = {0};
        input_read(&input, paths[idx]);
        input_run(&input);
        for (size_t at = 0; at < input.feature_count; at++) {
            holders[input.features[at]] = 2;
        }
        free(input.features);
        free(input.bytes);
        free(paths[idx]);
    }
    free(paths);
}

/* ---- Choosing ------------------------------------------------------------------------------- */

static int size_order(const void *one, const void *other)
{
    const struct input *left = one;
    const struct input *right = other;
    if (left->len_bytes != right->len_bytes) {
        return left->len_bytes < right->len_bytes ? -1 : 1;
    }
    return strcmp(left->name, right->name);
}

static void count_all(const struct input *input, uint32_t more)
{
    for (size_t idx = 0; idx < input->feature_count; idx++) {
        holders[input->features[idx]] += more;
    }
}

static size_t own_count(const struct input *input, uint32_t holder_count)
{
    size_t count = 0;
    for (size_t idx = 0; idx < input->feature_count; idx++) {
        count += holders[input->features[idx]] == holder_count;
    }
    return count;
}

static void drop(struct input *input)
{
    count_all(input, UINT32_MAX);
    input->kept = false;
}

/* Smallest first; then, from the largest on, out with those whose features others have as well. */
static void choose(struct input *inputs, size_t count)
{
    qsort(inputs, count, sizeof(*inputs), size_order);
    for (size_t idx = 0; idx < count; idx++) {
        inputs[idx].kept = own_count(&inputs[idx], 0) != 0;
        if (inputs[idx].kept) {
            count_all(&inputs[idx], 1);
        }
    }
    for (size_t idx = count; idx-- > 0;) {
        if (inputs[idx].kept && own_count(&inputs[idx], 1) == 0) {
            drop(&inputs[idx]);
        }
    }
}

/* ---- Reducing ------------------------------------------------------------------------------- */

static bool time_is_up(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return options.until != 0 && now.tv_sec >= options.until;
}

static bool has_all(const uint8_t *bytes, size_t len, const uint32_t *own, size_t count)
{
    const size_t ran = run(bytes, len);
    for (size_t idx = 0; idx < count; idx++) {
        if (!had(own[idx], ran)) {
            return false;
        }
    }
    return true;
}

/* Runs of units go, long ones first, from the end on. True when something went. */
static bool runs_cut(struct input *input, size_t units, const uint32_t *own, size_t count)
{
    uint8_t shorter[INPUT_BYTES_MAX];
    bool changed = false;
    size_t at = input->len_bytes;
    while (at > options.head && !time_is_up()) {
        const size_t length = units * options.unit;
        const size_t cut = at - options.head < length ? at - options.head : length;
        at -= cut;
        memcpy(shorter, input->bytes, at);
        memcpy(shorter + at, input->bytes + at + cut, input->len_bytes - at - cut);
        if (has_all(shorter, input->len_bytes - cut, own, count)) {
            input->len_bytes -= cut;
            memcpy(input->bytes, shorter, input->len_bytes);
            changed = true;
        }
    }
    return changed;
}

static void reduce(struct input *input)
{
    uint32_t *own = memory(input->feature_count, sizeof(*own));
    size_t count = 0;
    for (size_t idx = 0; idx < input->feature_count; idx++) {
        if (holders[input->features[idx]] == 1) {
            own[count++] = input->features[idx];
        }
    }
    for (size_t units = input->len_bytes / options.unit / 2; units > 1; units /= 2) {
        (void)runs_cut(input, units, own, count);
    }
    while (!time_is_up() && runs_cut(input, 1, own, count)) {
    }
    count_all(input, UINT32_MAX);
    input_run(input);
    count_all(input, 1);
    free(own);
}

/* What one input has lost another may need now, so each is asked when its turn comes. */
static void reduce_all(struct input *inputs, size_t count)
{
    for (size_t idx = count; idx-- > 0 && !time_is_up();) {
        if (inputs[idx].kept && own_count(&inputs[idx], 1) == 0) {
            drop(&inputs[idx]);
        } else if (inputs[idx].kept) {
            reduce(&inputs[idx]);
        }
        if (isatty(STDERR_FILENO)) {
            (void)fprintf(stderr, "\r%zu inputs to reduce, %lu runs\033[K", idx, run_count);
        }
    }
    if (isatty(STDERR_FILENO)) {
        (void)fputs("\r\033[K", stderr);
    }
}

/* ---- Telling -------------------------------------------------------------------------------- */

static void word_add(char *what, const char *word)
{
    const size_t len = strlen(what);
    if (len + strlen(word) + 3 < WHAT_BYTES && strstr(what, word) == NULL) {
        (void)snprintf(what + len, WHAT_BYTES - len, "%s%s", len == 0 ? "" : ", ", word);
    }
}

static void feature_name(uint32_t feature, char *name, size_t name_bytes)
{
    if (feature >= edge_count) {
        const size_t state = feature - edge_count;
        const char *id = rig_clause_info((enum rig_clause)(state / 8 % RIG_CLAUSE_COUNT))->id;
        (void)snprintf(name, name_bytes, "%s in state %zu", id, state % 8);
        return;
    }
    (void)snprintf(name, name_bytes, "edge %u", feature);
    if (pcs != NULL && __sanitizer_symbolize_pc != NULL) {
        __sanitizer_symbolize_pc((void *)(pcs[feature * 2] + 1), "%f", name, name_bytes);
    }
}

/* What is its own: some functions, then some clauses. */
static void what_of(const struct input *input, char what[WHAT_BYTES])
{
    size_t named[2] = {0, 0};
    size_t edge_own = 0;
    size_t state_own = 0;
    char names[WHAT_BYTES] = "";
    for (size_t idx = 0; idx < input->feature_count; idx++) {
        const uint32_t feature = input->features[idx];
        const bool state = feature >= edge_count;
        if (holders[feature] != 1) {
            continue;
        }
        edge_own += !state;
        state_own += state;
        if (named[state] < WHAT_NAMES_MAX) {
            char name[64];
            feature_name(feature, name, sizeof(name));
            if (strstr(names, name) == NULL) {
                named[state]++;
                word_add(names, name);
            }
        }
    }
    (void)snprintf(what, WHAT_BYTES, "alone has %zu edges, %zu states: %.110s", edge_own, state_own,
                   names);
}

static void input_write(const struct input *input)
{
    char path[PATH_BYTES];
    if (snprintf(path, sizeof(path), "%s/%s", options.out, input->name) >= (int)sizeof(path)) {
        refuse(input->path, "a shorter name");
    }
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(input->bytes, 1, input->len_bytes, file) != input->len_bytes ||
        fclose(file) != 0) {
        refuse(path, "a file that can be written");
    }
}

static void tell(const struct input *inputs, size_t count)
{
    for (size_t idx = 0; idx < count; idx++) {
        char what[WHAT_BYTES];
        if (inputs[idx].kept) {
            input_write(&inputs[idx]);
            what_of(&inputs[idx], what);
            (void)printf("%s\t%zu\t%zu\t%zu\t%s\n", inputs[idx].name, inputs[idx].len_before,
                         inputs[idx].len_bytes, own_count(&inputs[idx], 1), what);
        }
    }
    (void)fprintf(stderr, "%lu runs%s\n", run_count, time_is_up() ? ", ended early" : "");
}

/* ---- The program ---------------------------------------------------------------------------- */

static void begin(int *argc, char ***argv)
{
    char path[PATH_BYTES];
    if (snprintf(path, sizeof(path), "%s/running", options.out) >= (int)sizeof(path)) {
        refuse(options.out, "a shorter name");
    }
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        refuse(options.out, "a folder that can be written");
    }
    running = fileno(file);
    if (LLVMFuzzerInitialize != NULL) {
        (void)LLVMFuzzerInitialize(argc, argv);
    }
    if (edge_count == 0) {
        refuse((*argv)[0], "a build with coverage counters (preset fuzz)");
    }
    feature_max = edge_count + state_count();
    feature_list = memory(feature_max, sizeof(*feature_list));
    holders = memory(feature_max, sizeof(*holders));
    (void)run((const uint8_t *)"", 0); /* what only the first run reaches is nobody's own */
}

static size_t number(const char *text, size_t max)
{
    char *end;
    const unsigned long got = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || got > max) {
        refuse(text, "a whole number");
    }
    return got;
}

/* Folders named with --base come behind the options in `bases`. */
static size_t parse(int argc, char **argv, const char **bases)
{
    static const struct option longs[] = {
        {"base", required_argument, NULL, 'b'},
        {"out", required_argument, NULL, 'o'},
        {"head", required_argument, NULL, 'h'},
        {"unit", required_argument, NULL, 'u'},
        {"whole", no_argument, NULL, 'w'},
        {"seconds", required_argument, NULL, 's'},
        {0},
    };
    size_t base_count = 0;
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    for (int key; (key = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (key) {
        case 'b':
            bases[base_count++] = optarg;
            break;
        case 'o':
            options.out = optarg;
            break;
        case 'h':
            options.head = number(optarg, INPUT_BYTES_MAX);
            break;
        case 'u':
            options.unit = number(optarg, INPUT_BYTES_MAX);
            break;
        case 'w':
            options.reduce = false;
            break;
        case 's':
            options.until = now.tv_sec + (time_t)number(optarg, 1000000);
            break;
        default:
            exit(2);
        }
    }
    if (options.out == NULL || options.unit == 0 || optind + 1 != argc) {
        refuse(argv[0], "--out FOLDER [--base FOLDER]... [--head N] [--unit N] [--whole] "
                        "[--seconds N] FOLDER");
    }
    return base_count;
}

int main(int argc, char **argv)
{
    static const char **bases; /* what lives to the end stays where the leak checker sees it */
    static char **paths;
    static struct input *inputs;
    bases = memory((size_t)argc, sizeof(*bases));
    const size_t base_count = parse(argc, argv, bases);
    const size_t count = folder_list(argv[optind], &paths);
    inputs = memory(count, sizeof(*inputs));
    begin(&argc, &argv);
    for (size_t idx = 0; idx < base_count; idx++) {
        base_run(bases[idx]);
    }
    for (size_t idx = 0; idx < count; idx++) {
        input_read(&inputs[idx], paths[idx]);
        input_run(&inputs[idx]);
    }
    choose(inputs, count);
    if (options.reduce) {
        reduce_all(inputs, count);
    }
    tell(inputs, count);
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s/running", options.out);
    return fflush(stdout) == 0 && unlink(path) == 0 ? 0 : 1;
}
