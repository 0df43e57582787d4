/* fuzz_proxy.c -- bytes of a proxy, or of somebody who says so, into the
 * reader of PROXY headers. The events must not depend on the splits. */
#include "chunks.h"
#include "support/proxy_feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct chunks c;
    chunks_read(&c, data, size);
    chunks_try(&proxy_feed_target, NULL, &c);
    return 0;
}
