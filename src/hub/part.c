/* part.c -- the members of a room that live on one loop, in the order in which
 * they are walked.
 *
 * A walk (cast.c, or net/fanout over there) should find the slots ascending,
 * since lanes and the kernel's sockets lie in that order, and it should find
 * them dense. Both are matters of speed alone: every broadcast is queued for
 * all its members before the next one begins, so their order here shows in no
 * client's stream. So both are kept lazily, and only so far as they pay:
 *
 *   A member that leaves leaves a dead place behind, which still knows its
 *   slot. One that joins takes a dead place where its own slot is in order
 *   (free slots of connections are reused last in, first out, so under churn
 *   that is the common case), or the end, if its slot is higher than all. Else
 *   it stands in an unsorted tail.
 *
 *   part_tidy() closes the gaps when more than a quarter of the places is
 *   dead, and merges the tail when it is more than a sixteenth of the part.
 *   Either costs a step per member, paid for by as many leaves or joins.
 *
 * Leaving is O(1), joining O(log n), both amortised over the tidying. A place
 * changes its index only in move_place(), which tells the member.
 *
 * For another loop the slots are copied to a list that letters carry
 * (part_list()), and that does not change any more: whoever joins or leaves
 * only makes the next broadcast copy anew. */
#include "hub/hub_priv.h"

#include "base/mem.h"
#include "net/fanout.h"
#include <stdlib.h>
#include <string.h>

#define FEWEST_PLACES 4u

struct place {
    uint32_t slot;
    struct member *member;
};

static bool is_dead(const struct part *p, uint32_t i)
{
    return (p->slots[i] & ROOM_DEAD) != 0;
}

static uint32_t slot_at(const struct part *p, uint32_t i)
{
    return p->slots[i] & ~ROOM_DEAD;
}

void part_init(struct part *p, struct room *r, uint32_t loop)
{
    *p = (struct part){.room = r, .loop = loop};
}

void part_fini(struct part *p)
{
    ASSERT(p->len == p->dead, "a room outlives its members");
    blob_unref(p->list);
    quota_free(p->members);
}

uint32_t part_count(const struct part *p)
{
    return p->len - p->dead;
}

/* One allocation holds both arrays, so that growing fails as a whole. */
static int resize(struct part *p, uint32_t cap)
{
    struct member **members =
        quota_alloc(cap * (sizeof(*members) + sizeof(uint32_t)));
    if (members == NULL) {
        return ERR_NOMEM;
    }
    uint32_t *slots = (uint32_t *)(void *)(members + cap);
    if (p->len > 0) {
        memcpy(members, p->members, p->len * sizeof(*members));
        memcpy(slots, p->slots, p->len * sizeof(*slots));
    }
    quota_free(p->members);
    p->members = members;
    p->slots = slots;
    p->cap = cap;
    return 0;
}

static void move_place(
    struct part *p, uint32_t to, uint32_t slot, struct member *m)
{
    p->slots[to] = slot;
    p->members[to] = m;
    member_in(m, p->room)->index = to;
}

static void close_gaps(struct part *p)
{
    uint32_t to = 0;
    uint32_t sorted = 0;
    for (uint32_t i = 0; i < p->len; i++) {
        if (is_dead(p, i)) {
            continue;
        }
        if (i < p->sorted) {
            sorted++;
        }
        if (to != i) {
            move_place(p, to, p->slots[i], p->members[i]);
        }
        to++;
    }
    p->len = to;
    p->dead = 0;
    p->sorted = sorted;
    if (p->cap > 16 * FEWEST_PLACES && p->len < p->cap / 8) {
        /* Without memory for less memory, it stays as it is. */
        resize(p, p->cap / 4);
    }
}

int part_reserve(struct part *p)
{
    if (p->len < p->cap) {
        return 0;
    }
    if (p->dead > p->len / 4) {
        close_gaps(p);
        return 0;
    }
    return resize(p, p->cap == 0 ? FEWEST_PLACES : p->cap * 2);
}

/* The first sorted place whose slot is not below `slot`. */
static uint32_t lower_bound(const struct part *p, uint32_t slot)
{
    uint32_t low = 0;
    uint32_t high = p->sorted;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (slot_at(p, mid) < slot) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* Where a member with this slot is to stand: a dead place, or the end. */
static uint32_t choose_place(const struct part *p, uint32_t slot)
{
    if (p->dead == 0) {
        return p->len;
    }
    uint32_t at = lower_bound(p, slot);
    if (at < p->sorted && is_dead(p, at)) {
        return at;
    }
    if (at > 0 && is_dead(p, at - 1)) {
        return at - 1;
    }
    return p->len;
}

static void forget_list(struct part *p)
{
    blob_unref(p->list);
    p->list = NULL;
}

uint32_t part_add(struct part *p, struct member *m)
{
    uint32_t slot = m->conn.slot;
    uint32_t at = choose_place(p, slot);
    forget_list(p);
    ASSERT(slot < ROOM_DEAD && at < p->cap, "part_reserve() came first");
    if (at < p->len) {
        p->dead--;
    } else {
        if (p->sorted == at && (at == 0 || slot_at(p, at - 1) < slot)) {
            p->sorted++;
        }
        p->len++;
    }
    p->slots[at] = slot;
    p->members[at] = m;
    return at;
}

void part_remove(struct part *p, uint32_t index)
{
    forget_list(p);
    p->slots[index] |= ROOM_DEAD;
    p->members[index] = NULL;
    p->dead++;
    while (p->len > 0 && is_dead(p, p->len - 1)) {
        p->len--;
        p->dead--;
    }
    if (p->sorted > p->len) {
        p->sorted = p->len;
    }
}

static int by_slot(const void *a, const void *b)
{
    uint32_t x = ((const struct place *)a)->slot;
    uint32_t y = ((const struct place *)b)->slot;
    return (x > y) - (x < y);
}

/* Merges the tail into the sorted places from behind, so that those below the
 * lowest slot of the tail are not touched. The part has no dead places. */
static void sort_tail(struct part *p)
{
    uint32_t n = p->len - p->sorted;
    struct place *tail = quota_alloc(n * sizeof(*tail));
    if (tail == NULL) {
        return; /* a walk out of order is slower, not wrong */
    }
    for (uint32_t i = 0; i < n; i++) {
        tail[i].slot = p->slots[p->sorted + i];
        tail[i].member = p->members[p->sorted + i];
    }
    qsort(tail, n, sizeof(*tail), by_slot);
    uint32_t left = p->sorted;
    for (uint32_t to = p->len; n > 0; to--) {
        if (left > 0 && p->slots[left - 1] > tail[n - 1].slot) {
            left--;
            move_place(p, to - 1, p->slots[left], p->members[left]);
        } else {
            n--;
            move_place(p, to - 1, tail[n].slot, tail[n].member);
        }
    }
    p->sorted = p->len;
    quota_free(tail);
}

void part_tidy(struct part *p)
{
    bool is_mixed = p->len - p->sorted > p->len / 16;
    if (p->dead > p->len / 4 || (is_mixed && p->dead > 0)) {
        close_gaps(p);
    }
    if (is_mixed && p->sorted < p->len) {
        sort_tail(p);
    }
}

uint32_t part_ids(const struct part *p, uint64_t *ids, uint32_t cap)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->len && n < cap; i++) {
        if (!is_dead(p, i)) {
            ids[n++] = p->members[i]->id;
        }
    }
    return n;
}

struct blob *part_list(struct part *p, struct meter *meter)
{
    if (p->list != NULL) {
        return p->list;
    }
    struct fanout_target *targets;
    struct blob *list = blob_new(meter, part_count(p) * sizeof(*targets));
    if (list == NULL) {
        return NULL;
    }
    targets = (struct fanout_target *)(void *)list->data;
    for (uint32_t i = 0; i < p->len; i++) {
        if (p->members[i] != NULL) {
            *targets++ = (struct fanout_target){
                slot_at(p, i), p->members[i]->conn.generation};
        }
    }
    p->list = list;
    return list;
}
