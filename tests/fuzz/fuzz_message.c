/* fuzz_message.c -- bytes of a rude client into the message reader.
 *
 * Settings: bit 0 allows RSV1, bits 1 and 2 choose the bound. The events must
 * not depend on the splits; the sanitizers watch the rest. */
#include "chunks.h"
#include "support/message_feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t bounds[] = {1000, 4, 126, 70000};
    static struct chunks c;
    chunks_read(&c, data, size);
    struct message_feed_config config = {
        .max = bounds[c.settings >> 1 & 3],
        .allow_rsv1 = (c.settings & 1) != 0,
    };
    chunks_try(&message_feed_target, &config, &c);
    return 0;
}
