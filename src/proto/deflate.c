/* deflate.c -- the two directions of permessage-deflate over zlib
 * (RFC 7692 7.2).
 *
 * A compressed message is a raw DEFLATE stream up to a flush, without the four
 * bytes 00 00 ff ff that end every flush. Whoever inflates puts them back; so
 * the end of a message is checked like its middle: what stops inside a block
 * is not taken for whole. A final block (BFINAL) ends the stream but not the
 * message: another stream begins behind it, which may refer to the same window
 * (7.2.3.5).
 *
 * The bound on the output holds while it is made: a bomb costs what the bound
 * allows and no more (I6). All memory, zlib's included, is quota_*; zlib's
 * window of up to 32 KiB comes with the first message.
 *
 * Who keeps which inflater, and for how long: proto/message_inflate.c. */
#include "proto/deflate.h"
#include "base/err.h"
#include "base/mem.h"
#include <zlib.h>

#ifdef MOONWIRE_TINY
#    define ROOM_LEAST 5u
#else
#    define ROOM_LEAST 512u /* of a buffer, before zlib is asked for more */
#endif
/* What zlib keeps clear of the end of its window: it never refers back
 * further than the window less this. */
#define ZLIB_LOOKAHEAD 262

/* Levels above this look at more candidates for each byte than one step has
 * time for, where all of a text looks alike; for half a hundredth of its
 * bytes. */
#define LEVEL_BOUNDED 7
#define CHAIN_MOST    256

static const uint8_t flush_tail[4] = {0x00, 0x00, 0xff, 0xff};

/* z_stream.data_type after inflate(). */
#define AT_BLOCK_START 128
#define UNUSED_BITS    63

struct inflater {
    z_stream s;
    bool is_ended; /* a final block came, and nothing behind it yet */
    bool has_any;  /* bytes of the message under way came */
};

struct deflater {
    z_stream s;
    int level;
    bool has_any; /* bytes of the message under way came */
};

static void *zlib_alloc(void *opaque, unsigned items, unsigned size)
{
    (void)opaque;
    return quota_alloc((size_t)items * size);
}

static void zlib_free(void *opaque, void *p)
{
    (void)opaque;
    quota_free(p);
}

static unsigned judge_bits(unsigned bits)
{
    ASSERT(bits >= DEFLATE_BITS_MIN && bits <= DEFLATE_BITS_MAX, "7.1.2");
    return bits;
}

/* ---- inflate ---- */

struct inflater *inflater_new(unsigned window_bits)
{
    struct inflater *z = quota_alloc(sizeof(*z));
    if (z == NULL) {
        return NULL;
    }
    *z = (struct inflater){.s = {.zalloc = zlib_alloc, .zfree = zlib_free}};
    if (inflateInit2(&z->s, -(int)judge_bits(window_bits)) != Z_OK) {
        quota_free(z);
        return NULL;
    }
    return z;
}

void inflater_free(struct inflater *z)
{
    if (z != NULL) {
        (void)inflateEnd(&z->s);
        quota_free(z);
    }
}

void inflater_reset(struct inflater *z)
{
    (void)inflateReset(&z->s);
    z->is_ended = false;
    z->has_any = false;
}

/* One step. *is_done: all input is used, and no output waits. */
static int step(struct inflater *z, struct buf *out, size_t max, bool *is_done)
{
    /* A little at a time: a buffer that is too small doubles, so it is at
     * most twice what it holds. */
    size_t room = out->cap > out->len ? out->cap - out->len : 0;
    if (room < ROOM_LEAST) {
        size_t most = max + 1 - out->len;
        int rc = buf_reserve(out, most < ROOM_LEAST ? most : ROOM_LEAST);
        if (rc != 0) {
            return rc;
        }
        room = out->cap - out->len;
    }
    if (room > max + 1 - out->len) {
        room = max + 1 - out->len;
    }
    z->s.next_out = out->p + out->len;
    z->s.avail_out = room < UINT32_MAX ? (unsigned)room : UINT32_MAX;
    unsigned offered = z->s.avail_out;
    int rc = inflate(&z->s, Z_SYNC_FLUSH);
    out->len += offered - z->s.avail_out;
    if (out->len > max) {
        return ERR_TOO_BIG;
    }
    switch (rc) {
    case Z_OK:
    case Z_BUF_ERROR: /* nothing to do, or no room to do it */
        *is_done = z->s.avail_in == 0 && z->s.avail_out > 0;
        return 0;
    case Z_STREAM_END:
        z->is_ended = true;
        *is_done = z->s.avail_in == 0;
        return 0;
    case Z_MEM_ERROR: return ERR_NOMEM;
    default: return ERR_INFLATE;
    }
}

static int inflate_all(
    struct inflater *z, const uint8_t *p, size_t n, struct buf *out, size_t max)
{
    ASSERT(n <= UINT32_MAX && out->len <= max && out->max > max, "I6");
    z->s.next_in = (uint8_t *)(uintptr_t)p; /* zlib only reads it */
    z->s.avail_in = (unsigned)n;
    bool is_done = n == 0;
    while (!is_done) {
        if (z->is_ended) {
            /* The window stays, the bits that fill the last byte do not. */
            (void)inflateResetKeep(&z->s);
            z->is_ended = false;
        }
        int rc = step(z, out, max, &is_done);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int inflater_feed(
    struct inflater *z, const uint8_t *p, size_t n, struct buf *out, size_t max)
{
    z->has_any |= n > 0;
    return inflate_all(z, p, n, out, max);
}

int inflater_end(struct inflater *z, struct buf *out, size_t max)
{
    bool is_whole = z->is_ended && z->has_any;
    z->has_any = false;
    if (is_whole) {
        return 0; /* it ended with its final block */
    }
    int rc = inflate_all(z, flush_tail, sizeof(flush_tail), out, max);
    if (rc != 0) {
        return rc;
    }
    int where = z->s.data_type;
    if ((where & AT_BLOCK_START) == 0 || (where & UNUSED_BITS) != 0) {
        return ERR_INFLATE;
    }
    return 0;
}

/* ---- deflate ---- */

/* zlib's memLevel, 8 by default. With 5 a block is closed after 2048 symbols,
 * which cannot be interrupted; the output grows by a hundredth at most. */
static int memory_level(unsigned bits)
{
    const int most = 5;
    if (bits <= 9) {
        return 1;
    }
    return (int)bits - 9 < most ? (int)bits - 9 : most;
}

struct deflater *deflater_new(unsigned window_bits)
{
    struct deflater *d = quota_alloc(sizeof(*d));
    if (d == NULL) {
        return NULL;
    }
    *d = (struct deflater){
        .s = {.zalloc = zlib_alloc, .zfree = zlib_free},
        .level = Z_DEFAULT_COMPRESSION,
    };
    /* zlib has no raw stream of 8 bits; that of 9 refers back by at most
     * 2^9 - ZLIB_LOOKAHEAD bytes, which is less than 2^8. */
    _Static_assert((1 << 9) - ZLIB_LOOKAHEAD <= (1 << 8), "window of 256");
    unsigned bits = judge_bits(window_bits) == 8 ? 9 : window_bits;
    int rc = deflateInit2(&d->s, d->level, Z_DEFLATED, -(int)bits,
        memory_level(bits), Z_DEFAULT_STRATEGY);
    if (rc != Z_OK) {
        quota_free(d);
        return NULL;
    }
    return d;
}

void deflater_free(struct deflater *d)
{
    if (d != NULL) {
        (void)deflateEnd(&d->s);
        quota_free(d);
    }
}

void deflater_forget(struct deflater *d)
{
    (void)deflateReset(&d->s);
}

/* All of the input; with Z_SYNC_FLUSH, and all of the output with its tail. */
static int deflate_all(struct deflater *d, int flush, struct buf *out)
{
    for (;;) {
        /* Should the room be used up exactly, the flush is made twice, which
         * does no harm. */
        int rc = buf_reserve(out, 64);
        if (rc != 0) {
            (void)deflateReset(&d->s);
            return rc;
        }
        size_t room = out->cap - out->len;
        d->s.next_out = out->p + out->len;
        d->s.avail_out = room < UINT32_MAX ? (unsigned)room : UINT32_MAX;
        unsigned offered = d->s.avail_out;
        (void)deflate(&d->s, flush);
        out->len += offered - d->s.avail_out;
        if (d->s.avail_out > 0) {
            d->s.next_in = NULL; /* it had room, so it has taken all */
            return 0;
        }
    }
}

void deflater_begin(struct deflater *d, int level, bool keeps)
{
    if (!keeps) {
        (void)deflateReset(&d->s);
    }
    d->has_any = false;
    if (level != d->level) {
        d->s.next_in = NULL;
        d->s.avail_in = 0;
        d->s.next_out = NULL;
        d->s.avail_out = 0;
        (void)deflateParams(&d->s, level, Z_DEFAULT_STRATEGY);
        d->level = level;
    }
    if (level > LEVEL_BOUNDED) {
        /* Good enough at once, lazy, nice: zlib's own for 9; but the chain
         * of candidates for each byte would have 4096. A reset forgets it. */
        (void)deflateTune(&d->s, 32, 258, 258, CHAIN_MOST);
    }
}

int deflater_feed(struct deflater *d, const void *p, size_t n, struct buf *out)
{
    ASSERT(n <= UINT32_MAX, "I6");
    d->has_any |= n > 0;
    d->s.next_in = (uint8_t *)(uintptr_t)p; /* zlib only reads it */
    d->s.avail_in = (unsigned)n;
    return deflate_all(d, Z_NO_FLUSH, out);
}

int deflater_end(struct deflater *d, struct buf *out)
{
    if (!d->has_any) {
        /* 7.2.3.6; and two flushes in a row would make no bytes. */
        static const uint8_t empty[1] = {0x00};
        return buf_add(out, empty, sizeof(empty));
    }
    int rc = deflate_all(d, Z_SYNC_FLUSH, out);
    if (rc != 0) {
        return rc;
    }
    ASSERT(out->len >= sizeof(flush_tail), "7.2.1");
    out->len -= sizeof(flush_tail);
    return 0;
}

int deflater_run(struct deflater *d, int level, bool keeps, const void *p,
    size_t n, struct buf *out)
{
    deflater_begin(d, level, keeps);
    int rc = deflater_feed(d, p, n, out);
    return rc != 0 ? rc : deflater_end(d, out);
}
