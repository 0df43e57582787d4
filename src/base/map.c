/* map.c -- byte string -> pointer: open addressing, linear probing.
 *
 * One loop owns a map. Keys come from outside, so the hash is SipHash-1-3
 * (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012; one
 * compression round and three at the end) under a key drawn once in this
 * process: nobody can aim names at one chain. The order of iteration depends
 * on that key and so differs from run to run.
 *
 * A quarter of the table is always free, so a probe ends. A removed entry
 * becomes free at once if the one behind it is, else a tombstone that the
 * next rehash sweeps. Tables never shrink.
 *
 * A rehash does not take place at once, for a large table would take
 * milliseconds, which nobody may be kept waiting for: the old table stays
 * beside the new one, each put moves a few entries over, and until they are
 * all there a look-up asks both. Only puts move entries, so that removing
 * while one iterates is safe. For the same reason a large table consists of
 * segments: they are made when an entry comes into them, and each of the old
 * one goes when its last entry has moved, since the kernel takes its time with
 * pages as well. */
#include "base/map.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/mem.h"
#include <pthread.h>
#include <string.h>

#define FIRST_CAPACITY 8
#define MAX_CAPACITY   (UINT32_C(1) << 31)
#define DELETED        ((char *)-1)
/* Looked at in the old table by each put. A new table takes an eighth of its
 * capacity at least before the next one is due. */
#define MOVE_AT_ONCE 32
#ifdef MOONWIRE_TINY
#    define SEGMENT 8u
#else
#    define SEGMENT 512u
#endif

/* The secret: written once, before the first hash of any thread. */
static uint64_t secret[2];
static pthread_once_t secret_once = PTHREAD_ONCE_INIT;

static void draw_secret(void)
{
    digest_random(secret, sizeof(secret));
}

static inline uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

/* Words are taken in the machine's byte order: the hash never leaves the
 * process. */
static uint32_t hash_of(const char *key, size_t len)
{
    uint64_t v[4] = {
        secret[0] ^ UINT64_C(0x736f6d6570736575),
        secret[1] ^ UINT64_C(0x646f72616e646f6d),
        secret[0] ^ UINT64_C(0x6c7967656e657261),
        secret[1] ^ UINT64_C(0x7465646279746573),
    };
    size_t left = len;
    uint64_t word;
    for (; left >= 8; left -= 8, key += 8) {
        memcpy(&word, key, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    word = (uint64_t)len << 56;
    for (size_t i = 0; i < left; i++) {
        word |= (uint64_t)(uint8_t)key[i] << (8 * i);
    }
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return (uint32_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

static bool is_live(const struct map_entry *e)
{
    return e != NULL && e->key != NULL && e->key != DELETED;
}

/* ---- tables ---- */

static bool has_segments(const struct map_table *t)
{
    return t->capacity > SEGMENT;
}

/* NULL: it is free, and so is its segment. */
static inline struct map_entry *entry_at(const struct map_table *t, uint32_t i)
{
    if (!has_segments(t)) {
        return &t->u.entries[i];
    }
    struct map_entry *segment = t->u.segments[i / SEGMENT];
    return segment != NULL ? &segment[i % SEGMENT] : NULL;
}

/* The same, but makes the segment; NULL: no memory. */
static struct map_entry *make_entry_at(struct map_table *t, uint32_t i)
{
    struct map_entry *e = entry_at(t, i);
    if (e != NULL) {
        return e;
    }
    struct map_entry *segment = quota_zalloc(SEGMENT * sizeof(*segment));
    if (segment == NULL) {
        return NULL;
    }
    t->u.segments[i / SEGMENT] = segment;
    return &segment[i % SEGMENT];
}

static int new_table(struct map_table *t, uint32_t capacity)
{
    *t = (struct map_table){.capacity = capacity};
    void *p;
    if (has_segments(t)) {
        p = t->u.segments =
            quota_zalloc(capacity / SEGMENT * sizeof(struct map_entry *));
    } else {
        p = t->u.entries = quota_zalloc(capacity * sizeof(struct map_entry));
    }
    return p != NULL ? 0 : ERR_NOMEM;
}

/* Frees it, from the entry `from` on: what is below has gone. */
static void free_table(struct map_table *t, uint32_t from)
{
    if (has_segments(t)) {
        for (uint32_t i = from / SEGMENT; i < t->capacity / SEGMENT; i++) {
            quota_free(t->u.segments[i]);
        }
        quota_free(t->u.segments);
    } else {
        quota_free(t->u.entries);
    }
    *t = (struct map_table){0};
}

/* ---- finding ---- */

struct place {
    struct map_entry *e; /* NULL: the key is not there */
    uint32_t i;
    bool is_old;
};

/* Of what is below `moved` there is nothing left: chains pass through it. */
static struct map_entry *find_in(const struct map_table *t, uint32_t moved,
    const char *key, size_t len, uint32_t hash, uint32_t *at)
{
    uint32_t mask = t->capacity - 1;
    uint32_t i = hash & mask;
    for (uint32_t left = t->capacity - moved; left > 0; left--) {
        i = i < moved ? moved : i;
        struct map_entry *e = entry_at(t, i);
        if (e == NULL || e->key == NULL) {
            return NULL;
        }
        if (e->hash == hash && e->key != DELETED && e->key_len == len &&
            (len == 0 || memcmp(e->key, key, len) == 0)) {
            *at = i;
            return e;
        }
        i = (i + 1) & mask;
    }
    return NULL;
}

static struct place find(
    const struct map *m, const char *key, size_t len, uint32_t hash)
{
    struct place p = {0};
    if (m->count == 0) {
        return p;
    }
    p.e = find_in(&m->now, 0, key, len, hash, &p.i);
    if (p.e == NULL && m->old.capacity != 0) {
        p.is_old = true;
        p.e = find_in(&m->old, m->moved, key, len, hash, &p.i);
    }
    return p;
}

/* The place for a key that is not there; NULL: no memory. */
static struct map_entry *find_free(struct map *m, uint32_t hash)
{
    uint32_t mask = m->now.capacity - 1;
    uint32_t i = hash & mask;
    while (is_live(entry_at(&m->now, i))) {
        i = (i + 1) & mask;
    }
    return make_entry_at(&m->now, i);
}

/* ---- growing ---- */

static int move_one(struct map *m, const struct map_entry *e)
{
    struct map_entry *to = find_free(m, e->hash);
    if (to == NULL) {
        return ERR_NOMEM;
    }
    if (to->key == DELETED) {
        m->filled--; /* it has been counted twice */
    }
    *to = *e;
    return 0;
}

/* What lies in `old` below `end` goes over to the new table. */
static int move_up_to(struct map *m, uint32_t end)
{
    while (m->moved < end) {
        const struct map_entry *e = entry_at(&m->old, m->moved);
        int err = is_live(e) ? move_one(m, e) : 0;
        if (err != 0) {
            return err;
        }
        m->moved++;
        if (m->moved % SEGMENT == 0 && has_segments(&m->old)) {
            struct map_entry **s = &m->old.u.segments[m->moved / SEGMENT - 1];
            quota_free(*s);
            *s = NULL;
        }
    }
    if (m->moved == m->old.capacity && m->moved != 0) {
        free_table(&m->old, m->moved);
        m->moved = 0;
    }
    return 0;
}

static int move_some(struct map *m)
{
    uint32_t left = m->old.capacity - m->moved;
    return move_up_to(
        m, m->moved + (left < MOVE_AT_ONCE ? left : MOVE_AT_ONCE));
}

/* A new table of `capacity`, with places for all that are in this one. */
static int begin_rehash(struct map *m, uint32_t capacity)
{
    /* Nothing is left, or should be. */
    int err = move_up_to(m, m->old.capacity);
    if (err != 0) {
        return err;
    }
    struct map_table fresh;
    err = new_table(&fresh, capacity);
    if (err != 0) {
        return err;
    }
    m->old = m->now;
    m->now = fresh;
    m->filled = m->count;
    return 0;
}

/* Sees to it that one more entry leaves a quarter free. */
static int make_room(struct map *m)
{
    uint32_t capacity = m->now.capacity;
    if (capacity != 0 && m->filled < capacity / 4 * 3) {
        return 0;
    }
    if (capacity == 0) {
        return begin_rehash(m, FIRST_CAPACITY);
    }
    if (m->count < capacity / 2) {
        /* A third or more are tombstones. */
        return begin_rehash(m, capacity);
    }
    return capacity < MAX_CAPACITY ? begin_rehash(m, capacity * 2) : ERR_NOMEM;
}

void map_init(struct map *m)
{
    (void)pthread_once(&secret_once, draw_secret);
    *m = (struct map){0};
}

static void free_keys(const struct map_table *t, uint32_t from)
{
    for (uint32_t i = from; i < t->capacity; i++) {
        const struct map_entry *e = entry_at(t, i);
        if (is_live(e)) {
            quota_free(e->key);
        }
    }
}

void map_fini(struct map *m)
{
    free_keys(&m->now, 0);
    free_keys(&m->old, m->moved);
    free_table(&m->now, 0);
    free_table(&m->old, m->moved);
    *m = (struct map){0};
}

void *map_get(const struct map *m, const char *key, size_t len)
{
    const struct map_entry *e = find(m, key, len, hash_of(key, len)).e;
    return e != NULL ? e->value : NULL;
}

int map_put(struct map *m, const char *key, size_t len, void *value)
{
    ASSERT(value != NULL, "NULL means: not in the map");
    ASSERT(len < UINT32_MAX, "I6");
    uint32_t hash = hash_of(key, len);
    struct map_entry *e = find(m, key, len, hash).e;
    if (e != NULL) {
        e->value = value;
        return 0;
    }
    int err = make_room(m);
    err = err != 0 ? err : move_some(m);
    if (err != 0) {
        return err;
    }
    e = find_free(m, hash);
    char *copy = e != NULL ? quota_alloc(len + 1) : NULL;
    if (copy == NULL) {
        return ERR_NOMEM;
    }
    if (len != 0) {
        memcpy(copy, key, len);
    }
    copy[len] = '\0';
    if (e->key == NULL) {
        m->filled++;
    }
    *e = (struct map_entry){copy, (uint32_t)len, hash, value};
    m->count++;
    return 0;
}

/* No chain passes through an entry whose next one is free. */
static void free_deleted(struct map *m, uint32_t i)
{
    uint32_t mask = m->now.capacity - 1;
    const struct map_entry *next = entry_at(&m->now, (i + 1) & mask);
    if (next != NULL && next->key != NULL) {
        return;
    }
    struct map_entry *e = entry_at(&m->now, i);
    while (e != NULL && e->key == DELETED) {
        e->key = NULL;
        m->filled--;
        i = (i - 1) & mask;
        e = entry_at(&m->now, i);
    }
}

void *map_remove(struct map *m, const char *key, size_t len)
{
    struct place p = find(m, key, len, hash_of(key, len));
    if (p.e == NULL) {
        return NULL;
    }
    void *value = p.e->value;
    quota_free(p.e->key);
    *p.e = (struct map_entry){.key = DELETED};
    m->count--;
    if (p.is_old) {
        m->filled--; /* its place in the new table will not be needed */
    } else {
        free_deleted(m, p.i);
    }
    return value;
}

uint32_t map_end(const struct map *m)
{
    return m->now.capacity + m->old.capacity;
}

const struct map_entry *map_look(
    const struct map *m, uint32_t *at, uint32_t most)
{
    for (; most > 0 && *at < map_end(m); most--) {
        uint32_t i = (*at)++;
        const struct map_entry *e = NULL;
        if (i < m->now.capacity) {
            e = entry_at(&m->now, i);
        } else if (i - m->now.capacity >= m->moved) {
            e = entry_at(&m->old, i - m->now.capacity);
        }
        if (is_live(e)) {
            return e;
        }
    }
    return NULL;
}

const struct map_entry *map_next(const struct map *m, uint32_t *at)
{
    return map_look(m, at, UINT32_MAX);
}
