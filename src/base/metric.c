/* metric.c -- names of the counters; counting itself is inline in the header.
 * The names are what /metrics shows after its prefix. */
#include "base/metric.h"
#include <string.h>

static const struct {
    const char *name;
    const char *type;
    const char *help;
} table[METRIC_COUNT] = {
#define X(id, name, type, help) [METRIC_##id] = {name, type, help},
    METRIC_LIST(X)
#undef X
};

const char *metric_name(enum metric m)
{
    ASSERT(m < METRIC_COUNT, "a metric of the table");
    return table[m].name;
}

static bool is_peak(enum metric m)
{
    return strcmp(table[m].type, "peak") == 0;
}

const char *metric_type(enum metric m)
{
    ASSERT(m < METRIC_COUNT, "a metric of the table");
    return is_peak(m) ? "gauge" : table[m].type;
}

const char *metric_help(enum metric m)
{
    ASSERT(m < METRIC_COUNT, "a metric of the table");
    return table[m].help;
}

uint64_t metric_total(
    const struct metrics *const *tables, size_t count, enum metric m)
{
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t v = metric_get(tables[i], m);
        if (!is_peak(m)) {
            total += v;
        } else if (v > total) {
            total = v;
        }
    }
    return total;
}
