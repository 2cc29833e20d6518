/* SPDX-License-Identifier: MIT
 *
 * Masks of the flag bits that each kind of call honours, from the one table flags.def. */
#ifndef NTH_FLAGS_H
#define NTH_FLAGS_H

#define NTH_FLAG_HONOURED(bit) (bit)
#define NTH_FLAG_IGNORED(bit) 0u
#define NTH_FLAG_REFUSED(bit) 0u

enum {
    NTH_CREATE_RTL_FLAGS = 0
#define NTH_CREATE_FLAG(bit, name, rtl, win32, ruling) | (int)NTH_FLAG_##rtl(bit)
#include "flags.def"
    ,
    NTH_CREATE_WIN32_FLAGS = 0
#define NTH_CREATE_FLAG(bit, name, rtl, win32, ruling) | (int)NTH_FLAG_##win32(bit)
#include "flags.def"
    ,
    NTH_ALLOCATE_FLAGS = 0
#define NTH_CALL_FLAG(bit, name, alloc, realloc, other, ruling) | (int)NTH_FLAG_##alloc(bit)
#include "flags.def"
    ,
    NTH_REALLOCATE_FLAGS = 0
#define NTH_CALL_FLAG(bit, name, alloc, realloc, other, ruling) | (int)NTH_FLAG_##realloc(bit)
#include "flags.def"
    ,
    NTH_OTHER_FLAGS = 0
#define NTH_CALL_FLAG(bit, name, alloc, realloc, other, ruling) | (int)NTH_FLAG_##other(bit)
#include "flags.def"
};

#endif
