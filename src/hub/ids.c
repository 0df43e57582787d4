/* ids.c -- finds a member by the client's number.
 *
 * A table of its own rather than base/map with the number as a key of eight
 * bytes: map copies each key to the heap and keeps 32 bytes an entry, some 90
 * bytes a member in all; this table costs 11 to 21. Keyed hashing is not missed
 * either: numbers are dealt by the server in sequence, and nobody outside can
 * choose one that is put in here, only ones that are looked up.
 *
 * Linear probing at a load of at most 3/4. The number is read from the member
 * itself, since whoever finds one is about to touch it anyway. Removing closes
 * the gap by moving later entries back (no marks for the deleted), so that a
 * hub through which millions of clients have passed is as quick as a new one.
 *
 * Called by hub.c and cast.c. Memory grows with clients, so it comes from
 * quota_*. */
#include "hub/hub_priv.h"

#include "base/mem.h"
#include <string.h>

#define FEWEST 16u

/* Fibonacci hashing: numbers in sequence spread evenly over the top bits. */
static uint32_t home_of(const struct ids *t, uint64_t id)
{
    uint64_t h = id * 0x9e3779b97f4a7c15u;
    return (uint32_t)(((h >> 32) * t->capacity) >> 32);
}

/* The entry of `id`, or the free one where it would stand. */
static uint32_t probe(const struct ids *t, uint64_t id)
{
    uint32_t at = home_of(t, id);
    while (t->table[at] != NULL && t->table[at]->id != id) {
        at = (at + 1) & (t->capacity - 1);
    }
    return at;
}

void ids_fini(struct ids *t)
{
    quota_free(t->table);
    memset(t, 0, sizeof(*t));
}

struct member *ids_get(const struct ids *t, uint64_t id)
{
    return t->capacity == 0 ? NULL : t->table[probe(t, id)];
}

int ids_reserve(struct ids *t)
{
    if (t->count < t->capacity / 4 * 3) {
        return 0;
    }
    struct ids bigger = {NULL, t->capacity ? t->capacity * 2 : FEWEST, 0};
    size_t bytes = bigger.capacity * sizeof(struct member *);
    bigger.table = quota_alloc(bytes);
    if (bigger.table == NULL) {
        return ERR_NOMEM;
    }
    memset(bigger.table, 0, bytes);
    for (uint32_t i = 0; i < t->capacity; i++) {
        if (t->table[i] != NULL) {
            ids_put(&bigger, t->table[i]);
        }
    }
    quota_free(t->table);
    *t = bigger;
    return 0;
}

void ids_put(struct ids *t, struct member *m)
{
    uint32_t at = probe(t, m->id);
    ASSERT(t->table[at] == NULL, "a client's number is its own");
    t->table[at] = m;
    t->count++;
}

void ids_remove(struct ids *t, const struct member *m)
{
    uint32_t mask = t->capacity - 1;
    uint32_t gap = probe(t, m->id);
    ASSERT(t->table[gap] == m, "a member of the hub can be found");
    t->table[gap] = NULL;
    t->count--;
    for (uint32_t at = (gap + 1) & mask; t->table[at] != NULL;
         at = (at + 1) & mask) {
        /* An entry may only move back as far as its home: past that, its own
         * probe would begin behind it. */
        uint32_t home = home_of(t, t->table[at]->id);
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            t->table[gap] = t->table[at];
            t->table[at] = NULL;
            gap = at;
        }
    }
}
