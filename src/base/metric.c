/* metric.c -- names of the counters; counting itself is inline in the header.
 * The names are what /metrics shows after its prefix. */
#include "base/metric.h"

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

const char *metric_type(enum metric m)
{
    ASSERT(m < METRIC_COUNT, "a metric of the table");
    return table[m].type;
}

const char *metric_help(enum metric m)
{
    ASSERT(m < METRIC_COUNT, "a metric of the table");
    return table[m].help;
}
