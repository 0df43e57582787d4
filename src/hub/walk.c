/* walk.c -- where a walk over members is, so that it can be stopped at any of
 * them.
 *
 * A broadcast to a hundred thousand, or a list of them, takes longer than a
 * section may (I9). So it is made in steps (cast.c, and lists here), and
 * between two of them the script that wants it can be stopped. Then the loop
 * goes on, and anything may happen to the hub but what scripts do: members
 * leave, with them users and rooms; others enter, and join rooms as they do. So
 * a walk holds on to nothing that could go:
 *
 *   in a room    to the slot it looks for next (see part.c), and to the room,
 *                which does not end before the walk has left it
 *   at a user    to the next client, which tells it before it goes
 *
 * and it is about those who were there as it began: each walk has a stamp, and
 * who enters during one bears it at once, as if he had been addressed. Nobody
 * else can join a room meanwhile. The walk over a room for a broadcast does not
 * look at members, so there newcomers are hidden in the room instead.
 *
 * All of this belongs to the hub and not to the fiber, whose stack can be gone
 * from one moment to the next: who drops a vm drops the walk it made
 * (hub_walk_drop()). There is one at a time, since nothing else of an app runs
 * while one of its scripts is stopped. */
#include "hub/hub_priv.h"

#include "script/preempt.h"

/* Members are asked for this many before they are needed. */
#define AHEAD 16u

void walk_begin(struct hub *h)
{
    ASSERT(!h->walk.is_on, "one walk at a time");
    h->walk = (struct walk){.is_on = true};
    h->stamp++;
}

void walk_enter_room(struct hub *h, struct room *r, bool hides)
{
    h->walk.room = r;
    h->walk.hides = hides;
    h->walk.part = &r->here;
    h->walk.slot = 0;
}

void walk_leave_room(struct hub *h)
{
    struct room *r = h->walk.room;
    h->walk.room = NULL;
    h->walk.part = NULL;
    h->walk.hides = false;
    if (r != NULL) {
        member_end_room_if_empty(h, r);
    }
}

bool walk_hides(const struct hub *h, const struct room *r)
{
    return h->walk.hides && h->walk.room == r;
}

void walk_enter_user(struct hub *h, const struct hub_name *name)
{
    struct user_entry *u = user_find(h, name->p, name->len);
    h->walk.user = u;
    h->walk.next = u != NULL ? u->members.next : NULL;
}

struct member *walk_client(struct hub *h)
{
    struct walk *k = &h->walk;
    if (k->user == NULL || k->next == &k->user->members) {
        k->user = NULL;
        return NULL;
    }
    return container_of(k->next, struct member, user_node);
}

void walk_pass_client(struct hub *h)
{
    h->walk.next = h->walk.next->next;
}

void walk_forget_member(struct hub *h, const struct member *m)
{
    if (h->walk.next == &m->user_node) {
        h->walk.next = m->user_node.next;
    }
}

void walk_forget_user(struct hub *h, const struct user_entry *u)
{
    if (h->walk.user == u) {
        h->walk.user = NULL;
        h->walk.next = NULL;
    }
}

void walk_end(struct hub *h)
{
    ASSERT(h->walk.is_on, "a walk ends once");
    walk_leave_room(h);
    blob_unref(h->walk.list);
    h->walk = (struct walk){0};
}

void hub_walk_drop(struct hub *h)
{
    if (h->walk.is_on) {
        cast_drop(h);
        walk_end(h);
    }
}

/* ---- lists of ids ---- */

uint32_t hub_count_room(const struct hub *h, const struct hub_name *room)
{
    const struct room *r = &h->everybody;
    if (room != NULL) {
        r = map_get(&h->rooms, room->p, room->len);
    }
    return r != NULL ? room_count(r) : 0;
}

uint32_t hub_count_user(const struct hub *h, const struct hub_name *user)
{
    const struct user_entry *u = user_find(h, user->p, user->len);
    return u != NULL ? u->count : 0;
}

void hub_list_room(struct hub *h, const struct hub_name *room)
{
    struct room *r =
        room == NULL ? &h->everybody : hub_room(h, room->p, room->len);
    walk_begin(h);
    if (r != NULL) {
        walk_enter_room(h, r, false);
    }
}

void hub_list_user(struct hub *h, const struct hub_name *user)
{
    walk_begin(h);
    walk_enter_user(h, user);
}

/* Of the part that the walk is in. True: all of it, or all that fit. */
static bool list_part(struct hub *h, uint64_t *ids, size_t cap, size_t *n)
{
    struct walk *k = &h->walk;
    struct places s;
    while (*n < cap && part_next(k->part, k->slot, &s)) {
        uint32_t i = 0;
        bool is_due = false;
        while (i < s.len && *n < cap && !is_due) {
            if (i + AHEAD < s.len) {
                __builtin_prefetch(&s.members[i + AHEAD]->id);
                __builtin_prefetch(&s.members[i + AHEAD]->stamp);
            }
            const struct member *m = s.members[i++];
            if (m->stamp != h->stamp) {
                ids[(*n)++] = m->id;
            }
            is_due = preempt_is_due();
        }
        k->slot = (s.slots[i - 1] & ~ROOM_HIDDEN) + 1;
        if (is_due) {
            return false;
        }
    }
    return true;
}

bool hub_list_step(struct hub *h, uint64_t *ids, size_t cap, size_t *n)
{
    struct walk *k = &h->walk;
    const struct member *m;
    while (k->part != NULL) {
        if (!list_part(h, ids, cap, n)) {
            return false;
        }
        k->part = k->part->next;
        k->slot = 0;
    }
    while (*n < cap && (m = walk_client(h)) != NULL) {
        walk_pass_client(h);
        if (m->stamp != h->stamp) {
            ids[(*n)++] = m->id;
        }
        if (preempt_is_due()) {
            return false;
        }
    }
    return true;
}

void hub_list_end(struct hub *h)
{
    walk_end(h);
}
