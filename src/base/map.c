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
 * while one iterates is safe. */
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
    return e->key != NULL && e->key != DELETED;
}

static struct map_entry *find_in(struct map_entry *entries, uint32_t capacity,
    const char *key, size_t len, uint32_t hash)
{
    uint32_t mask = capacity - 1;
    for (uint32_t i = hash & mask;; i = (i + 1) & mask) {
        struct map_entry *e = &entries[i];
        if (e->key == NULL) {
            return NULL;
        }
        if (e->hash == hash && e->key != DELETED && e->key_len == len &&
            (len == 0 || memcmp(e->key, key, len) == 0)) {
            return e;
        }
    }
}

/* The live entry of this key, or NULL. */
static struct map_entry *find(
    const struct map *m, const char *key, size_t len, uint32_t hash)
{
    if (m->count == 0) {
        return NULL;
    }
    struct map_entry *e = find_in(m->entries, m->capacity, key, len, hash);
    if (e == NULL && m->old != NULL) {
        e = find_in(m->old, m->old_capacity, key, len, hash);
    }
    return e;
}

/* The place for a key that is not there. */
static struct map_entry *find_free(const struct map *m, uint32_t hash)
{
    uint32_t mask = m->capacity - 1;
    uint32_t i = hash & mask;
    while (is_live(&m->entries[i])) {
        i = (i + 1) & mask;
    }
    return &m->entries[i];
}

/* What lies in `old` below `end` goes over to the new table. */
static void move_up_to(struct map *m, uint32_t end)
{
    for (; m->moved < end; m->moved++) {
        struct map_entry *e = &m->old[m->moved];
        if (is_live(e)) {
            struct map_entry *to = find_free(m, e->hash);
            if (to->key == DELETED) {
                m->filled--; /* it has been counted twice */
            }
            *to = *e;
            e->key = DELETED; /* chains pass through it */
        }
    }
    if (m->moved == m->old_capacity) {
        quota_free(m->old);
        m->old = NULL;
        m->old_capacity = 0;
        m->moved = 0;
    }
}

static void move_some(struct map *m)
{
    if (m->old != NULL) {
        uint32_t left = m->old_capacity - m->moved;
        move_up_to(m, m->moved + (left < MOVE_AT_ONCE ? left : MOVE_AT_ONCE));
    }
}

/* A new table of `capacity`, with places for all that are in this one. */
static int begin_rehash(struct map *m, uint32_t capacity)
{
    struct map_entry *entries = quota_zalloc(capacity * sizeof(*entries));
    if (entries == NULL) {
        return ERR_NOMEM;
    }
    move_up_to(m, m->old_capacity); /* nothing is left, or should be */
    m->old = m->entries;
    m->old_capacity = m->capacity;
    m->entries = entries;
    m->capacity = capacity;
    m->filled = m->count;
    return 0;
}

/* Sees to it that one more entry leaves a quarter free. */
static int make_room(struct map *m)
{
    if (m->capacity != 0 && m->filled < m->capacity / 4 * 3) {
        return 0;
    }
    if (m->capacity == 0) {
        return begin_rehash(m, FIRST_CAPACITY);
    }
    if (m->count < m->capacity / 2) {
        /* A third or more are tombstones. */
        return begin_rehash(m, m->capacity);
    }
    return m->capacity < MAX_CAPACITY ? begin_rehash(m, m->capacity * 2)
                                      : ERR_NOMEM;
}

void map_init(struct map *m)
{
    (void)pthread_once(&secret_once, draw_secret);
    *m = (struct map){0};
}

static void free_table(struct map_entry *entries, uint32_t capacity)
{
    for (uint32_t i = 0; i < capacity; i++) {
        if (is_live(&entries[i])) {
            quota_free(entries[i].key);
        }
    }
    quota_free(entries);
}

void map_fini(struct map *m)
{
    free_table(m->entries, m->capacity);
    free_table(m->old, m->old_capacity);
    *m = (struct map){0};
}

void *map_get(const struct map *m, const char *key, size_t len)
{
    const struct map_entry *e = find(m, key, len, hash_of(key, len));
    return e != NULL ? e->value : NULL;
}

int map_put(struct map *m, const char *key, size_t len, void *value)
{
    ASSERT(value != NULL, "NULL means: not in the map");
    ASSERT(len < UINT32_MAX, "I6");
    uint32_t hash = hash_of(key, len);
    struct map_entry *e = find(m, key, len, hash);
    if (e != NULL) {
        e->value = value;
        return 0;
    }
    int err = make_room(m);
    if (err != 0) {
        return err;
    }
    char *copy = quota_alloc(len + 1);
    if (copy == NULL) {
        return ERR_NOMEM;
    }
    if (len != 0) {
        memcpy(copy, key, len);
    }
    copy[len] = '\0';
    move_some(m);
    e = find_free(m, hash);
    if (e->key == NULL) {
        m->filled++;
    }
    *e = (struct map_entry){copy, (uint32_t)len, hash, value};
    m->count++;
    return 0;
}

void *map_remove(struct map *m, const char *key, size_t len)
{
    struct map_entry *e = find(m, key, len, hash_of(key, len));
    if (e == NULL) {
        return NULL;
    }
    void *value = e->value;
    quota_free(e->key);
    *e = (struct map_entry){.key = DELETED};
    m->count--;
    if (e < m->entries || e >= m->entries + m->capacity) {
        m->filled--; /* its place in the new table will not be needed */
        return value;
    }
    /* No chain passes through an entry whose next one is free. */
    uint32_t mask = m->capacity - 1;
    uint32_t i = (uint32_t)(e - m->entries);
    if (m->entries[(i + 1) & mask].key == NULL) {
        while (m->entries[i].key == DELETED) {
            m->entries[i].key = NULL;
            m->filled--;
            i = (i - 1) & mask;
        }
    }
    return value;
}

uint32_t map_end(const struct map *m)
{
    return m->capacity + m->old_capacity;
}

const struct map_entry *map_look(
    const struct map *m, uint32_t *at, uint32_t most)
{
    for (; most > 0 && *at < map_end(m); most--) {
        uint32_t i = (*at)++;
        const struct map_entry *e =
            i < m->capacity ? &m->entries[i] : &m->old[i - m->capacity];
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
