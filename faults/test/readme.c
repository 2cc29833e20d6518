/* SPDX-License-Identifier: MIT
 *
 * README.md shows the catalogue as it is: what stands behind its mark is made here from the tables
 * and must be there to the letter. `faults_readme --write` puts it there. */
#include "faults/catalog.h"

#include "program/text_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PAGE RIG_SOURCE_DIR "/faults/README.md"
#define PAGE_BYTES_MAX 131072u

static const char mark[] = "<!-- From here on made by faults_readme --write. -->\n";

static bool writing; /* --write: mend the page instead of complaining */
static char page[PAGE_BYTES_MAX];
static char made[PAGE_BYTES_MAX];
static struct rig_text_sink sink;
static unsigned class_count;
static unsigned noticed_count;

static void count(bool noticed)
{
    class_count++;
    noticed_count += noticed;
}

/* ---- The tables ---- */

static void put_calls(unsigned sets)
{
    const char *comma = "";
    for (unsigned call = 0; call < FAULT_CALL_COUNT; call++) {
        const struct fault_call_info *info = fault_call_info(call);
        if ((info->sets & sets) != 0) {
            rig_text_put(&sink, "%s%s", comma, info->name);
            comma = ", ";
        }
    }
}

/* Many rows have one of a few long lists of calls: those have a letter. */
static const struct {
    unsigned sets;
    const char *word;
} lists[] = {
    {FAULT_SET_BLOCK, "block calls"},
    {FAULT_SET_HANDLE, "handle calls"},
    {FAULT_SET_HANDLE | FAULT_SET_QUERY, "handle calls and queries"},
};

#define LIST_COUNT (sizeof(lists) / sizeof(lists[0]))

static void put_list(unsigned sets)
{
    for (size_t idx = 0; idx < LIST_COUNT; idx++) {
        if (lists[idx].sets == sets) {
            rig_text_put(&sink, "%s", lists[idx].word);
            return;
        }
    }
    put_calls(sets);
}

static void put_misuse(void)
{
    const struct fault_misuse_info *row;
    rig_text_put(&sink, "\n## Misuse\n\n");
    for (size_t idx = 0; idx + 1 < LIST_COUNT; idx++) {
        rig_text_put(&sink, "*%s*: ", lists[idx].word);
        put_calls(lists[idx].sets);
        rig_text_put(&sink, ".\n\n");
    }
    rig_text_put(&sink, "| id | name | what | calls | refused | reported as | source | control |\n"
                        "|---|---|---|---|---|---|---|---|\n");
    for (unsigned idx = 0; (row = fault_misuse_info(idx)) != NULL; idx++) {
        const char *reason = strcmp(row->reason, "NONE") == 0   ? "-"
                             : strcmp(row->reason, "LOOK") == 0 ? "what a walk shows to be there"
                                                                : row->reason;
        rig_text_put(&sink, "| %s | %s | %s | ", row->id, row->name, row->what);
        put_list(row->calls);
        rig_text_put(&sink, " | %s | %s | %s | %u |\n", fault_form_info(row->form)->what, reason,
                     row->source, row->control);
        count(true); /* by the call itself */
    }
}

static void put_damage(void)
{
    static const char *const notices[] = {
        [FAULT_NOTICE_CALL] = "the write itself",
        [FAULT_NOTICE_BLOCK] = "the next call that names the block",
        [FAULT_NOTICE_HEAP] = "the next call on the heap",
        [FAULT_NOTICE_VALIDATE] = "validation",
        [FAULT_NOTICE_NOBODY] = "nobody need",
    };
    const struct fault_damage_info *row;
    rig_text_put(&sink,
                 "\n## Damage\n\n| id | name | what | noticed at the latest by | reported as "
                 "| source | control |\n|---|---|---|---|---|---|---|\n");
    for (unsigned idx = 0; (row = fault_damage_info(idx)) != NULL; idx++) {
        rig_text_put(&sink, "| %s | %s | %s | %s | ", row->id, row->name, row->what,
                     notices[row->notice]);
        for (const char *at = row->reasons; *at != '\0'; at++) {
            rig_text_put(&sink, *at == '|' ? ", " : "%c", *at);
        }
        rig_text_put(&sink, " | %s | %u |\n", row->source, row->control);
        count(row->notice != FAULT_NOTICE_NOBODY);
    }
}

static void put_plans(void)
{
    static const struct {
        const char *text;
        const char *what;
    } kinds[] = {
#define FAULT_PLAN_KIND(name, text, what) {(text), (what)},
#include "faults/plan_kind.def"
    };
    rig_text_put(&sink,
                 "\n## Running out (H)\n\nThe call that is refused says so: D36, or D80 names "
                 "who absorbs it. `heaprig sweep` refuses every one.\n\n"
                 "| plan | what |\n|---|---|\n");
    for (size_t idx = 1; idx < sizeof(kinds) / sizeof(kinds[0]); idx++) {
        rig_text_put(&sink, "| %s | %s |\n", kinds[idx].text, kinds[idx].what);
    }
    const struct fault_plan_info *row;
    rig_text_put(&sink, "\n| id | name | what | plan | noticed by | source | control |\n"
                        "|---|---|---|---|---|---|---|\n");
    for (unsigned idx = 0; (row = fault_plan_info(idx)) != NULL; idx++) {
        rig_text_put(&sink, "| %s | %s | %s | %s | %s | %s | %u |\n", row->id, row->name, row->what,
                     row->plan, row->noticed, row->clause, row->control);
        count(strncmp(row->noticed, "nobody", 6) != 0);
    }
}

static void put_others(void)
{
    const struct fault_other_info *row;
    rig_text_put(&sink,
                 "\n## In ordinary operations, and of the tools\n\n| id | class | what | noticed "
                 "by | source | control |\n|---|---|---|---|---|---|\n");
    for (unsigned idx = 0; (row = fault_other_info(idx)) != NULL; idx++) {
        rig_text_put(&sink, "| %s | %s | %s | %s | %s | %s |\n", row->id, row->name, row->what,
                     row->noticed, row->source, row->control);
        count(strncmp(row->noticed, "nobody", 6) != 0);
    }
}

static void make(void)
{
    sink = (struct rig_text_sink){.out = made, .out_bytes = sizeof(made), .len_bytes = 0};
    rig_text_put(&sink, "%s", mark);
    put_misuse();
    put_damage();
    put_plans();
    put_others();
    rig_text_put(&sink,
                 "\n%u classes. Of %u of them, %u%%, somebody must notice, or the call must succeed; of "
                 "the others nobody need, by the ruling that stands there.\n",
                 class_count, noticed_count, noticed_count * 100 / class_count);
}

/* ---- The page ---- */

static void page_write(size_t head_len)
{
    FILE *file = fopen(PAGE, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(page, 1, head_len, file), head_len);
    assert_true(fputs(made, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void the_page_shows_the_catalogue(void **state)
{
    (void)state;
    FILE *file = fopen(PAGE, "r");
    assert_non_null(file);
    const size_t len = fread(page, 1, sizeof(page) - 1, file);
    assert_int_equal(fclose(file), 0);
    page[len] = '\0';
    const char *at = strstr(page, mark);
    assert_non_null(at);
    make();
    assert_true(sink.len_bytes < sizeof(made));
    if (writing) {
        page_write((size_t)(at - page));
    } else if (strcmp(at, made) != 0) {
        fail_msg("%s: the tables are old, faults_readme --write mends them", PAGE);
    }
}

static void names_are_words_and_come_once(void **state)
{
    (void)state;
    const struct fault_misuse_info *row;
    const struct fault_misuse_info *other;
    for (unsigned idx = 0; (row = fault_misuse_info(idx)) != NULL; idx++) {
        assert_int_equal(strspn(row->name, "abcdefghijklmnopqrstuvwxyz-"), strlen(row->name));
        for (unsigned next = idx + 1; (other = fault_misuse_info(next)) != NULL; next++) {
            assert_string_not_equal(row->name, other->name);
        }
    }
}

int main(int argc, char **argv)
{
    writing = argc == 2 && strcmp(argv[1], "--write") == 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_shows_the_catalogue),
        cmocka_unit_test(names_are_words_and_come_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
