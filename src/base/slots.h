/* slots.h -- id <-> pointer table with generations: a stale id finds nobody.
 *
 * Slots are dense and reused, so other tables can run parallel to this one;
 * a slot's generation grows each time it is given out, and starts at 1. */
#ifndef BASE_SLOTS_H
#define BASE_SLOTS_H

#include "base/base.h"

#define SLOT_NONE UINT32_MAX
#ifdef MOONWIRE_TINY
#    define SLOT_ROW 16u
#else
#    define SLOT_ROW 512u
#endif

struct slots {
    union {
        struct slot_entry *entries; /* of one row at most */
        struct slot_entry **rows;   /* of SLOT_ROW each */
    } u;
    uint32_t capacity; /* entries allocated */
    uint32_t row_cap;  /* room in u.rows; 0: there is u.entries instead */
    uint32_t used;     /* slots in use */
    uint32_t free_head;
};

struct slot_entry {
    void *ptr;           /* NULL: free */
    uint32_t generation; /* of the present or the last owner */
    uint32_t next_free;
};

void slots_init(struct slots *s);
void slots_fini(struct slots *s); /* frees the table, not what it points to */
/* Takes a slot for `ptr` (not NULL); never fails. */
uint32_t slots_add(struct slots *s, void *ptr, uint32_t *generation);
/* Frees the slot; ids of it are stale from now on. */
void slots_retire(struct slots *s, uint32_t slot);

/* Of one that there is. */
static inline struct slot_entry *slots_entry(
    const struct slots *s, uint32_t slot)
{
    return s->row_cap == 0 ? &s->u.entries[slot]
                           : &s->u.rows[slot / SLOT_ROW][slot % SLOT_ROW];
}

static inline void *slots_get(
    const struct slots *s, uint32_t slot, uint32_t generation)
{
    if (slot >= s->capacity) {
        return NULL;
    }
    const struct slot_entry *e = slots_entry(s, slot);
    return e->generation == generation ? e->ptr : NULL;
}

/* Whoever has that slot now; NULL: nobody. To look at one after the other, from
 * 0 to slots_end(), while the table may change in between. */
static inline void *slots_at(const struct slots *s, uint32_t slot)
{
    return slot < s->capacity ? slots_entry(s, slot)->ptr : NULL;
}

static inline uint32_t slots_end(const struct slots *s)
{
    return s->capacity;
}

#endif
