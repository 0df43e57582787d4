/* stats.c -- how an app fares, in numbers: for the log (SIGUSR1), and for
 * whoever shows metrics. */
#include "app/app_priv.h"
#include "script/preempt.h"

const struct sched_stats *app_sched_stats(const struct app *a)
{
    return &a->unit.stats;
}

uint64_t app_kills(const struct app *a)
{
    return histogram_get(&a->kills);
}

static unsigned long long wait_us(
    const struct sched_stats *s, unsigned thousandths)
{
    return (unsigned long long)histogram_quantile_ns(&s->wait, thousandths) /
           1000;
}

void app_log_stats(const struct app *a)
{
    const struct sched_stats *s = &a->unit.stats;
    struct log_fields f;

    app_log_fields(a, a->live, &f);
    f.event = "stats";
    log_event(LOG_INFO, &f,
        "slices=%llu stops=%llu kills=%llu rests=%llu waits=%llu "
        "wait_p50_us=%llu wait_p99_us=%llu wait_p999_us=%llu wait_max_us=%llu",
        (unsigned long long)histogram_get(&s->slices),
        (unsigned long long)histogram_get(&s->stops),
        (unsigned long long)app_kills(a),
        (unsigned long long)histogram_get(&s->rests),
        (unsigned long long)histogram_total(&s->wait), wait_us(s, 500),
        wait_us(s, 990), wait_us(s, 999),
        (unsigned long long)histogram_get(&s->wait.max_ns) / 1000);
}
