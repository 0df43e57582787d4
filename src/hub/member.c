/* member.c -- which rooms a member is in, and when a room begins and ends.
 *
 * A room begins with its first member and ends with its last; the quotas of
 * the app and of the client are judged here, and all memory is taken before
 * anything changes, so a join that fails leaves no trace (not even an empty
 * room).
 *
 * A member's rooms are a short array (hub_set_limits) in the
 * order of joining, looked through from its start. The first is the room of
 * everybody; most clients are in no other, and then there is no array on the
 * heap.
 *
 * The app calls this by way of hub.h. */
#include "hub/hub_priv.h"

#include "base/mem.h"
#include <string.h>

/* Places in the table of rooms, most of which may be empty. */
#define LOOK_AT_ONCE 512u

bool member_is_in(const struct member *m, const struct room *r)
{
    for (uint32_t i = 0; i < m->room_count; i++) {
        if (m->rooms[i] == r) {
            return true;
        }
    }
    return false;
}

struct room *hub_room(struct hub *h, const char *name, size_t len)
{
    return map_get(&h->rooms, name, len);
}

struct room *hub_next_room(struct hub *h, uint32_t *at, bool *is_end)
{
    const struct map_entry *e = map_look(&h->rooms, at, LOOK_AT_ONCE);
    *is_end = e == NULL && *at >= map_end(&h->rooms);
    return e == NULL ? NULL : e->value;
}

bool hub_is_in(const struct member *m, const char *room, size_t len)
{
    if (m->hub == NULL) {
        return false;
    }
    struct room *r = hub_room(m->hub, room, len);
    return r != NULL && member_is_in(m, r);
}

/* Room for one more membership. */
static int reserve_membership(struct member *m)
{
    if (m->room_count < m->room_cap) {
        return 0;
    }
    uint32_t cap = m->room_cap < 4 ? 4 : m->room_cap * 2;
    bool is_inline = m->rooms == &m->first;
    struct room **rooms =
        quota_realloc(is_inline ? NULL : m->rooms, cap * sizeof(struct room *));
    if (rooms == NULL) {
        return ERR_NOMEM;
    }
    if (is_inline) {
        rooms[0] = m->first;
    }
    m->rooms = rooms;
    m->room_cap = cap;
    return 0;
}

static void release_memberships(struct member *m)
{
    if (m->rooms == &m->first) {
        return;
    }
    m->first = m->rooms[0];
    quota_free(m->rooms);
    m->rooms = &m->first;
    m->room_cap = 1;
}

/* A room that nobody is in yet, with a place for one. */
static int begin_room(struct hub *h, const char *name, size_t len,
    const struct conn_id *conn, struct room **out)
{
    struct room_rule rule = rules_match(h, name, len);
    struct room *r = room_new(name, len, h->home, &rule);
    if (r == NULL) {
        return ERR_NOMEM;
    }
    int rc = room_reserve(r, conn);
    if (rc == 0) {
        rc = map_put(&h->rooms, name, len, r);
    }
    if (rc != 0) {
        room_free(r);
        return rc;
    }
    *out = r;
    return 0;
}

void member_end_room_if_empty(struct hub *h, struct room *r)
{
    if (room_count(r) > 0 || r == &h->everybody || r == h->walk.room) {
        return;
    }
    map_remove(&h->rooms, r->name, r->name_len);
    room_free(r);
}

/* May this member be one more in `r` (NULL: the room is not there yet)? */
static int judge_join(
    const struct hub *h, const struct member *m, const struct room *r)
{
    if (m->room_count - 1 >= h->rooms_per_client) {
        return ERR_QUOTA;
    }
    if (r == NULL) {
        return h->rooms.count >= h->rooms_max ? ERR_QUOTA : 0;
    }
    uint32_t max = r->rule.max_clients;
    return max != 0 && room_count(r) >= max ? ERR_FULL : 0;
}

int hub_join(struct member *m, const char *room, size_t len)
{
    struct hub *h = m->hub;
    if (h == NULL) {
        return ERR_CLOSED;
    }
    ASSERT(!h->is_walking, "membership rests during a walk");
    struct room *r = hub_room(h, room, len);
    if (r != NULL && member_is_in(m, r)) {
        return 0;
    }
    int rc = judge_join(h, m, r);
    if (rc == 0) {
        rc = reserve_membership(m);
    }
    if (rc == 0) {
        rc = r == NULL ? begin_room(h, room, len, &m->conn, &r)
                       : room_reserve(r, &m->conn);
    }
    if (rc != 0) {
        if (m->room_count == 1) {
            release_memberships(m);
        }
        return rc;
    }
    room_add(r, m);
    m->rooms[m->room_count++] = r;
    return 0;
}

bool hub_part(struct member *m, const char *room, size_t len)
{
    struct hub *h = m->hub;
    if (h == NULL) {
        return false;
    }
    ASSERT(!h->is_walking, "membership rests during a walk");
    struct room *r = hub_room(h, room, len);
    uint32_t i = 0;
    while (r != NULL && i < m->room_count && m->rooms[i] != r) {
        i++;
    }
    if (r == NULL || i == m->room_count) {
        return false;
    }
    room_remove(r, m);
    size_t behind = m->room_count - (i + 1);
    memmove(m->rooms + i, m->rooms + i + 1, behind * sizeof(struct room *));
    m->room_count--;
    if (m->room_count == 1) {
        release_memberships(m);
    }
    member_end_room_if_empty(h, r);
    return true;
}

void member_leave_all(struct hub *h, struct member *m)
{
    while (m->room_count > 0) {
        struct room *last = m->rooms[--m->room_count];
        room_remove(last, m);
        member_end_room_if_empty(h, last);
    }
    release_memberships(m);
}
