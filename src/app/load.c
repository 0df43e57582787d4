/* load.c -- a new generation of an app, on its way to being one.
 *
 *   settings  app.conf.lua, in a vm of its own (manifest.c)
 *   open      a vm with the sandbox and the bindings in it
 *   run       main.lua, and whatever that requires
 *   failed    what came to nothing is taken down, for it may have set a hundred
 *             thousand timers
 *
 * Each is a job that is stopped at the end of its slice, like a handler; the
 * app's turns in the scheduler carry it on (inbox_run.c), so loading costs the
 * app its own share and nobody a turn (I9). It begins at once and goes as far
 * as one slice goes, which is all that most apps need.
 *
 * Nothing of the app that is live is touched (I8): it goes on meanwhile. What
 * becomes of the new state is up to who asked for it: `ended` is told once. */
#include "app/app_priv.h"
#include "base/mem.h"
#include <stdio.h>
#include <string.h>

enum load_step { LOAD_SETTINGS, LOAD_OPEN, LOAD_RUN, LOAD_FAILED };

struct load {
    struct app *app;
    struct state *state; /* the new one */
    load_ended_fn ended;
    enum load_step step;
    bool is_stopped; /* the step has begun */
    int rc;          /* what it has failed with */
    struct manifest_parse manifest;
    struct service service;
    char why[APP_ERROR_BYTES];
};

const char *app_load_kind(int rc)
{
    switch (rc) {
    case ERR_NOMEM: return "memory";
    case ERR_TIMEOUT: return "cpu";
    case ERR_CLOSED: return "crash";
    default: return "error";
    }
}

static int read_settings(struct load *l)
{
    struct state *s = l->state;
    int rc = l->is_stopped ? manifest_go_on(&l->manifest)
                           : manifest_begin(&l->manifest, s->snapshot,
                                 ceilings_most(l->app->ceilings), &s->settings,
                                 l->why, sizeof(l->why));

    if (rc == MANIFEST_STOPPED) {
        return SERVICE_STOPPED;
    }
    manifest_end(&l->manifest);
    if (rc != 0 && strcmp(app_load_kind(rc), "error") != 0) {
        failure_count_kill(l->app);
    }
    if (rc == 0 && state_make_vm(s) != 0) {
        (void)snprintf(l->why, sizeof(l->why), "no memory for the app's state");
        rc = ERR_NOMEM;
    }
    return rc;
}

static int call(struct load *l, lua_CFunction fn)
{
    return l->is_stopped ? service_go_on(&l->service)
                         : service_begin(&l->service, l->state, fn, NULL,
                               l->why, sizeof(l->why));
}

/* The present step, or what is left of it. */
static int take_step(struct load *l)
{
    switch (l->step) {
    case LOAD_SETTINGS: return read_settings(l);
    case LOAD_OPEN: return call(l, state_prepare);
    case LOAD_RUN: return call(l, state_run_main);
    case LOAD_FAILED: return state_drop_some(l->state) ? 0 : l->rc;
    }
    return ERR_CLOSED;
}

static void free_load(struct load *l)
{
    manifest_end(&l->manifest);
    if (l->state != NULL) {
        state_free(l->state);
    }
    mem_free(l);
}

static void end(struct load *l, int rc)
{
    struct app *a = l->app;
    struct state *s = NULL;

    a->load = NULL;
    if (rc == 0) {
        s = l->state;
        l->state = NULL;
    }
    l->ended(a, s, rc, l->why);
    free_load(l);
}

int load_go_on(struct app *a)
{
    struct load *l = a->load;
    int rc = take_step(l);

    if (rc == SERVICE_STOPPED) {
        l->is_stopped = true;
        return rc;
    }
    l->is_stopped = false;
    if (rc == 0 && l->step == LOAD_FAILED) {
        return 0;
    }
    if (rc == 0 && l->step != LOAD_RUN) {
        l->step++;
        return 0;
    }
    if (rc != 0 && l->step != LOAD_FAILED) {
        l->step = LOAD_FAILED;
        l->rc = rc;
        return 0;
    }
    end(l, rc);
    return rc;
}

void load_begin(struct app *a, struct snapshot *snap, uint32_t generation,
    load_ended_fn ended)
{
    struct load *l = mem_zalloc(sizeof(*l));

    ASSERT(a->load == NULL, "one generation of an app is made at a time");
    l->app = a;
    l->state = state_new(a, snap, generation);
    l->ended = ended;
    a->load = l;
}

int load_settle(struct app *a)
{
    int rc = 0;

    while (a->load != NULL) {
        rc = load_go_on(a);
    }
    return rc;
}

void load_drop(struct app *a)
{
    if (a->load != NULL) {
        free_load(a->load);
        a->load = NULL;
    }
}
