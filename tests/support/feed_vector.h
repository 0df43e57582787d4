/* feed_vector.h -- a vector, cut in every way, gives the events that it names.
 * For cmocka tests: it fails the one that runs. */
#ifndef TESTS_SUPPORT_FEED_VECTOR_H
#define TESTS_SUPPORT_FEED_VECTOR_H

#include "support/feed.h"
#include "support/vectors.h"

static inline void feed_vector(const struct vector *v,
    const struct feed_target *target, const void *config)
{
    static struct feed_log log;
    bool is_same = feed_every_split(target, config, v->in, v->in_len, &log);
    if (!is_same || strcmp(log.text, v->out) != 0) {
        print_message("line %d: %s\nwant:\n%sgot:\n%s", v->line, v->title,
            v->out, log.text);
        fail();
    }
}

#endif
