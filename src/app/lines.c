/* lines.c -- how many lines an app can put into the server's log.
 *
 * There are two bounds: on what it writes itself (api_log.c), and on what is
 * said of it when something fails (failure.c and others), since whoever finds
 * a message that makes a handler fail can send it as often as he likes. What
 * is over a bound is dropped and counted, and when the second has passed the
 * log says how much that was (I2). Nothing else of a failure is lost: on_error
 * hears of it and the counters have it. */
#include "app/app_priv.h"

#define SECOND_MS 1000

static void say_dropped(struct lines *l)
{
    struct log_fields f;

    if (l->dropped == 0 || l->app->live == NULL) {
        return;
    }
    app_log_fields(l->app, l->app->live, &f);
    f.event = "log";
    log_event(LOG_WARN, &f, "%u more lines %s were dropped: over %u a second",
        l->dropped, l->about, l->per_s);
    l->dropped = 0;
}

static void on_second_passed(struct timer *t)
{
    say_dropped(container_of(t, struct lines, timer));
}

void lines_init(
    struct lines *l, struct app *a, uint32_t per_s, const char *about)
{
    *l = (struct lines){.app = a, .per_s = per_s, .about = about};
    timer_init(&l->timer, on_second_passed);
}

void lines_fini(struct lines *l)
{
    timer_stop(&l->timer);
    say_dropped(l);
}

bool lines_take(struct lines *l)
{
    uint64_t now = loop_now_ms(l->app->loop);

    if (l->count == 0 || now - l->since_ms >= SECOND_MS) {
        l->since_ms = now;
        l->count = 0;
    }
    if (l->count < l->per_s) {
        l->count++;
        return true;
    }
    l->dropped++;
    metric_add(loop_metrics(l->app->loop), METRIC_LOG_DROPPED, 1);
    if (!timer_is_started(&l->timer)) {
        timer_start(l->app->loop, &l->timer, l->since_ms + SECOND_MS - now);
    }
    return false;
}
