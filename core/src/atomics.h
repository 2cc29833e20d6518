/* SPDX-License-Identifier: MIT
 *
 * Every atomic operation of core, by one set of names, so that a build may swap this header for
 * one that yields to a scheduler. Wraps C11 atomics. */
#ifndef NTH_ATOMICS_H
#define NTH_ATOMICS_H

#include <stdatomic.h>

#define NTH_ATOMIC(type) _Atomic(type)
#define nth_load_relaxed(ptr) atomic_load_explicit((ptr), memory_order_relaxed)
#define nth_load_acquire(ptr) atomic_load_explicit((ptr), memory_order_acquire)
#define nth_load_seq(ptr) atomic_load_explicit((ptr), memory_order_seq_cst)
#define nth_store_relaxed(ptr, value) atomic_store_explicit((ptr), (value), memory_order_relaxed)
#define nth_store_release(ptr, value) atomic_store_explicit((ptr), (value), memory_order_release)
#define nth_store_seq(ptr, value) atomic_store_explicit((ptr), (value), memory_order_seq_cst)
#define nth_add(ptr, value) atomic_fetch_add_explicit((ptr), (value), memory_order_acq_rel)
#define nth_sub(ptr, value) atomic_fetch_sub_explicit((ptr), (value), memory_order_acq_rel)
#define nth_exchange(ptr, value) atomic_exchange_explicit((ptr), (value), memory_order_acq_rel)
#define nth_cas(ptr, expected, wanted)                                                             \
    atomic_compare_exchange_strong_explicit((ptr), (expected), (wanted), memory_order_acq_rel,     \
                                            memory_order_acquire)
/* A byte of the block map: written under the lock, and looked at without it by a free that wants to
 * know whether the block is a slot. */
#define nth_load_byte(ptr) __atomic_load_n((ptr), __ATOMIC_RELAXED)
#define nth_store_byte(ptr, value) __atomic_store_n((ptr), (value), __ATOMIC_RELAXED)
#define nth_fence_seq() atomic_thread_fence(memory_order_seq_cst)
#define nth_fence_compiler() atomic_signal_fence(memory_order_seq_cst)

#endif
