/* room.c -- the members of one room, in the order in which they are walked.
 *
 * A walk (cast.c) should find the slots ascending, since lanes and the
 * kernel's sockets lie in that order, and it should find them dense. Both are
 * matters of speed alone: every broadcast is queued for all its members before
 * the next one begins, so their order here shows in no client's stream. So
 * both are kept lazily, and only so far as they pay:
 *
 *   A member that leaves leaves a dead place behind, which still knows its
 *   slot. One that joins takes a dead place where its own slot is in order
 *   (free slots of connections are reused last in, first out, so under churn
 *   that is the common case), or the end, if its slot is higher than all. Else
 *   it stands in an unsorted tail.
 *
 *   room_tidy() closes the gaps when more than a quarter of the places is
 *   dead, and merges the tail when it is more than a sixteenth of the room.
 *   Either costs a step per member, paid for by as many leaves or joins.
 *
 * Leaving is O(1), joining O(log n), both amortised over the tidying. A place
 * changes its index only in move_place(), which tells the member.
 *
 * member.c and hub.c call this. It knows neither quotas nor when a room is to
 * be made or to die: that is member.c. */
#include "hub/hub_priv.h"

#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

#define FEWEST_PLACES 4u

struct place {
    uint32_t slot;
    struct member *member;
};

static bool is_dead(const struct room *r, uint32_t i)
{
    return (r->slots[i] & ROOM_DEAD) != 0;
}

static uint32_t slot_at(const struct room *r, uint32_t i)
{
    return r->slots[i] & ~ROOM_DEAD;
}

void room_init(struct room *r, const char *name, size_t len)
{
    memset(r, 0, sizeof(*r));
    r->name = name;
    r->name_len = (uint32_t)len;
    tape_init(&r->tape, false);
    tape_init(&r->packed, false);
}

void room_fini(struct room *r)
{
    ASSERT(r->len == r->dead, "a room outlives its members");
    tape_fini(&r->tape);
    tape_fini(&r->packed);
    quota_free(r->members);
}

struct room *room_new(
    const char *name, size_t len, const struct room_rule *rule)
{
    struct room *r = quota_alloc(sizeof(*r) + len + 1);
    if (r == NULL) {
        return NULL;
    }
    char *copy = (char *)(r + 1);
    memcpy(copy, name, len);
    copy[len] = '\0';
    room_init(r, copy, len);
    r->rule = *rule;
    return r;
}

void room_free(struct room *r)
{
    room_fini(r);
    quota_free(r);
}

uint32_t room_count(const struct room *r)
{
    return r->len - r->dead;
}

const char *room_name(const struct room *r, size_t *len)
{
    *len = r->name_len;
    return r->name;
}

/* One allocation holds both arrays, so that growing fails as a whole. */
static int resize(struct room *r, uint32_t cap)
{
    struct member **members =
        quota_alloc(cap * (sizeof(*members) + sizeof(uint32_t)));
    if (members == NULL) {
        return ERR_NOMEM;
    }
    uint32_t *slots = (uint32_t *)(void *)(members + cap);
    if (r->len > 0) {
        memcpy(members, r->members, r->len * sizeof(*members));
        memcpy(slots, r->slots, r->len * sizeof(*slots));
    }
    quota_free(r->members);
    r->members = members;
    r->slots = slots;
    r->cap = cap;
    return 0;
}

static void move_place(
    struct room *r, uint32_t to, uint32_t slot, struct member *m)
{
    r->slots[to] = slot;
    r->members[to] = m;
    member_in(m, r)->index = to;
}

static void close_gaps(struct room *r)
{
    uint32_t to = 0;
    uint32_t sorted = 0;
    for (uint32_t i = 0; i < r->len; i++) {
        if (is_dead(r, i)) {
            continue;
        }
        if (i < r->sorted) {
            sorted++;
        }
        if (to != i) {
            move_place(r, to, r->slots[i], r->members[i]);
        }
        to++;
    }
    r->len = to;
    r->dead = 0;
    r->sorted = sorted;
    if (r->cap > 16 * FEWEST_PLACES && r->len < r->cap / 8) {
        /* Without memory for less memory, it stays as it is. */
        resize(r, r->cap / 4);
    }
}

int room_reserve(struct room *r)
{
    if (r->len < r->cap) {
        return 0;
    }
    if (r->dead > r->len / 4) {
        close_gaps(r);
        return 0;
    }
    return resize(r, r->cap == 0 ? FEWEST_PLACES : r->cap * 2);
}

/* The first sorted place whose slot is not below `slot`. */
static uint32_t lower_bound(const struct room *r, uint32_t slot)
{
    uint32_t low = 0;
    uint32_t high = r->sorted;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (slot_at(r, mid) < slot) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* Where a member with this slot is to stand: a dead place, or the end. */
static uint32_t choose_place(const struct room *r, uint32_t slot)
{
    if (r->dead == 0) {
        return r->len;
    }
    uint32_t at = lower_bound(r, slot);
    if (at < r->sorted && is_dead(r, at)) {
        return at;
    }
    if (at > 0 && is_dead(r, at - 1)) {
        return at - 1;
    }
    return r->len;
}

uint32_t room_add(struct room *r, struct member *m)
{
    uint32_t slot = m->conn.slot;
    uint32_t at = choose_place(r, slot);
    ASSERT(slot < ROOM_DEAD && at < r->cap, "room_reserve() came first");
    if (at < r->len) {
        r->dead--;
    } else {
        if (r->sorted == at && (at == 0 || slot_at(r, at - 1) < slot)) {
            r->sorted++;
        }
        r->len++;
    }
    r->slots[at] = slot;
    r->members[at] = m;
    return at;
}

void room_remove(struct room *r, uint32_t index)
{
    r->slots[index] |= ROOM_DEAD;
    r->members[index] = NULL;
    r->dead++;
    while (r->len > 0 && is_dead(r, r->len - 1)) {
        r->len--;
        r->dead--;
    }
    if (r->sorted > r->len) {
        r->sorted = r->len;
    }
}

static int by_slot(const void *a, const void *b)
{
    uint32_t x = ((const struct place *)a)->slot;
    uint32_t y = ((const struct place *)b)->slot;
    return (x > y) - (x < y);
}

/* Merges the tail into the sorted places from behind, so that those below the
 * lowest slot of the tail are not touched. The room has no dead places. */
static void sort_tail(struct room *r)
{
    uint32_t n = r->len - r->sorted;
    struct place *tail = quota_alloc(n * sizeof(*tail));
    if (tail == NULL) {
        return; /* a walk out of order is slower, not wrong */
    }
    for (uint32_t i = 0; i < n; i++) {
        tail[i].slot = r->slots[r->sorted + i];
        tail[i].member = r->members[r->sorted + i];
    }
    qsort(tail, n, sizeof(*tail), by_slot);
    uint32_t left = r->sorted;
    for (uint32_t to = r->len; n > 0; to--) {
        if (left > 0 && r->slots[left - 1] > tail[n - 1].slot) {
            left--;
            move_place(r, to - 1, r->slots[left], r->members[left]);
        } else {
            n--;
            move_place(r, to - 1, tail[n].slot, tail[n].member);
        }
    }
    r->sorted = r->len;
    quota_free(tail);
}

void room_tidy(struct room *r)
{
    bool is_mixed = r->len - r->sorted > r->len / 16;
    if (r->dead > r->len / 4 || (is_mixed && r->dead > 0)) {
        close_gaps(r);
    }
    if (is_mixed && r->sorted < r->len) {
        sort_tail(r);
    }
}

uint32_t room_ids(
    const struct hub *h, const struct room *r, uint64_t *ids, uint32_t cap)
{
    if (r == NULL) {
        r = &h->everybody;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->len && n < cap; i++) {
        if (!is_dead(r, i)) {
            ids[n++] = r->members[i]->id;
        }
    }
    return room_count(r);
}
