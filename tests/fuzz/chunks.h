/* chunks.h -- a fuzzer's input as settings and pieces of a stream, so that it
 * tries splits as well as bytes.
 *
 *     settings (1 byte), then pieces: length (1 byte), that many bytes
 *
 * A last piece that is cut short is taken as long as it is. */
#ifndef TESTS_FUZZ_CHUNKS_H
#define TESTS_FUZZ_CHUNKS_H

#include "support/feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHUNKS_BYTES 65536

struct chunks {
    uint8_t settings;
    uint8_t bytes[CHUNKS_BYTES];
    size_t len;
    size_t cuts[FEED_CUTS_MAX];
    size_t cut_count;
};

static inline void chunks_read(
    struct chunks *c, const uint8_t *data, size_t size)
{
    c->settings = size > 0 ? data[0] : 0;
    c->len = 0;
    c->cut_count = 0;
    for (size_t at = 1; at < size && c->cut_count < FEED_CUTS_MAX;) {
        size_t n = data[at++];
        if (n > size - at) {
            n = size - at;
        }
        if (n > CHUNKS_BYTES - c->len) {
            break;
        }
        memcpy(c->bytes + c->len, data + at, n);
        at += n;
        c->len += n;
        c->cuts[c->cut_count++] = c->len;
    }
}

/* Cut as the fuzzer says, at every byte, or not at all: it must not matter. */
static inline void chunks_try(
    const struct feed_target *t, const void *config, const struct chunks *c)
{
    static struct feed_log whole;
    feed_cut(t, config, c->bytes, c->len, NULL, 0, &whole);
    if (c->cut_count > 0 && !feed_try_cuts(t, config, c->bytes, c->len, c->cuts,
                                c->cut_count, &whole)) {
        abort();
    }
    static size_t every[FEED_CUTS_MAX];
    size_t count = 0;
    while (count + 1 < c->len && count < FEED_CUTS_MAX) {
        every[count] = count + 1;
        count++;
    }
    if (count > 0 &&
        !feed_try_cuts(t, config, c->bytes, c->len, every, count, &whole)) {
        abort();
    }
}

#endif
