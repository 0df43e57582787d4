/* word.h -- one number that other threads may read (I4).
 *
 * Either one thread alone writes it (word_set), or it is a count that all of
 * them add to (word_add, word_sub). Who reads a value sees everything its
 * writer did before; a decision that needs two words to agree belongs into a
 * letter instead. */
#ifndef BASE_WORD_H
#define BASE_WORD_H

#include "base/base.h"
#include <stdatomic.h>

struct word {
    _Atomic uint64_t v;
};

static inline void word_set(struct word *w, uint64_t v)
{
    atomic_store_explicit(&w->v, v, memory_order_release);
}

static inline uint64_t word_get(const struct word *w)
{
    return atomic_load_explicit(&w->v, memory_order_acquire);
}

static inline void word_add(struct word *w, uint64_t n)
{
    (void)atomic_fetch_add_explicit(&w->v, n, memory_order_acq_rel);
}

static inline void word_sub(struct word *w, uint64_t n)
{
    (void)atomic_fetch_sub_explicit(&w->v, n, memory_order_acq_rel);
}

#endif
