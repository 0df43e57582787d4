/* observe_apps.c -- what /metrics shows of each app.
 *
 * Called by admin for each request, on loop 0; the numbers belong to the apps'
 * own loops and are atomics, so that reading them is no race (I4). An app that
 * is loaded stays until everything is taken down, and by then nobody is
 * connected to the operator's port either.
 *
 * In Prometheus' format all series of a name stand together, so the apps are
 * gone through once for each name. */
#include "server/observe_apps.h"
#include "base/histogram.h"
#include "base/metric_text.h"
#include "script/sched.h"
#include "server/sites.h"

static const struct app *live_app(const struct site *site)
{
    return site_get_state(site) == SITE_LIVE ? site->app : NULL;
}

static uint64_t get_slices(const struct app *a)
{
    return histogram_get(&app_sched_stats(a)->slices);
}

static uint64_t get_stops(const struct app *a)
{
    return histogram_get(&app_sched_stats(a)->stops);
}

static uint64_t get_rests(const struct app *a)
{
    return histogram_get(&app_sched_stats(a)->rests);
}

static const struct counter {
    const char *name;
    const char *help;
    uint64_t (*get)(const struct app *a);
} counters[] = {
    {"app_slices_total", "slices that the app's Lua had", get_slices},
    {"app_preemptions_total", "slices at whose end a script was stopped",
        get_stops},
    {"app_kills_total", "events and loads ended for CPU, memory or a crash",
        app_kills},
    {"app_rests_total", "times the app had used up its share", get_rests},
};

static int write_counter(
    const struct sites *sites, const struct counter *k, struct buf *out)
{
    int rc = metric_text_family(out, k->name, "counter", k->help);
    for (size_t i = 0; rc == 0 && i < sites->count; i++) {
        const struct site *site = &sites->list[i];
        const struct app *a = live_app(site);
        struct metric_label label = {"app", site->name};
        if (a != NULL) {
            rc = metric_text_value(out, k->name, &label, 1, k->get(a));
        }
    }
    return rc;
}

static int write_wait(
    const struct site *site, const struct app *a, struct buf *out)
{
    const struct histogram *h = &app_sched_stats(a)->wait;
    double bounds[HISTOGRAM_BUCKETS - 1];
    uint64_t counts[HISTOGRAM_BUCKETS];
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        counts[i] = histogram_get(&h->count[i]);
        if (i < HISTOGRAM_BUCKETS - 1) {
            bounds[i] = (double)histogram_bound_ns(i) / 1e9;
        }
    }
    struct metric_histogram m = {
        .bounds = bounds,
        .counts = counts,
        .bound_count = HISTOGRAM_BUCKETS - 1,
        .sum = (double)histogram_get(&h->sum_ns) / 1e9,
    };
    struct metric_label label = {"app", site->name};
    return metric_text_histogram(out, "app_wait_cpu_seconds", &label, 1, &m);
}

int observe_apps(void *user, struct buf *out)
{
    const struct sites *sites = user;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(counters); i++) {
        rc = write_counter(sites, &counters[i], out);
    }
    if (rc == 0) {
        rc = metric_text_family(out, "app_wait_cpu_seconds", "histogram",
            "from being ready until it ran, in CPU time of its loop");
    }
    for (size_t i = 0; rc == 0 && i < sites->count; i++) {
        const struct app *a = live_app(&sites->list[i]);
        if (a != NULL) {
            rc = write_wait(&sites->list[i], a, out);
        }
    }
    return rc;
}
