/* SPDX-License-Identifier: MIT
 *
 * Stops in words: the same as in the log, in any room; frames go first where there is little. */
#include "support/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "verifier.h"

#define ROOM_BYTES 131072u
#define CANARY 0x5A

static char whole[ROOM_BYTES];
static char piece[ROOM_BYTES];

static size_t words(const struct nth_stop *stop, bool json, bool stacks)
{
    const size_t bytes = nth_verifier_stop_text(stop, json, stacks, whole, sizeof(whole));
    assert_int_equal(strlen(whole), bytes);
    return bytes;
}

/* The words in less room, and nothing past it. */
static const char *words_in(const struct nth_stop *stop, bool json, bool stacks, size_t room,
                            size_t due)
{
    memset(piece, CANARY, room + 1);
    assert_int_equal(nth_verifier_stop_text(stop, json, stacks, piece, room), due);
    assert_int_equal(piece[room], CANARY);
    if (room > 0) {
        assert_non_null(memchr(piece, '\0', room));
    }
    return piece;
}

static void without_stacks_words_are_cut_at_their_end(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("heaps");
    PVOID block = rig_block_new(heap, 100);
    assert_true(HeapFree(heap, 0, block));
    assert_false(HeapFree(heap, 0, block));
    const struct nth_stop copy = *watch_stop(0);
    for (unsigned json = 0; json < 2; json++) {
        const size_t bytes = words(&copy, json, false);
        assert_int_equal(nth_verifier_stop_text(&copy, (BOOLEAN)json, FALSE, NULL, 0), bytes);
        for (size_t room = 0; room < bytes + 3; room++) {
            const char *text = words_in(&copy, json, false, room, bytes);
            if (room > 0) {
                const size_t len = room - 1 < bytes ? room - 1 : bytes;
                assert_int_equal(strlen(text), len);
                assert_memory_equal(text, whole, len);
            }
        }
    }
    watch_forget();
    watch_finish(heap);
}

/* Long names of three deep stacks. */
static struct nth_stop deep_stop(void)
{
    static struct nth_trace_frame frames[NTH_TRACE_DEPTH_MAX];
    static struct nth_trace traces[3];
    static char span[64];
    char name[200];
    memset(name, 0x1F, sizeof(name) - 1); /* six letters each in JSON */
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(nth_verifier_module_load(name, span, sizeof(span)), STATUS_SUCCESS);
    ULONG number = 1;
    struct nth_module_info info;
    while (nth_verifier_module(number, &info) && info.base != (ULONG_PTR)span) {
        number++;
    }
    for (unsigned idx = 0; idx < NTH_TRACE_DEPTH_MAX; idx++) {
        frames[idx] = (struct nth_trace_frame){.module = number, .offset = idx};
    }
    for (unsigned idx = 0; idx < 3; idx++) {
        traces[idx] =
            (struct nth_trace){.count = NTH_TRACE_DEPTH_MAX, .broken = idx == 2, .frames = frames};
    }
    return (struct nth_stop){.code = NTH_STOP_DOUBLE_FREE,
                             .layer = "Heaps",
                             .name = "DOUBLE_FREE",
                             .text = "a block freed twice",
                             .trace = &traces[0],
                             .allocated = &traces[1],
                             .freed = &traces[2]};
}

static size_t count_of(const char *text, const char *what)
{
    size_t count = 0;
    for (const char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what)) {
        count++;
    }
    return count;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Frames of a JSON stack in an object that is whole, or SIZE_MAX where it is not. */
static size_t frames_of(const char *text, const char *title)
{
    const char *at = strstr(text, title);
    if (at == NULL) {
        return SIZE_MAX;
    }
    at += strlen(title);
    size_t count = 0;
    while (*at != ']') {
        const char *end = *at == '"' ? strchr(at + 1, '"') : NULL;
        if (end == NULL || (end[1] != ',' && end[1] != ']') || begins(end, "\",]")) {
            return SIZE_MAX;
        }
        count++;
        at = end[1] == ',' ? end + 2 : end + 1;
    }
    return count;
}

static void json_without_room_has_fewer_frames_and_is_whole(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("leak");
    const struct nth_stop stop = deep_stop();
    const size_t bytes = words(&stop, true, true);
    assert_true(bytes > 3u * NTH_TRACE_DEPTH_MAX * 199u * 6u);
    size_t most = 0;
    for (size_t room = 400; room < ROOM_BYTES; room += room < 4096 ? 7 : 997) {
        const char *text = words_in(&stop, true, true, room, bytes);
        const size_t frames[3] = {frames_of(text, "\"noticed\":["),
                                  frames_of(text, "\"allocated\":["),
                                  frames_of(text, "\"freed\":[")};
        const size_t len = strlen(text);
        for (unsigned idx = 0; idx < 3; idx++) {
            assert_true(frames[idx] <= NTH_TRACE_DEPTH_MAX);
            assert_true(idx == 2 || frames[idx + 1] == 0 || frames[idx] == NTH_TRACE_DEPTH_MAX);
        }
        const size_t all = frames[0] + frames[1] + frames[2];
        assert_true(all >= most);
        most = all;
        assert_string_equal(text + len - strlen("],\"freed_broken\":true}\n"),
                            "],\"freed_broken\":true}\n");
        assert_true(all == 3u * NTH_TRACE_DEPTH_MAX || len + 128u + 1300u > room);
    }
    watch_finish(heap);
}

static void text_without_room_has_fewer_lines(void **state)
{
    (void)state;
    HANDLE heap = watch_begin("leak");
    const struct nth_stop stop = deep_stop();
    const size_t bytes = words(&stop, false, true);
    assert_int_equal(count_of(whole, "\n"), 2u + 3u * NTH_TRACE_DEPTH_MAX);
    assert_int_equal(count_of(whole, " (the stack could not be walked)\n"), NTH_TRACE_DEPTH_MAX);
    assert_int_equal(count_of(whole, "    noticed at    #0 "), 1);
    assert_int_equal(count_of(whole, "    allocated at  #0 "), 1);
    assert_int_equal(count_of(whole, "    freed at      #0 "), 1);
    for (size_t room = 300; room < bytes + 200; room += 7) {
        const char *text = words_in(&stop, false, true, room, bytes);
        const size_t len = strlen(text);
        assert_memory_equal(text, whole, len);
        assert_int_equal(text[len - 1], '\n');
        assert_true(len == bytes || len + 128u + 300u > room);
    }
    watch_finish(heap);
}

/* A record of the log has as much as there is room for, and is a whole line. */
static void a_log_without_room_is_whole(void **state)
{
    (void)state;
    struct nth_verifier_settings set;
    char path[] = "/tmp/heaprig-words-XXXXXX";
    const int file = mkstemp(path);
    assert_true(file >= 0);
    nth_verifier_defaults(&set);
    set.layers = NTH_VERIFY_LEAK;
    (void)snprintf(set.log, sizeof(set.log), "%s", path);
    assert_int_equal(nth_verifier_start(&set), STATUS_SUCCESS);
    const struct nth_stop stop = deep_stop();
    nth_stop(&(struct nth_stop_wish){.code = NTH_STOP_DOUBLE_FREE,
                                     .trace = stop.trace,
                                     .allocated = stop.allocated,
                                     .freed = stop.freed});
    const ssize_t len = read(file, piece, sizeof(piece) - 1);
    assert_int_equal(close(file), 0);
    assert_int_equal(unlink(path), 0);
    assert_true(len > 10000 && len < 12288);
    piece[len] = '\0';
    assert_int_equal(count_of(piece, "\n"), 1);
    assert_true(frames_of(piece, "\"noticed\":[") < NTH_TRACE_DEPTH_MAX);
    assert_int_equal(frames_of(piece, "\"freed\":["), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, watch_setup, watch_teardown)
    const struct CMUnitTest tests[] = {
        TEST(without_stacks_words_are_cut_at_their_end),
        TEST(json_without_room_has_fewer_frames_and_is_whole),
        TEST(text_without_room_has_fewer_lines),
        TEST(a_log_without_room_is_whole),
    };
#undef TEST
    return cmocka_run_group_tests_name("verifier_words", tests, NULL, NULL);
}
