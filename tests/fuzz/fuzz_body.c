/* fuzz_body.c -- bytes of a rude client into the reader of bodies.
 *
 * Settings: bit 0 a length instead of chunks, bits 1 and 2 choose the bound. A
 * body never is longer than its bound, and the events must not depend on the
 * splits. */
#include "chunks.h"
#include "support/body_feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t bounds[] = {1000, 0, 20, 1 << 20};
    static struct chunks c;
    chunks_read(&c, data, size);
    struct body_feed_config config = {
        .length = (c.settings & 1) != 0 ? (long)(c.settings >> 3) : -1,
        .max = bounds[c.settings >> 1 & 3],
    };
    chunks_try(&body_feed_target, &config, &c);
    return 0;
}
