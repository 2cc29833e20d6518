/* SPDX-License-Identifier: MIT
 *
 * fresh DEED: deciding by bytes of a block that nobody has written; or, the deed named "...:
 * silent", by bytes that are defined. */
#include <ntheap/heap.h>

#include "marks.h"

#define SMALL ((SIZE_T)40)
#define LARGE ((SIZE_T)0x90000)

static volatile uint8_t sink;

/* Freed blocks were written; the next ones come from them. */
static uint8_t *recycled(HANDLE heap, SIZE_T size)
{
    uint8_t *blocks[100];
    for (unsigned idx = 0; idx < 100; idx++) {
        blocks[idx] = HeapAlloc(heap, 0, size);
        memset(blocks[idx], 1, size);
    }
    for (unsigned idx = 0; idx < 100; idx += 2) {
        (void)HeapFree(heap, 0, blocks[idx]);
    }
    return HeapAlloc(heap, 0, size);
}

AS_WRITTEN static void deed_do(HANDLE heap, const char *deed)
{
    uint8_t *block = HeapAlloc(heap, 0, 1000);
    memset(block, 1, 1000);
    if (marks_is(deed, "fresh")) {
        const uint8_t *fresh = HeapAlloc(heap, 0, 24);
        HERE, sink = fresh[5] != 0 && sink == 0;
    } else if (marks_is(deed, "back end recycled")) {
        (void)HeapFree(heap, 0, block);
        const uint8_t *fresh = HeapAlloc(heap, 0, 1000);
        HERE, sink = fresh[500] != 0 && sink == 0;
    } else if (marks_is(deed, "front end recycled")) {
        const uint8_t *fresh = recycled(heap, SMALL);
        HERE, sink = fresh[SMALL - 1] != 0 && sink == 0;
    } else if (marks_is(deed, "large")) {
        const uint8_t *fresh = HeapAlloc(heap, 0, LARGE);
        HERE, sink = fresh[LARGE - 1] != 0 && sink == 0;
    } else if (marks_is(deed, "grown in place")) {
        const uint8_t *grown = HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 1200);
        HERE, sink = grown[1100] != 0 && sink == 0;
    } else if (marks_is(deed, "grown elsewhere")) {
        (void)HeapAlloc(heap, 0, 10);
        const uint8_t *grown = HeapReAlloc(heap, 0, block, 5000);
        HERE, sink = grown[1000] != 0 && sink == 0;
    } else if (marks_is(deed, "grown large")) {
        uint8_t *large = HeapAlloc(heap, HEAP_ZERO_MEMORY, LARGE);
        const uint8_t *grown = HeapReAlloc(heap, 0, large, 4 * LARGE);
        HERE, sink = grown[LARGE] != 0 && sink == 0;
    } else if (marks_is(deed, "zeroed: silent")) {
        const uint8_t *small = HeapAlloc(heap, HEAP_ZERO_MEMORY, 24);
        const uint8_t *large = HeapAlloc(heap, HEAP_ZERO_MEMORY, LARGE);
        (void)recycled(heap, SMALL);
        const uint8_t *front = HeapAlloc(heap, HEAP_ZERO_MEMORY, SMALL);
        if (small[23] != 0 || large[LARGE - 1] != 0 || front[SMALL - 1] != 0) {
            sink = 1;
        }
    } else if (marks_is(deed, "kept: silent")) {
        const uint8_t *grown = HeapReAlloc(heap, HEAP_ZERO_MEMORY, block, 4 * LARGE);
        if (grown[999] != 1 || grown[1000] != 0 || grown[4 * LARGE - 1] != 0) {
            sink = 1;
        }
    }
}

int main(int count, char **words)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    if (count != 2 || heap == NULL) {
        return 2;
    }
    deed_do(heap, words[1]);
    return HeapDestroy(heap) ? 0 : 2;
}
