/* hub.c -- who is there: a hub's life, and clients coming and going.
 *
 * The app makes one hub and enters each client once its WebSocket is open;
 * from then on it can be found by number and by user and is in the room of
 * everybody. It leaves when its conn tells on_closed, and with that from
 * everything at once (I3 hangs on it: nothing is queued for a client whose end
 * has been told).
 *
 * All memory for a member is taken before anything changes. The hub does not
 * own members, knows no Lua and never waits. */
#include "hub/hub_priv.h"

#include "base/mem.h"

struct hub *hub_new(const struct hub_config *config)
{
    struct hub *h = mem_zalloc(sizeof(*h));
    h->net = config->net;
    h->home = config->net != NULL ? loop_index(config->net->loop) : 0;
    h->meter = config->meter == NULL ? NULL : meter_ref(config->meter);
    h->policy = config->policy;
    h->rooms_max = config->rooms_max;
    h->rooms_per_client = config->rooms_per_client;
    map_init(&h->rooms);
    map_init(&h->users);
    tape_init(&h->scratch, true);
    tape_init(&h->scratch_packed, true);
    room_init(&h->everybody, "", 0, h->home);
    return h;
}

void hub_free(struct hub *h)
{
    ASSERT(hub_count(h) == 0, "a hub outlives its members");
    ASSERT(!h->walk.is_on, "a walk ends, or is dropped");
    room_fini(&h->everybody);
    far_fini(h);
    hub_clear_rules(h);
    tape_fini(&h->scratch);
    tape_fini(&h->scratch_packed);
    map_fini(&h->users);
    map_fini(&h->rooms);
    ids_fini(&h->ids);
    if (h->meter != NULL) {
        meter_unref(h->meter);
    }
    mem_free(h);
}

void hub_set_policy(struct hub *h, enum outbox_policy policy)
{
    h->policy = policy;
}

void hub_set_limits(
    struct hub *h, uint32_t rooms_max, uint32_t rooms_per_client)
{
    h->rooms_max = rooms_max;
    h->rooms_per_client = rooms_per_client;
}

uint64_t hub_refused(const struct hub *h)
{
    return h->refused;
}

void hub_set_compress(
    struct hub *h, uint32_t threshold_bytes, const struct pack_settings *how)
{
    h->compress_bytes = threshold_bytes;
    h->compress = *how;
}

int hub_enter(struct hub *h, struct member *m, uint64_t id, struct conn_id conn,
    const char *user, size_t user_len)
{
    ASSERT(m->hub == NULL, "a member is in one hub at a time");
    ASSERT(!h->is_walking, "membership rests during a walk");
    struct user_entry *u = NULL;
    if (user != NULL) {
        u = user_get(h, user, user_len);
        if (u == NULL) {
            return ERR_NOMEM;
        }
    }
    int rc = ids_reserve(&h->ids);
    if (rc == 0) {
        rc = room_reserve(&h->everybody, &conn);
    }
    if (rc != 0) {
        user_drop_if_unused(h, u);
        return rc;
    }
    *m = (struct member){.hub = h, .conn = conn, .id = id};
    if (h->walk.is_on) {
        m->stamp = h->stamp; /* it is not about us */
    }
    m->rooms = &m->first;
    m->room_count = 1;
    m->room_cap = 1;
    m->first = &h->everybody;
    room_add(&h->everybody, m);
    list_init(&m->user_node);
    if (u != NULL) {
        user_add(u, m);
    }
    ids_put(&h->ids, m);
    return 0;
}

void hub_leave(struct member *m)
{
    struct hub *h = m->hub;
    if (h == NULL) {
        return;
    }
    ASSERT(!h->is_walking, "membership rests during a walk");
    ids_remove(&h->ids, m);
    struct user_entry *u = m->user;
    if (u != NULL) {
        user_remove(u, m);
        user_drop_if_unused(h, u);
    }
    member_leave_all(h, m);
    if (m->pack_bits != 0 && m->conn.loop != h->home) {
        h->far_packed--;
    }
    m->hub = NULL;
}

void hub_set_packed(struct member *m, uint8_t bits, bool has_context)
{
    struct hub *h = m->hub;
    ASSERT(h != NULL && m->pack_bits == 0 && bits != 0, "once, in a hub");
    m->pack_bits = bits;
    m->has_pack_context = has_context;
    if (m->conn.loop != h->home) {
        h->far_packed++;
    }
}

struct member *hub_find(struct hub *h, uint64_t id)
{
    return ids_get(&h->ids, id);
}

uint32_t hub_count(const struct hub *h)
{
    return room_count(&h->everybody);
}
