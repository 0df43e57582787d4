/* user.c -- which clients a user has, in the order in which they came.
 *
 * An entry lives while the user has a client in the hub; hub.c enters and
 * leaves, walk.c walks. Names are copied twice, here and as the map's key:
 * member_user() must answer without the map. */
#include "hub/hub_priv.h"

#include "base/mem.h"
#include <string.h>

struct user_entry *user_find(const struct hub *h, const char *name, size_t len)
{
    return map_get(&h->users, name, len);
}

struct user_entry *user_get(struct hub *h, const char *name, size_t len)
{
    struct user_entry *u = user_find(h, name, len);
    if (u != NULL) {
        return u;
    }
    u = quota_alloc(sizeof(*u) + len + 1);
    if (u == NULL) {
        return NULL;
    }
    list_init(&u->members);
    u->count = 0;
    u->name_len = (uint32_t)len;
    memcpy(u->name, name, len);
    u->name[len] = '\0';
    if (map_put(&h->users, name, len, u) != 0) {
        quota_free(u);
        return NULL;
    }
    return u;
}

void user_add(struct user_entry *u, struct member *m)
{
    list_push_tail(&u->members, &m->user_node);
    u->count++;
    m->user = u;
}

void user_remove(struct user_entry *u, struct member *m)
{
    walk_forget_member(m->hub, m);
    list_remove(&m->user_node);
    u->count--;
    m->user = NULL;
}

void user_drop_if_unused(struct hub *h, struct user_entry *u)
{
    if (u == NULL || u->count > 0) {
        return;
    }
    walk_forget_user(h, u);
    map_remove(&h->users, u->name, u->name_len);
    quota_free(u);
}

const char *member_user(const struct member *m, size_t *len)
{
    if (m->user == NULL) {
        *len = 0;
        return NULL;
    }
    *len = m->user->name_len;
    return m->user->name;
}
