/* fuzz_deflate.c -- permessage-deflate, both ways.
 *
 * Settings: bit 0: the client keeps its context; bits 1 and 2: the bound.
 * Without bit 7 the bytes are frames of a rude client, of which the events must
 * not depend on the splits. With it they are messages of ours (each piece is
 * one): what the deflater makes of them has to come back the same from an
 * inflater with the agreed window (bits 3 to 5), a byte at a time, and so has
 * to keep within that window. */
#include "chunks.h"
#include "support/message_feed.h"

static void demand(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

/* Inflates with little room, so that zlib has nothing but its window. */
static void try_back(
    struct inflater *z, const struct buf *packed, const uint8_t *p, size_t n)
{
    struct buf out;
    buf_init(&out, CHUNKS_BYTES + 1);
    for (size_t i = 0; i < packed->len; i++) {
        demand(inflater_feed(z, packed->p + i, 1, &out, CHUNKS_BYTES) == 0);
    }
    demand(inflater_end(z, &out, CHUNKS_BYTES) == 0);
    demand(out.len == n && (n == 0 || memcmp(out.p, p, n) == 0));
    buf_fini(&out);
}

static void try_messages(const struct chunks *c)
{
    unsigned bits = 8 + (c->settings >> 3 & 7);
    int level = 1 + (c->settings >> 1 & 3) * 2;
    bool keeps = (c->settings & 1) != 0;
    struct deflater *d = deflater_new(bits);
    struct inflater *z = inflater_new(bits);
    demand(d != NULL && z != NULL);
    size_t at = 0;
    for (size_t i = 0; i < c->cut_count; i++) {
        struct buf packed;
        buf_init(&packed, 4 * CHUNKS_BYTES);
        size_t n = c->cuts[i] - at;
        demand(deflater_run(d, level, keeps, c->bytes + at, n, &packed) == 0);
        try_back(z, &packed, c->bytes + at, n);
        if (!keeps) {
            inflater_reset(z);
        }
        buf_fini(&packed);
        at = c->cuts[i];
    }
    deflater_free(d);
    inflater_free(z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t bounds[] = {1000, 4, 126, 70000};
    static struct chunks c;
    chunks_read(&c, data, size);
    if ((c.settings & 0x80) != 0) {
        try_messages(&c);
        return 0;
    }
    struct message_feed_config config = {
        .max = bounds[c.settings >> 1 & 3],
        .inflates = true,
        .keeps = (c.settings & 1) != 0,
    };
    chunks_try(&message_feed_target, &config, &c);
    return 0;
}
