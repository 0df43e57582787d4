/* tape.c -- frames laid one behind the other in blobs.
 *
 * The hub (one tape per room) and the app (one for direct sends) write here;
 * the flush seals all tapes when every lane has been served. A tape only ever
 * writes behind the last byte it handed out, so ranges of a chunk that is
 * still growing may be shared already (I4).
 *
 * What a chunk costs is charged to the meter when it is made, not when it is
 * filled (I2); where the meter has no room for a generous chunk it may still
 * have room for one of exactly this frame.
 *
 * Not here: who gets a range, and how long he keeps it. */
#include "net/tape.h"
#include "base/err.h"
#include "base/limits.h"
#include "net/net.h"
#include <string.h>

#ifdef MOONWIRE_TINY
#    define CHUNK_MAX_BYTES 64u
#    define ALONE_BYTES     32u
#else
#    define CHUNK_MAX_BYTES (64u * 1024u)
#    define ALONE_BYTES     (16u * 1024u)
#endif
#define CHUNK_STEP_BYTES 64u

void tape_init(struct tape *t, bool is_scratch)
{
    *t = (struct tape){.is_scratch = is_scratch};
    list_init(&t->node);
}

void tape_fini(struct tape *t)
{
    blob_unref(t->chunk);
    t->chunk = NULL;
    list_remove(&t->node);
}

static void take_chunk(struct tape *t, struct net *n, struct blob *b)
{
    blob_unref(t->chunk);
    t->chunk = b;
    t->used = 0;
    if (list_is_empty(&t->node)) {
        list_push_tail(&n->tapes, &t->node);
    }
}

static uint32_t most(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* A chunk with room for `need` bytes; false: no memory for it. */
static bool new_chunk(
    struct tape *t, struct net *n, struct meter *meter, uint32_t need)
{
    uint32_t size = need;
    bool is_alone = need > ALONE_BYTES;
    if (!is_alone) {
        size = most(size, most(t->next_bytes, t->least_bytes));
    }
    struct blob *b = blob_new(meter, size);
    if (b == NULL && size > need) {
        b = blob_new(meter, need);
    }
    if (b == NULL) {
        return false;
    }
    /* A frame alone in its blob keeps nothing else alive: it may stay. */
    b->is_scratch = t->is_scratch && !is_alone;
    take_chunk(t, n, b);
    if (!is_alone) {
        size = most(b->size, CHUNK_STEP_BYTES);
        t->next_bytes = size < CHUNK_MAX_BYTES / 2 ? size * 2 : CHUNK_MAX_BYTES;
    }
    return true;
}

/* NOLINTNEXTLINE(readability-function-size): the contract has as many. */
int tape_frame(struct tape *t, struct net *n, struct meter *meter,
    enum frame_opcode op, bool rsv1, const void *p, size_t len,
    struct range *out)
{
    if (len > LIMIT_MAX_MESSAGE_BYTES) {
        return ERR_TOO_BIG;
    }
    uint32_t need = (uint32_t)(frame_header_bytes(len) + len);
    if (t->chunk == NULL || t->chunk->size - t->used < need) {
        if (!new_chunk(t, n, meter, need)) {
            metric_add(n->metrics, METRIC_DROPPED_APP, 1);
            return ERR_FULL;
        }
    }
    uint8_t *at = t->chunk->data + t->used;
    size_t header = frame_encode(at, op, true, rsv1, len);
    if (len > 0) {
        memcpy(at + header, p, len);
    }
    *out = (struct range){
        .blob = t->chunk,
        .off = t->used,
        .len = need,
        .frames = 1,
    };
    t->used += need;
    t->turn_bytes += need;
    return 0;
}

/* What the next turn's first chunk should hold, from what this one's did. */
static uint32_t foresee(uint32_t turn_bytes)
{
    if (turn_bytes >= CHUNK_MAX_BYTES) {
        return CHUNK_MAX_BYTES;
    }
    return (turn_bytes + CHUNK_STEP_BYTES - 1) & ~(CHUNK_STEP_BYTES - 1);
}

void tape_seal_all(struct net *n)
{
    struct list *node;
    while ((node = list_pop_head(&n->tapes)) != NULL) {
        struct tape *t = container_of(node, struct tape, node);
        blob_unref(t->chunk);
        t->chunk = NULL;
        t->used = 0;
        t->next_bytes = foresee(t->turn_bytes);
        t->turn_bytes = 0;
    }
}
