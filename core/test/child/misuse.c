/* SPDX-License-Identifier: MIT
 *
 * misuse KIND SIZE DEED: one block, and one thing that an application must not do with it, or
 * "nothing". KIND: back (the heap's first block), front (of the front end, used before). */
#include <ntheap/heap.h>

#include <stdlib.h>

#include "marks.h"

static uint8_t *block_make(HANDLE heap, const char *kind, SIZE_T size)
{
    uint8_t *block = HeapAlloc(heap, 0, size);
    for (unsigned count = 0; marks_is(kind, "front") && count < 100; count++) {
        PVOID kept = block;
        block = HeapAlloc(heap, 0, size);
        if (count % 2 == 0) {
            HeapFree(heap, 0, kept);
        }
    }
    return block;
}

AS_WRITTEN static int deed_do(HANDLE heap, uint8_t *block, SIZE_T size, const char *deed)
{
    volatile uint8_t *bytes = block;
    volatile uint8_t sink = 0;
    for (SIZE_T idx = 0; idx < size; idx++) {
        bytes[idx] = (uint8_t)(bytes[idx / 2] + idx);
    }
    if (marks_is(deed, "overflow")) {
        HERE, bytes[size] = 1;
    } else if (marks_is(deed, "overread")) {
        HERE, sink = bytes[size];
    } else if (marks_is(deed, "underflow")) {
        HERE, (bytes - 1)[0] = 1;
    } else if (marks_is(deed, "underread")) {
        HERE, sink = (bytes - 1)[0];
    } else if (marks_is(deed, "use after free")) {
        (void)HeapFree(heap, 0, block);
        HERE, bytes[size / 2] = 1;
    } else if (marks_is(deed, "read after free")) {
        (void)HeapFree(heap, 0, block);
        HERE, sink = bytes[size / 2];
    } else if (marks_is(deed, "overread after shrinking")) {
        block = HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, size - 3);
        HERE, sink = block[size - 3];
    } else if (marks_is(deed, "write after moving")) {
        (void)HeapAlloc(heap, 0, size);
        (void)HeapReAlloc(heap, 0, block, size * 3);
        HERE, bytes[0] = 1;
    }
    return sink == 1 ? 3 : 0;
}

int main(int count, char **words)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    if (count != 4 || heap == NULL) {
        return 2;
    }
    const SIZE_T size = strtoul(words[2], NULL, 0);
    uint8_t *block = block_make(heap, words[1], size);
    const int wrong = block == NULL ? 2 : deed_do(heap, block, size, words[3]);
    return wrong == 0 && !HeapDestroy(heap) ? 2 : 0;
}
