/* SPDX-License-Identifier: MIT
 *
 * Programs that run under the verifier: what is switched on, kept in the eight bytes of the header that
 * are a plan in others, and what the operation `verify` does. Any eight bytes mean something.
 *
 *   0  layers: leak, heaps, locks, memory, lowres; full page heap; exceptions; once
 *   1  page heap: backwards, unaligned, nosync, leaks; bits 4-7 one selector of full page heap, or a budget
 *   2  its number
 *   3  global flags: htc, hfc, hpc, hvc, dhc, ust, vrf, hpa
 *   4  blocks held back and 1; 0: as by default
 *   5  low resources: probability (0-3), quiet time (4-7), by tables
 *   6  modules: included (0-3), excluded (4-7)
 *   7  depth of stacks (0-4; 0: as by default), bytes held back (5-7), by a table */
#ifndef RIG_VERIFY_H
#define RIG_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rig_verify_row {
#define RIG_VERIFY(name, word, sentence) RIG_ROW_##name,
#include "program/verify.def"
    RIG_ROW_COUNT
};

/* Word and sentence of a row, NULL past the last. Units: none. Errors: as said. */
const char *rig_verify_word(unsigned row);
const char *rig_verify_sentence(unsigned row);

#define RIG_VERIFY_BYTES 8u
#define RIG_VERIFY_TEXT_BYTES 320u
#define RIG_MODULE_COUNT 4u /* modules 1 to 4; 0 is the program itself */

#define RIG_VERIFY_LEAK 0x01u
#define RIG_VERIFY_HEAPS 0x02u
#define RIG_VERIFY_LOCKS 0x04u
#define RIG_VERIFY_MEMORY 0x08u
#define RIG_VERIFY_LOWRES 0x10u
#define RIG_VERIFY_BASICS 0x0Fu

#define RIG_VERIFY_HTC 0x01u
#define RIG_VERIFY_HFC 0x02u
#define RIG_VERIFY_HPC 0x04u
#define RIG_VERIFY_HVC 0x08u
#define RIG_VERIFY_DHC 0x10u
#define RIG_VERIFY_UST 0x20u
#define RIG_VERIFY_VRF 0x40u
#define RIG_VERIFY_HPA 0x80u

enum rig_verify_selector {
    RIG_VERIFY_ALL,
    RIG_VERIFY_RANDOM,  /* so many of a hundred */
    RIG_VERIFY_SIZE,    /* sizes of number and up to four times that, in units of 16 */
    RIG_VERIFY_DLLS,    /* a mask of modules */
    RIG_VERIFY_BUDGET,  /* so many mappings */
    RIG_VERIFY_ADDRESS, /* a range of return addresses, by RIG_VERIFY_ALL_CODE and on */
    RIG_VERIFY_SELECTOR_COUNT
};

/* Ranges for ADDRESS: no address of code is the same in every process, but these are of all. */
enum rig_verify_range {
    RIG_VERIFY_ALL_CODE,
    RIG_VERIFY_BELOW_CODE,
    RIG_VERIFY_BEYOND_CODE,
    RIG_VERIFY_RANGE_COUNT
};

/* What the bytes say, with what follows from it: global flags switch layers on. */
struct rig_verify {
    bool on;
    unsigned asked;        /* RIG_VERIFY_LEAK and on, as the bytes have them */
    bool asked_full;
    unsigned layers;       /* that are on: global flags and page heap switch some on */
    bool full;             /* there are full blocks */
    bool exceptions;
    bool once;
    bool backwards;
    bool unaligned;
    bool nosync;
    bool leaks;
    enum rig_verify_selector selector;
    unsigned number;       /* of the selector */
    size_t size_min;       /* for SIZE */
    size_t size_max;
    unsigned flags;        /* RIG_VERIFY_HTC and on */
    size_t delayed_count;
    size_t delayed_bytes;
    bool by_rate;          /* low resources by the other front end */
    bool by_default;       /* no number is said */
    unsigned ppm;
    unsigned quiet_ms;
    unsigned included;     /* modules, a bit each from 1 on; 0: all */
    unsigned excluded;
    unsigned depth;        /* 0: as by default */
};

/* Units: none. Errors: none. */
void rig_verify_from_bytes(struct rig_verify *verify, const uint8_t bytes[RIG_VERIFY_BYTES]);

/* The settings in the grammar of the verifier's own text (NTHEAP_VERIFIER); "" when nothing is on.
 * Units: none. Errors: none. */
void rig_verify_print(const struct rig_verify *verify, char text[RIG_VERIFY_TEXT_BYTES]);

/* The bytes for such a text; false when it is no such text, or says what bytes cannot. Units: bytes.
 * Errors: as said. */
bool rig_verify_parse(uint8_t bytes[RIG_VERIFY_BYTES], const char *text, size_t len_bytes);

/* Probability and quiet time number `idx` of the tables, which go round. Units: parts per million,
 * milliseconds. Errors: none. */
unsigned rig_verify_ppm(unsigned idx);
unsigned rig_verify_quiet_ms(unsigned idx);

/* Name of module 1 to 4. Units: none. Errors: none. */
const char *rig_module_name(unsigned module);

#endif
