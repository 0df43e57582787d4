/* tenancy.c -- the apps of one loop, worked on by that loop's thread.
 *
 * Loading runs an app's code, so one app begins to load in a turn, and if that
 * takes longer than a slice it goes on when it is that app's turn: the loop
 * serves its sockets, and the apps that are loaded, in between. An app that
 * does not load keeps nothing from the others; its clients are told to come
 * again (route.c), and it is tried again when somebody has touched its files.
 *
 * Laws: I1 (a site's app is its home loop's), I4 (others read its state). */
#include "server/tenancy.h"
#include "base/err.h"
#include "base/histogram.h"
#include "base/log.h"
#include "loop/watch.h"
#include "script/sched.h"
#include "server/config.h"
#include "server/server_priv.h"
#include <string.h>

static bool is_mine(const struct worker *w, const struct site *site)
{
    return site->home_index == w->index;
}

static void set_state(struct site *site, enum site_state state)
{
    word_set(&site->state, state);
}

/* The first line is for everybody, the traceback for who looks closer. */
static void log_no_start(const struct site *site, int rc, const char *why)
{
    size_t first = strcspn(why, "\n");
    struct log_fields fields = {.app = site->name,
        .event = "load",
        .kind = app_load_kind(rc),
        .err = why[first] != '\0' ? why : NULL};
    log_event(LOG_ERROR, &fields, "cannot start %s: %.*s", site->dir,
        (int)first, why);
}

static void on_files_changed(void *arg)
{
    struct site *site = arg;
    tenancy_load(site->home, site);
}

/* Who reads of it may mend it at once, or has done so already: what watched
 * over its load watches on. */
static void fail(struct worker *w, struct site *site)
{
    set_state(site, SITE_FAILED);
    if (site->watch == NULL) {
        site->watch = app_take_watch(site->app);
    }
    if (site->watch != NULL) {
        watch_hand_on(site->watch, on_files_changed, site);
    } else if (w->server->config->reload) {
        site->watch = watch_new(w->loop, site->dir, on_files_changed, site);
    }
    app_close(site->app);
    site->app = NULL;
}

/* Nobody looks at its files any more. */
static void stop_watching(struct site *site)
{
    if (site->watch != NULL) {
        watch_free(site->watch);
        site->watch = NULL;
    }
}

static void live(struct site *site)
{
    bool had_failed = site_get_state(site) == SITE_FAILED;
    struct log_fields fields = {.app = site->name, .gen = 1, .event = "load"};
    stop_watching(site);
    set_state(site, SITE_LIVE);
    log_event(had_failed ? LOG_INFO : LOG_DEBUG, &fields, "loaded");
}

static void on_opened(void *arg, int rc, const char *why)
{
    struct site *site = arg;
    struct worker *w = site->home;
    if (w->route.is_stopping) {
        return; /* it goes with the others */
    }
    if (rc == 0) {
        live(site);
        return;
    }
    fail(w, site);
    log_no_start(site, rc, why[0] != '\0' ? why : err_text(rc));
}

void tenancy_load(struct worker *w, struct site *site)
{
    struct app_config app_config = {.loop = w->loop,
        .net = w->net,
        .sched = w->sched,
        .name = site->name,
        .dir = site->dir,
        .ceilings = w->server->ceilings,
        .watch = w->server->config->reload};
    if (site->app == NULL && !w->route.is_stopping) {
        site->app = app_open(&app_config, on_opened, site);
    }
}

int tenancy_load_first(struct worker *w, struct site *site)
{
    tenancy_load(w, site);
    while (site_get_state(site) == SITE_LOADING) {
        loop_turn(w->loop, -1);
    }
    return site_get_state(site) == SITE_LIVE ? 0 : ERR_NOT_FOUND;
}

/* ---- one a turn ---- */

static void load_next(struct timer *t)
{
    struct worker *w = container_of(t, struct worker, round_timer);
    const struct sites *sites = &w->server->sites;
    while (w->next_site < sites->count) {
        struct site *site = &sites->list[w->next_site++];
        if (is_mine(w, site) && site_get_state(site) == SITE_LOADING) {
            tenancy_load(w, site);
            timer_start(w->loop, &w->round_timer, 0);
            return;
        }
    }
}

static void reload_one(struct worker *w, struct site *site)
{
    if (site_get_state(site) != SITE_LIVE) {
        tenancy_load(w, site);
        return;
    }
    /* A failed load has been logged, with its reason, by the app. */
    if (app_reload(site->app) == ERR_CHANGED) {
        struct log_fields fields = {.app = site->name,
            .gen = app_generation(site->app),
            .event = "reload"};
        log_event(LOG_INFO, &fields, "nothing to reload: no file has changed");
    }
}

static void reload_next(struct timer *t)
{
    struct worker *w = container_of(t, struct worker, round_timer);
    const struct sites *sites = &w->server->sites;
    while (w->next_site < sites->count) {
        struct site *site = &sites->list[w->next_site++];
        if (is_mine(w, site)) {
            reload_one(w, site);
            timer_start(w->loop, &w->round_timer, 0);
            return;
        }
    }
}

/* A round that is under way is begun anew: it has the newer files in mind. */
static void begin_round(struct worker *w, void (*next)(struct timer *t))
{
    timer_stop(&w->round_timer);
    timer_init(&w->round_timer, next);
    w->next_site = 0;
    timer_start(w->loop, &w->round_timer, 0);
}

void tenancy_begin(struct worker *w)
{
    begin_round(w, load_next);
}

void tenancy_reload(struct worker *w)
{
    begin_round(w, reload_next);
}

void tenancy_log_stats(struct worker *w)
{
    const struct sites *sites = &w->server->sites;
    for (size_t i = 0; i < sites->count; i++) {
        const struct site *site = &sites->list[i];
        if (is_mine(w, site) && site->app != NULL &&
            histogram_get(&app_sched_stats(site->app)->slices) > 0) {
            app_log_stats(site->app);
        }
    }
}

/* ---- the end ---- */

static void note_stopped(struct worker *w)
{
    if (--w->apps_to_stop == 0) {
        w->on_apps_stopped(w);
    }
}

static void on_app_stopped(void *arg)
{
    struct site *site = arg;
    note_stopped(site->home);
}

void tenancy_stop(
    struct worker *w, const char *reason, void (*on_stopped)(struct worker *w))
{
    const struct sites *sites = &w->server->sites;
    w->on_apps_stopped = on_stopped;
    w->apps_to_stop = 1; /* this loop over them itself */
    timer_stop(&w->round_timer);
    for (size_t i = 0; i < sites->count; i++) {
        struct site *site = &sites->list[i];
        if (!is_mine(w, site)) {
            continue;
        }
        stop_watching(site);
        if (site->app != NULL) {
            w->apps_to_stop++;
            app_stop(site->app, reason, on_app_stopped, site);
        }
    }
    note_stopped(w);
}

void tenancy_close_clients(
    struct worker *w, uint16_t code, const char *reason, uint32_t spread_ms)
{
    const struct sites *sites = &w->server->sites;
    for (size_t i = 0; i < sites->count; i++) {
        if (is_mine(w, &sites->list[i]) && sites->list[i].app != NULL) {
            app_close_clients(sites->list[i].app, code, reason, spread_ms);
        }
    }
}

void tenancy_kill_clients(struct worker *w)
{
    const struct sites *sites = &w->server->sites;
    for (size_t i = 0; i < sites->count; i++) {
        if (is_mine(w, &sites->list[i]) && sites->list[i].app != NULL) {
            app_kill_clients(sites->list[i].app);
        }
    }
}

uint64_t tenancy_client_count(const struct worker *w)
{
    const struct sites *sites = &w->server->sites;
    uint64_t n = 0;
    for (size_t i = 0; i < sites->count; i++) {
        if (is_mine(w, &sites->list[i]) && sites->list[i].app != NULL) {
            n += app_client_count(sites->list[i].app);
        }
    }
    return n;
}

void tenancy_close(struct worker *w)
{
    const struct sites *sites = &w->server->sites;
    timer_stop(&w->round_timer);
    for (size_t i = 0; i < sites->count; i++) {
        struct site *site = &sites->list[i];
        if (!is_mine(w, site)) {
            continue;
        }
        stop_watching(site);
        if (site->app != NULL) {
            app_close(site->app);
            site->app = NULL;
        }
    }
}
