/* arena_priv.h -- shared by arena.c (blocks) and spans.c (pages).
 *
 * The mapping, in this order:
 *
 *   struct arena | nook | table of spans | pages ...          | guard
 *
 * The nook is the arena's first 64 KiB: small blocks of all sizes mixed,
 * handed out one after the other. A small app never leaves it, so it touches
 * about as many pages as it has bytes. The table has one entry per page; only
 * the first and the last entry of a span are kept right, and every entry of a
 * run, which is how a block finds its run. */
#ifndef SCRIPT_ARENA_PRIV_H
#define SCRIPT_ARENA_PRIV_H

#include "script/arena.h"

#define ARENA_MAGIC      0x616e657261u
#define ARENA_PAGE_SHIFT 12
#define ARENA_PAGE_BYTES ((size_t)1 << ARENA_PAGE_SHIFT)
#define ARENA_NOOK_BYTES (64 * 1024)
#define ARENA_CLASSES    44
#define ARENA_BINS       46
#define ARENA_EXACT_BINS 32 /* spans of 1..32 pages: one bin per length */

enum span_kind {
    SPAN_NONE, /* above the top, or inside a large block */
    SPAN_FREE, /* in a bin */
    SPAN_RUN,  /* blocks of one class */
    SPAN_LARGE /* one block */
};

/* A free block's first bytes. */
struct block {
    struct block *next;
};

/* One per page; what is said of a span stands in its first entry. */
struct span {
    struct block *free; /* RUN: blocks that came back */
    uint32_t next;      /* FREE: in its bin; RUN: with room, of its class */
    uint32_t prev;
    uint32_t pages; /* of the span; FREE: also in its last entry */
    uint16_t used;  /* RUN: blocks handed out */
    uint16_t fresh; /* RUN: blocks never handed out, the lowest ones */
    uint32_t dirty; /* FREE: at most so many of its pages take memory */
    uint16_t back;  /* RUN: entries back to the first */
    uint8_t kind;   /* enum span_kind */
    uint8_t class;  /* RUN */
};

struct arena {
    uint64_t magic;
    size_t reserved; /* bytes of the mapping, guard included */
    size_t cap;      /* bytes */
    size_t live;     /* bytes handed out */
    size_t least;    /* live after a refusal: arena_take_least() */
    size_t taken;    /* pages: nook and table as touched, spans in use */
    size_t dirty;    /* pages: free, but not yet given back to the system */
    size_t cap_pages;
    char *nook_at; /* its unused rest */
    char *nook_end;
    char *scrap; /* a block that is cut into smaller ones: what is left */
    size_t scrap_bytes;
    char *pages;        /* page 0, which does not exist: 0 means none */
    struct span *table; /* table[0] likewise unused */
    uint32_t top;       /* pages from here on were never used */
    uint32_t limit;     /* index behind the last page */
    size_t table_pages; /* touched so far */
    size_t refused;     /* torture: the size that was just refused, or 0 */
    void (*on_refusal)(void *arg); /* NULL: nobody wants to know */
    void *refusal_arg;
    uint64_t bins_used;                 /* bit per bin */
    struct block *loose[ARENA_CLASSES]; /* free blocks of the nook */
    uint32_t room[ARENA_CLASSES];       /* runs with room */
    uint32_t bins[ARENA_BINS];
};

/* spans.c. Indices of a span's first page; 0: over the cap. A span taken has
 * its `kind` and `pages` set. */
void spans_init(struct arena *a);
uint32_t spans_take(struct arena *a, uint32_t pages, enum span_kind kind);
void spans_give(struct arena *a, uint32_t at);
/* Makes a LARGE span longer or shorter where it is; shorter never fails. */
bool spans_resize(struct arena *a, uint32_t at, uint32_t pages);
/* Gives all free pages back to the system. */
void spans_purge(struct arena *a);

static inline void *span_start(const struct arena *a, uint32_t at)
{
    return a->pages + ((size_t)at << ARENA_PAGE_SHIFT);
}

static inline uint32_t span_index(const struct arena *a, const void *p)
{
    return (uint32_t)((size_t)((const char *)p - a->pages) >> ARENA_PAGE_SHIFT);
}

/* Pages that `n` bytes fill. */
static inline size_t pages_of(size_t n)
{
    return (n + ARENA_PAGE_BYTES - 1) >> ARENA_PAGE_SHIFT;
}

#endif
