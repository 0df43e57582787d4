/* slots.c -- id <-> pointer table with generations.
 *
 * One loop owns a table. The free slots are a list through the entries
 * themselves, last retired first out, because its cache lines (here and in
 * the tables that run parallel) are the warm ones; slots never used yet come
 * lowest first, so the tables stay dense.
 *
 * The table only grows, and a slot keeps its generation while it is free:
 * that is what makes an old id stale. A generation wraps after 2^32 owners of
 * one slot and skips 0, which so remains an id that nobody ever has. */
#include "base/slots.h"
#include "base/mem.h"

#define FIRST_CAPACITY 16

void slots_init(struct slots *s)
{
    *s = (struct slots){.free_head = SLOT_NONE};
}

void slots_fini(struct slots *s)
{
    mem_free(s->entries);
    slots_init(s);
}

/* Called when no slot is free: the new ones become the free list. */
static void grow(struct slots *s)
{
    uint32_t old = s->capacity;
    ASSERT(old <= SLOT_NONE / 2, "slots are 32 bits");
    uint32_t capacity = old != 0 ? old * 2 : FIRST_CAPACITY;
    s->entries = mem_realloc(s->entries, capacity * sizeof(*s->entries));
    for (uint32_t i = old; i < capacity; i++) {
        s->entries[i] = (struct slot_entry){
            .next_free = i + 1 < capacity ? i + 1 : SLOT_NONE,
        };
    }
    s->capacity = capacity;
    s->free_head = old;
}

uint32_t slots_add(struct slots *s, void *ptr, uint32_t *generation)
{
    ASSERT(ptr != NULL, "NULL marks a free slot");
    if (s->free_head == SLOT_NONE) {
        grow(s);
    }
    uint32_t slot = s->free_head;
    struct slot_entry *e = &s->entries[slot];
    s->free_head = e->next_free;
    e->next_free = SLOT_NONE;
    e->ptr = ptr;
    e->generation++;
    if (e->generation == 0) {
        e->generation = 1;
    }
    s->used++;
    *generation = e->generation;
    return slot;
}

void slots_retire(struct slots *s, uint32_t slot)
{
    ASSERT(slot < s->capacity, "a slot of this table");
    struct slot_entry *e = &s->entries[slot];
    ASSERT(e->ptr != NULL, "a slot is retired once");
    e->ptr = NULL;
    e->next_free = s->free_head;
    s->free_head = slot;
    s->used--;
}
