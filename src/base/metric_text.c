/* metric_text.c -- figures as Prometheus reads them.
 *
 * Used by admin/ for the tables of the loops, and by whoever has series of
 * its own to add. The format is older than its specification and forgiving;
 * what it is strict about is kept here: one HELP and TYPE for a name, before
 * its series; in a label's value backslash, quote and newline are escaped (and
 * other control characters, for who reads it on a terminal, become "?");
 * buckets are cumulative and end with +Inf, which equals _count. */
#include "base/metric_text.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

int metric_text_family(
    struct buf *out, const char *name, const char *type, const char *help)
{
    return buf_printf(out,
        "# HELP " METRIC_PREFIX "%s %s\n# TYPE " METRIC_PREFIX "%s %s\n", name,
        help, name, type);
}

static int add_escaped(struct buf *out, const char *text)
{
    int rc = 0;
    for (const char *s = text; rc == 0 && *s != '\0'; s++) {
        unsigned char ch = (unsigned char)*s;
        if (ch == '\\' || ch == '"') {
            rc = buf_printf(out, "\\%c", ch);
        } else if (ch == '\n') {
            rc = buf_add(out, "\\n", 2);
        } else {
            rc = buf_add(out, ch < 0x20 || ch == 0x7f ? "?" : s, 1);
        }
    }
    return rc;
}

static int add_label(struct buf *out, char before, const char *name)
{
    return buf_printf(out, "%c%s=\"", before, name);
}

/* `bound`: the "le" of a bucket, or NULL. */
static int add_labels(struct buf *out, const struct metric_label *labels,
    size_t count, const char *bound)
{
    int rc = 0;
    char before = '{';
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = add_label(out, before, labels[i].name);
        rc = rc == 0 ? add_escaped(out, labels[i].value) : rc;
        rc = rc == 0 ? buf_add(out, "\"", 1) : rc;
        before = ',';
    }
    if (rc == 0 && bound != NULL) {
        rc = add_label(out, before, "le");
        rc = rc == 0 ? buf_printf(out, "%s\"", bound) : rc;
        before = ',';
    }
    if (rc == 0 && before == ',') {
        rc = buf_add(out, "}", 1);
    }
    return rc;
}

#define NUMBER_BYTES 32

static void format_number(char text[NUMBER_BYTES], double value)
{
    if (isnan(value)) {
        (void)snprintf(text, NUMBER_BYTES, "NaN");
    } else if (isinf(value)) {
        (void)snprintf(text, NUMBER_BYTES, value > 0 ? "+Inf" : "-Inf");
    } else {
        (void)snprintf(text, NUMBER_BYTES, "%.15g", value);
    }
}

struct series {
    const char *name;
    const char *suffix;
    const struct metric_label *labels;
    size_t label_count;
    const char *bound; /* the "le" of a bucket, or NULL */
};

/* One line; takes back what it wrote of it if there is no room for all. */
static int add_line(struct buf *out, const struct series *s, const char *value)
{
    size_t before = out->len;
    int rc = buf_printf(out, METRIC_PREFIX "%s%s", s->name, s->suffix);
    rc = rc == 0 ? add_labels(out, s->labels, s->label_count, s->bound) : rc;
    rc = rc == 0 ? buf_printf(out, " %s\n", value) : rc;
    if (rc != 0) {
        out->len = before;
    }
    return rc;
}

int metric_text_value(struct buf *out, const char *name,
    const struct metric_label *labels, size_t label_count, uint64_t value)
{
    const struct series s = {name, "", labels, label_count, NULL};
    char text[NUMBER_BYTES];
    (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    return add_line(out, &s, text);
}

int metric_text_number(struct buf *out, const char *name,
    const struct metric_label *labels, size_t label_count, double value)
{
    const struct series s = {name, "", labels, label_count, NULL};
    char text[NUMBER_BYTES];
    format_number(text, value);
    return add_line(out, &s, text);
}

int metric_text_histogram(struct buf *out, const char *name,
    const struct metric_label *labels, size_t label_count,
    const struct metric_histogram *h)
{
    char bound[NUMBER_BYTES];
    char text[NUMBER_BYTES];
    struct series s = {name, "_bucket", labels, label_count, bound};
    uint64_t total = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i <= h->bound_count; i++) {
        total += h->counts[i];
        format_number(bound, i < h->bound_count ? h->bounds[i] : INFINITY);
        (void)snprintf(text, sizeof(text), "%" PRIu64, total);
        rc = add_line(out, &s, text);
    }
    s.bound = NULL;
    if (rc == 0) {
        s.suffix = "_count";
        rc = add_line(out, &s, text);
    }
    if (rc == 0) {
        s.suffix = "_sum";
        format_number(text, h->sum);
        rc = add_line(out, &s, text);
    }
    return rc;
}

int metric_text_tables(
    struct buf *out, const struct metrics *const *tables, size_t count)
{
    int rc = 0;
    for (enum metric m = 0; rc == 0 && m < METRIC_COUNT; m++) {
        rc = metric_text_family(
            out, metric_name(m), metric_type(m), metric_help(m));
        if (rc == 0) {
            rc = metric_text_value(
                out, metric_name(m), NULL, 0, metric_total(tables, count, m));
        }
    }
    return rc;
}
