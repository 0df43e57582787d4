/* carry.c -- client.data from one state of an app to another.
 *
 * Of all clients that are at rest, for a reload; or of one, whose handler has
 * ended in an old state. It goes as bytes (script/value), by a few clients at
 * a time: collected here, encoded by a service in the one vm, decoded by a
 * service in the other. Each of these is stopped at the end of its slice.
 *
 * Nothing else of the app runs until it is over (`app->carry` holds it): a
 * client's data must not change between being read and the switch. Its clients
 * wait that long, and nobody else's (I9). New ones may come in, others' ends
 * may queue up; so what is collected are ids, and a slot says where to go on.
 *
 * Whose data is not such that it can be carried, the one who asked is told
 * (obstacle.c). The new state has nothing of it before the end: if anything
 * fails, it is thrown away (I8). */
#include "app/app_priv.h"
#include "base/buf.h"
#include "base/mem.h"
#include "script/preempt.h"
#include "script/value.h"
#include <string.h>

#ifdef MOONWIRE_TINY
#    define BATCH_IDS   2
#    define BATCH_BYTES 20
#    define LOOK_SLOTS  3
#else
#    define BATCH_IDS   64
#    define BATCH_BYTES (64u * 1024u) /* before the last of them */
#    define LOOK_SLOTS  1024          /* of them, in one step */
#endif

enum carry_step { CARRY_COLLECT, CARRY_ENCODE, CARRY_DECODE };

struct carry {
    struct app *app;
    struct state *from;
    struct state *to;    /* NULL: it is encoded, and that is all */
    struct client *only; /* NULL: all that are at rest */
    carry_ended_fn ended;
    enum carry_step step;
    bool is_stopped; /* the step has begun */
    uint32_t slot;   /* where to look next */
    uint32_t count;
    uint32_t done; /* of them */
    uint64_t ids[BATCH_IDS];
    struct client *clients[BATCH_IDS]; /* not for the fiber (I10) */
    bool is_refused;                   /* by the data of the last one done */
    struct buf buf;                    /* records of {id, length, bytes} */
    struct service service;
    char why[APP_ERROR_BYTES];
};

/* ---- on the fiber ---- */

static void encode_one(lua_State *L, struct carry *c, uint64_t id)
{
    size_t at = c->buf.len;
    uint64_t len = 0;

    preempt_hold(); /* it may allocate */
    bool is_added = buf_add(&c->buf, &id, sizeof(id)) == 0 &&
                    buf_add(&c->buf, &len, sizeof(len)) == 0;
    preempt_release();
    if (!is_added) {
        luaL_error(L, "the data of the clients is too large to carry over");
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->from->client_data);
    lua_rawgeti(L, -1, (lua_Integer)id);
    if (value_encode(L, -1, "client.data", &c->buf) != 0) {
        c->is_refused = true;
        luaL_error(L, "client %I: %s", (LUAI_UACINT)id, lua_tostring(L, -1));
    }
    lua_pop(L, 2);
    len = c->buf.len - at - sizeof(id) - sizeof(len);
    memcpy(c->buf.p + at + sizeof(id), &len, sizeof(len));
}

/* Not all of them, where it comes to much: what a buffer holds is copied while
 * it grows. */
static int encode_data(lua_State *L)
{
    struct carry *c = lua_touserdata(L, 1);

    c->buf.len = 0;
    while (c->done < c->count && c->buf.len < BATCH_BYTES) {
        encode_one(L, c, c->ids[c->done++]);
    }
    return 0;
}

static int decode_data(lua_State *L)
{
    struct carry *c = lua_touserdata(L, 1);
    const uint8_t *p = c->buf.p;
    const uint8_t *end = p + c->buf.len;

    lua_rawgeti(L, LUA_REGISTRYINDEX, c->to->client_data);
    while (p != end) {
        uint64_t id;
        uint64_t len;
        memcpy(&id, p, sizeof(id));
        memcpy(&len, p + sizeof(id), sizeof(len));
        p += sizeof(id) + sizeof(len);
        if (value_decode(L, p, (size_t)len) != 0) {
            luaL_error(L, "the data of client %I: %s", (LUAI_UACINT)id,
                lua_tostring(L, -1));
        }
        lua_rawseti(L, -2, (lua_Integer)id);
        p += len;
    }
    return 0;
}

/* ---- on the loop's stack ---- */

static bool is_wanted(const struct carry *c, const struct client *cl)
{
    return cl != NULL && cl->has_data && !cl->is_busy && cl->state == c->from;
}

static void add(struct carry *c, struct client *cl)
{
    c->ids[c->count] = client_id(cl);
    c->clients[c->count++] = cl;
}

/* The next few. False: there are no more. */
static bool collect(struct carry *c)
{
    struct app *a = c->app;
    uint32_t end = slots_end(&a->clients);

    c->count = 0;
    c->done = 0;
    if (c->only != NULL) {
        if (c->slot == 0) {
            add(c, c->only);
        }
        c->slot = 1;
        return c->count > 0;
    }
    for (int i = 0; i < LOOK_SLOTS && c->slot < end && c->count < BATCH_IDS;
         i++) {
        struct client *cl = slots_at(&a->clients, c->slot++);
        if (is_wanted(c, cl)) {
            add(c, cl);
        }
    }
    return c->slot < end || c->count > 0;
}

static int call(struct carry *c, struct state *s, lua_CFunction fn)
{
    int rc = c->is_stopped
                 ? service_go_on(&c->service)
                 : service_begin(&c->service, s, fn, c, c->why, sizeof(c->why));

    c->is_stopped = rc == SERVICE_STOPPED;
    return rc;
}

static void free_carry(struct carry *c)
{
    buf_fini(&c->buf);
    mem_free(c);
}

static void end(struct carry *c, int rc)
{
    struct client *cl = c->is_refused ? c->clients[c->done - 1] : c->only;

    c->app->carry = NULL;
    c->ended(c->app, cl, c->to, rc, c->why);
    free_carry(c);
}

static int take_step(struct carry *c)
{
    switch (c->step) {
    case CARRY_ENCODE: return call(c, c->from, encode_data);
    case CARRY_DECODE: return call(c, c->to, decode_data);
    case CARRY_COLLECT: break;
    }
    return 0;
}

static enum carry_step next_step(const struct carry *c)
{
    if (c->step == CARRY_ENCODE && c->to != NULL) {
        return CARRY_DECODE;
    }
    return c->done < c->count ? CARRY_ENCODE : CARRY_COLLECT;
}

int carry_go_on(struct app *a)
{
    struct carry *c = a->carry;
    bool has_more = c->step != CARRY_COLLECT || collect(c);
    int rc = take_step(c);

    if (rc == SERVICE_STOPPED) {
        return rc;
    }
    if (rc != 0 || !has_more) {
        end(c, rc);
    } else {
        c->step = next_step(c);
    }
    return rc;
}

void carry_begin(struct app *a, struct client *only, struct state *from,
    struct state *to, carry_ended_fn ended)
{
    struct carry *c = mem_zalloc(sizeof(*c));

    ASSERT(a->carry == NULL && a->stopped == NULL, "I8");
    c->app = a;
    c->from = from;
    c->to = to;
    c->only = only;
    c->ended = ended;
    buf_init(&c->buf, (to != NULL ? to : from)->settings.memory_bytes);
    a->carry = c;
}

void carry_drop(struct app *a)
{
    if (a->carry != NULL) {
        free_carry(a->carry);
        a->carry = NULL;
    }
}
