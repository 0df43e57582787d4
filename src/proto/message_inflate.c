/* message_inflate.c -- who holds an inflater, and for how long.
 *
 * An inflater weighs some 40 KiB, so most connections are to have none most of
 * the time. The source of a loop keeps one that is idle, so that a stream of
 * messages from clients without a context costs no allocation for each. */
#include "proto/message_inflate.h"

void inflate_source_fini(struct inflate_source *s)
{
    inflater_free(s->idle);
    s->idle = NULL;
}

struct inflater *inflate_source_take(struct inflate_source *s)
{
    if (s->lender != NULL) {
        return inflate_source_take(s->lender);
    }
    struct inflater *z = s->idle;
    s->idle = NULL;
    return z != NULL ? z : inflater_new(s->bits);
}

void inflate_source_give(
    struct inflate_source *s, struct inflater *z, bool is_whole)
{
    if (s->lender != NULL) {
        inflate_source_give(s->lender, z, is_whole);
        return;
    }
    if (s->idle != NULL || (s->keeps && !is_whole)) {
        inflater_free(z);
        return;
    }
    if (!s->keeps) {
        inflater_reset(z);
    }
    s->idle = z;
}

uint64_t inflate_most_bytes(uint64_t max)
{
    /* What cannot be made smaller grows, by little; a sender that wastes more
     * than an eighth is refused. */
    return max + max / 8 + 1024;
}
