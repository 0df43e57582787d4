/* reload.c -- a new generation takes over, wholly or not at all (I8).
 *
 *   snapshot   the files as they are now; the same as before: nothing to do
 *   load       state_new(): aside, in a vm and an arena of its own
 *   carry      client.data of every client that is at rest, out of the old
 *              state and into the new one
 *   switch     between two events; cannot fail
 *   drain      handlers that await end in the old state (LIMIT_DRAIN_OLD_MS);
 *              a client with such a handler follows when it has ended
 *
 * Anything that fails before the switch is logged with file and line, and the
 * old generation goes on as if nothing had been. */
#include "app/api_priv.h"
#include "app/branch_priv.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/units.h"
#include "script/value.h"
#include <stdio.h>
#include <string.h>

/* Records of {id, length, bytes}. */
struct carry {
    struct app *app;
    struct client *only; /* one client; NULL: all at rest */
    struct buf buf;
    int rc;
};

static void encode_one(lua_State *L, struct carry *c, struct client *cl)
{
    uint64_t id = client_id(cl);
    size_t at = c->buf.len;
    uint64_t len = 0;

    preempt_hold(); /* it may allocate */
    bool is_added = buf_add(&c->buf, &id, sizeof(id)) == 0 &&
                    buf_add(&c->buf, &len, sizeof(len)) == 0;
    preempt_release();
    if (!is_added) {
        luaL_error(L, "the data of the clients is too large to carry over");
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, cl->state->client_data);
    lua_rawgeti(L, -1, (lua_Integer)id);
    if (value_encode(L, -1, "client.data", &c->buf) != 0) {
        luaL_error(L, "client %I: %s", (LUAI_UACINT)id, lua_tostring(L, -1));
    }
    lua_pop(L, 2);
    len = c->buf.len - at - sizeof(id) - sizeof(len);
    memcpy(c->buf.p + at + sizeof(id), &len, sizeof(len));
}

static int encode_data(lua_State *L)
{
    struct carry *c = lua_touserdata(L, 1);

    if (c->only != NULL) {
        encode_one(L, c, c->only);
        return 0;
    }
    list_each (node, &c->app->client_list) {
        struct client *cl = container_of(node, struct client, node);
        if (cl->has_data && !cl->is_busy) {
            encode_one(L, c, cl);
        }
    }
    return 0;
}

static int decode_data(lua_State *L)
{
    struct carry *c = lua_touserdata(L, 1);
    struct state *s = state_from(L);
    const uint8_t *p = c->buf.p;
    const uint8_t *end = p + c->buf.len;

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->client_data);
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

static int carry_data(struct app *a, struct client *only, struct state *from,
    struct state *to, char *why, size_t why_bytes)
{
    struct carry c = {.app = a, .only = only};

    buf_init(&c.buf, to->settings.memory_bytes);
    int rc = state_call(from, encode_data, &c, why, why_bytes);
    if (rc == 0 && c.buf.len > 0) {
        rc = state_call(to, decode_data, &c, why, why_bytes);
    }
    buf_fini(&c.buf);
    return rc;
}

/* "What happened: why", the traceback as the detail. */
static void log_failure(const struct app *a, const struct client *cl, int rc,
    const char *what, const char *why)
{
    struct log_fields f;
    size_t first = strcspn(why, "\n");

    app_log_fields(a, a->live, &f);
    f.client = cl != NULL ? client_id(cl) : 0;
    f.event = "reload";
    f.kind = rc == ERR_NOMEM ? "memory" : "error";
    f.err = why[first] != '\0' ? why + first + 1 : NULL;
    log_event(LOG_ERROR, &f, "%s: %.*s", what, (int)first, why);
}

void reload_migrate(struct client *cl)
{
    struct app *a = cl->app;
    struct state *from = cl->state;
    char why[APP_ERROR_BYTES];

    if (cl->has_data) {
        int rc = carry_data(a, cl, from, a->live, why, sizeof(why));
        if (rc != 0) {
            if (lines_take(&a->failure_lines)) {
                log_failure(a, cl, rc, "client.data is lost", why);
            }
            cl->has_data = false;
        }
        state_forget_data(from, client_id(cl));
    }
    cl->state = a->live;
}

/* ---- the old generation ---- */

static void drop_old(struct timer *t)
{
    struct state *s = container_of(t, struct state, drain_timer);
    struct app *a = s->app;

    if (a->stopped != NULL && vm_end(s->vm) == VM_ALIVE) {
        /* Its own job or the new generation's: soon over, one way or the
         * other. */
        timer_start(a->loop, &s->drain_timer, 1);
        return;
    }
    /* A call that has begun is a task as well, and not two. */
    uint32_t tasks = task_count(s->vm);
    uint32_t left = tasks > s->calls ? tasks : s->calls;

    if (left > 0) {
        struct log_fields f;
        char limit[UNITS_TEXT_BYTES];
        units_write_ms(a->drain_old_ms, limit);
        app_log_fields(a, s, &f);
        f.event = "reload";
        log_event(LOG_WARN, &f,
            "%u handlers and tasks of the old generation are not done after "
            "%s: ended",
            left, limit);
        list_each (node, &a->client_list) {
            struct client *cl = container_of(node, struct client, node);
            if (cl->state == s) {
                reload_migrate(cl);
            }
        }
        inbox_drop(a, s);
    }
    state_free(s);
    inbox_post(a);
}

void reload_check_drained(struct state *s)
{
    if (task_count(s->vm) == 0 && s->calls == 0) {
        /* Not here: this is the end of a task of that very vm. */
        timer_start(s->app->loop, &s->drain_timer, 0);
    }
}

static void retire(struct state *s)
{
    s->is_draining = true;
    api_time_stop(s);
    list_push_tail(&s->app->draining, &s->node);
    timer_init(&s->drain_timer, drop_old);
    timer_start(s->app->loop, &s->drain_timer,
        task_count(s->vm) + s->calls == 0 ? 0 : s->app->drain_old_ms);
}

/* ---- the switch ---- */

static void switch_to(struct app *a, struct state *fresh)
{
    struct state *old = a->live;

    a->live = fresh;
    state_start(fresh);
    list_each (node, &a->client_list) {
        struct client *cl = container_of(node, struct client, node);
        struct conn *c = net_find(a->net, cl->member.conn);
        if (!cl->is_busy) {
            cl->state = fresh;
        }
        if (c != NULL) {
            conn_settings_changed(c);
        }
    }
    far_settings_changed(a);
    retire(old);
}

static void report_failure(struct app *a, int rc, const char *why)
{
    char what[64];

    (void)snprintf(what, sizeof(what), "reload failed, generation %u goes on",
        a->live->generation);
    log_failure(a, NULL, rc, what, why);
    metric_add(loop_metrics(a->loop), METRIC_RELOADS_FAILED, 1);
}

int app_reload(struct app *a)
{
    char why[APP_ERROR_BYTES];
    struct snapshot *snap = NULL;
    struct state *fresh = NULL;

    if (a->is_stopping) {
        return ERR_CLOSED;
    }
    a->wants_reload = a->stopped != NULL;
    if (a->wants_reload) {
        return 0; /* as soon as its job is not stopped any more */
    }
    int rc = snapshot_read(a->dir, &snap, why, sizeof(why));

    if (rc != 0) {
        goto fail;
    }
    if (!a->restart.is_down &&
        memcmp(snap->hash, a->live->snapshot->hash, sizeof(snap->hash)) == 0) {
        snapshot_unref(snap);
        return ERR_CHANGED;
    }
    rc = state_new(&fresh, a, snap, a->live->generation + 1, why, sizeof(why));
    if (rc != 0) {
        goto fail;
    }
    if (a->restart.is_down) {
        restart_with(a, fresh);
    } else {
        rc = carry_data(a, NULL, a->live, fresh, why, sizeof(why));
        if (rc != 0) {
            goto fail;
        }
        switch_to(a, fresh);
    }
    snapshot_unref(snap);

    struct log_fields f;
    app_log_fields(a, fresh, &f);
    f.event = "reload";
    log_event(LOG_INFO, &f, "reloaded: generation %u, %u clients stay",
        fresh->generation, a->client_count);
    metric_add(loop_metrics(a->loop), METRIC_RELOADS, 1);
    inbox_post(a);
    return 0;
fail:
    report_failure(a, rc, why);
    if (fresh != NULL) {
        state_free(fresh);
    }
    snapshot_unref(snap);
    return rc;
}
