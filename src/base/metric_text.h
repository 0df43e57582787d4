/* metric_text.h -- figures as Prometheus reads them, text format 0.0.4.
 *
 * Here so that every room can write series of its own (an app's, a
 * histogram) into what /metrics answers. A name gets METRIC_PREFIX in front.
 * All return 0, ERR_TOO_BIG or ERR_NOMEM, with nothing half written but
 * whole lines. */
#ifndef BASE_METRIC_TEXT_H
#define BASE_METRIC_TEXT_H

#include "base/buf.h"
#include "base/metric.h"

#define METRIC_PREFIX "moonwire_"

/* A label's value may be any text: it is escaped. */
struct metric_label {
    const char *name;
    const char *value;
};

/* Upper bounds in the metric's unit, ascending; counts[i] is what fell into
 * bucket i alone, and the last of them what was above all bounds. */
struct metric_histogram {
    const double *bounds;
    const uint64_t *counts; /* bound_count + 1 */
    size_t bound_count;
    double sum;
};

/* The two lines that stand before all series of a name. */
int metric_text_family(struct buf *out, const char *name, const char *type,
    const char *help) NODISCARD;
int metric_text_value(struct buf *out, const char *name,
    const struct metric_label *labels, size_t label_count,
    uint64_t value) NODISCARD;
int metric_text_number(struct buf *out, const char *name,
    const struct metric_label *labels, size_t label_count,
    double value) NODISCARD;
/* All series of a histogram, without the family's lines. */
int metric_text_histogram(struct buf *out, const char *name,
    const struct metric_label *labels, size_t label_count,
    const struct metric_histogram *h) NODISCARD;
/* Every metric of METRIC_LIST, of all tables together. */
int metric_text_tables(struct buf *out, const struct metrics *const *tables,
    size_t count) NODISCARD;

#endif
