/* blob.c -- refcounted bytes and the meter that bounds them.
 *
 * Any thread. A blob is charged to its meter before it is allocated and
 * uncharged after it is freed (late.c), so the meter never reads less than what
 * is really held. The cap is exact: two threads that race for the last bytes
 * cannot both get them.
 *
 * The last unref frees. Whoever frees must see everything the others did with
 * the bytes: each unref is a release, and the last one is followed by an
 * acquire load of the count, which synchronises with all of them (a fence
 * would do the same, but thread sanitizers do not understand fences). */
#include "base/blob.h"
#include "base/late.h"
#include "base/limits.h"
#include "base/mem.h"

/* Drops a reference; true: it was the last. */
static bool drop_ref(atomic_uint *refs)
{
    unsigned before = atomic_fetch_sub_explicit(refs, 1, memory_order_release);
    ASSERT(before != 0, "I4: a reference is dropped once");
    if (before != 1) {
        return false;
    }
    (void)atomic_load_explicit(refs, memory_order_acquire);
    return true;
}

static void take_ref(atomic_uint *refs)
{
    /* Relaxed: whoever hands us the object already made it visible. */
    unsigned before = atomic_fetch_add_explicit(refs, 1, memory_order_relaxed);
    ASSERT(
        before != 0 && before != UINT32_MAX, "I4: only the living are ref'd");
}

struct meter *meter_new(size_t cap_bytes)
{
    struct meter *m = quota_alloc(sizeof(*m));
    if (m == NULL) {
        return NULL;
    }
    atomic_init(&m->used, 0);
    atomic_init(&m->cap, cap_bytes);
    atomic_init(&m->refs, 1);
    return m;
}

struct meter *meter_ref(struct meter *m)
{
    take_ref(&m->refs);
    return m;
}

void meter_unref(struct meter *m)
{
    if (m != NULL && drop_ref(&m->refs)) {
        quota_free(m);
    }
}

size_t meter_used(const struct meter *m)
{
    return atomic_load_explicit(&m->used, memory_order_relaxed);
}

void meter_set_cap(struct meter *m, size_t cap_bytes)
{
    atomic_store_explicit(&m->cap, cap_bytes, memory_order_relaxed);
}

size_t meter_cap(const struct meter *m)
{
    return atomic_load_explicit(&m->cap, memory_order_relaxed);
}

bool meter_charge(struct meter *m, size_t n)
{
    size_t cap = meter_cap(m);
    size_t used = atomic_load_explicit(&m->used, memory_order_relaxed);
    do {
        if (used > cap || n > cap - used) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(
        &m->used, &used, used + n, memory_order_relaxed, memory_order_relaxed));
    return true;
}

void meter_release(struct meter *m, size_t n)
{
    size_t before =
        atomic_fetch_sub_explicit(&m->used, n, memory_order_relaxed);
    ASSERT(before >= n, "I2: nothing is given back that was not charged");
}

/* Nobody is refused room for the sake of what has been freed and is only late
 * in going. */
static bool charge(struct meter *m, size_t n)
{
    while (!meter_charge(m, n)) {
        if (n > meter_cap(m) || !late_work(m, LIMIT_LATE_PIECE_BYTES)) {
            return false;
        }
    }
    return true;
}

struct blob *blob_new(struct meter *meter, size_t size)
{
    ASSERT(size <= UINT32_MAX, "I6");
    size_t total = sizeof(struct blob) + size;
    if (meter != NULL && !charge(meter, total)) {
        return NULL;
    }
    struct blob *b = quota_alloc(total);
    if (b == NULL) {
        if (meter != NULL) {
            meter_release(meter, total);
        }
        return NULL;
    }
    atomic_init(&b->refs, 1);
    b->size = (uint32_t)size;
    b->meter = meter != NULL ? meter_ref(meter) : NULL;
    b->is_scratch = 0;
    return b;
}

struct blob *blob_ref(struct blob *b)
{
    take_ref(&b->refs);
    return b;
}

void blob_unref(struct blob *b)
{
    if (b == NULL || !drop_ref(&b->refs)) {
        return;
    }
    late_free(b, sizeof(*b) + b->size, b->meter);
}
