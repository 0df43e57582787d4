/* slots.c -- id <-> pointer table with generations.
 *
 * One loop owns a table. The free slots are a list through the entries
 * themselves, last retired first out, because its cache lines (here and in
 * the tables that run parallel) are the warm ones; slots never used yet come
 * lowest first, so the tables stay dense.
 *
 * The table only grows, and a slot keeps its generation while it is free:
 * that is what makes an old id stale. A generation wraps after 2^32 owners of
 * one slot and skips 0, which so remains an id that nobody ever has.
 *
 * Beyond some hundred it grows by a row at a time and is not copied: scripts
 * make tables grow in sections that are not stopped (app/api_time.c). */
#include "base/slots.h"
#include "base/mem.h"

#define FIRST_CAPACITY 16
#define FIRST_ROWS     8

void slots_init(struct slots *s)
{
    *s = (struct slots){.free_head = SLOT_NONE};
}

void slots_fini(struct slots *s)
{
    for (uint32_t i = 0; s->row_cap != 0 && i < s->capacity / SLOT_ROW; i++) {
        mem_free(s->u.rows[i]);
    }
    if (s->row_cap != 0) {
        mem_free(s->u.rows);
    } else {
        mem_free(s->u.entries);
    }
    slots_init(s);
}

/* Room for one more row in the list of them. */
static void reserve_row(struct slots *s)
{
    uint32_t count = s->capacity / SLOT_ROW;
    if (s->row_cap == 0) {
        struct slot_entry **rows = mem_alloc(FIRST_ROWS * sizeof(*rows));
        rows[0] = s->u.entries;
        s->u.rows = rows;
        s->row_cap = FIRST_ROWS;
    } else if (count == s->row_cap) {
        s->row_cap *= 2;
        s->u.rows =
            mem_realloc(s->u.rows, s->row_cap * sizeof(struct slot_entry *));
    }
}

/* Called when no slot is free: the new ones become the free list. */
static void grow(struct slots *s)
{
    uint32_t old = s->capacity;
    uint32_t more = SLOT_ROW;
    if (old < SLOT_ROW) {
        more = old != 0 ? old : FIRST_CAPACITY;
        s->u.entries =
            mem_realloc(s->u.entries, (old + more) * sizeof(struct slot_entry));
    } else {
        ASSERT(old < SLOT_NONE - more, "slots are 32 bits");
        reserve_row(s);
        s->u.rows[old / SLOT_ROW] =
            mem_alloc(SLOT_ROW * sizeof(struct slot_entry));
    }
    s->capacity = old + more;
    for (uint32_t i = old; i < s->capacity; i++) {
        *slots_entry(s, i) = (struct slot_entry){
            .next_free = i + 1 < s->capacity ? i + 1 : SLOT_NONE,
        };
    }
    s->free_head = old;
}

uint32_t slots_add(struct slots *s, void *ptr, uint32_t *generation)
{
    ASSERT(ptr != NULL, "NULL marks a free slot");
    if (s->free_head == SLOT_NONE) {
        grow(s);
    }
    uint32_t slot = s->free_head;
    struct slot_entry *e = slots_entry(s, slot);
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
    struct slot_entry *e = slots_entry(s, slot);
    ASSERT(e->ptr != NULL, "a slot is retired once");
    e->ptr = NULL;
    e->next_free = s->free_head;
    s->free_head = slot;
    s->used--;
}
