/* room.c -- a room: its name, its rule, and its parts.
 *
 * A part is the members that live on one loop (part.c). Most servers and most
 * rooms have one, that of the app's home loop, and it is part of the room
 * itself; a part for another loop is made when the first member from there
 * joins, and stays as long as the room.
 *
 * member.c and hub.c call this. It knows neither quotas nor when a room is to
 * be made or to die: that is member.c. */
#include "hub/hub_priv.h"

#include "base/mem.h"
#include <string.h>

void room_init(struct room *r, const char *name, size_t len, uint32_t home)
{
    memset(r, 0, sizeof(*r));
    r->name = name;
    r->name_len = (uint32_t)len;
    part_init(&r->here, r, home);
    tape_init(&r->tape, false);
    tape_init(&r->packed, false);
}

void room_fini(struct room *r)
{
    tape_fini(&r->tape);
    tape_fini(&r->packed);
    part_fini(&r->here);
    while (r->here.next != NULL) {
        struct part *p = r->here.next;
        r->here.next = p->next;
        part_fini(p);
        quota_free(p);
    }
}

struct room *room_new(
    const char *name, size_t len, uint32_t home, const struct room_rule *rule)
{
    struct room *r = quota_alloc(sizeof(*r) + len + 1);
    if (r == NULL) {
        return NULL;
    }
    char *copy = (char *)(r + 1);
    memcpy(copy, name, len);
    copy[len] = '\0';
    room_init(r, copy, len, home);
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
    uint32_t n = 0;
    for (const struct part *p = &r->here; p != NULL; p = p->next) {
        n += part_count(p);
    }
    return n;
}

const char *room_name(const struct room *r, size_t *len)
{
    *len = r->name_len;
    return r->name;
}

struct part *room_part(struct room *r, uint32_t loop)
{
    struct part *p = &r->here;
    while (p != NULL && p->loop != loop) {
        p = p->next;
    }
    return p;
}

int room_reserve(struct room *r, const struct conn_id *conn)
{
    struct part *p = room_part(r, conn->loop);
    if (p == NULL) {
        p = quota_alloc(sizeof(*p));
        if (p == NULL) {
            return ERR_NOMEM;
        }
        part_init(p, r, conn->loop);
        p->next = r->here.next;
        r->here.next = p;
    }
    return part_reserve(p, conn->slot);
}

void room_add(struct room *r, struct member *m)
{
    bool is_hidden = walk_hides(m->hub, r);
    part_add(room_part(r, m->conn.loop), m, is_hidden);
}

void room_remove(struct room *r, const struct member *m)
{
    part_remove(room_part(r, m->conn.loop), m->conn.slot);
}
