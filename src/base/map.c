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
 * next rehash sweeps. Tables never shrink. */
#include "base/map.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/mem.h"
#include <pthread.h>
#include <string.h>

#define FIRST_CAPACITY 8
#define MAX_CAPACITY   (UINT32_C(1) << 31)
#define DELETED        ((char *)-1)

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

/* The live entry of this key, or NULL. */
static struct map_entry *find(
    const struct map *m, const char *key, size_t len, uint32_t hash)
{
    if (m->count == 0) {
        return NULL;
    }
    uint32_t mask = m->capacity - 1;
    for (uint32_t i = hash & mask;; i = (i + 1) & mask) {
        struct map_entry *e = &m->entries[i];
        if (e->key == NULL) {
            return NULL;
        }
        if (e->hash == hash && e->key != DELETED && e->key_len == len &&
            (len == 0 || memcmp(e->key, key, len) == 0)) {
            return e;
        }
    }
}

/* Moves all live entries to a table of `capacity`, without the tombstones. */
static int rehash(struct map *m, uint32_t capacity)
{
    size_t bytes = capacity * sizeof(struct map_entry);
    struct map_entry *entries = quota_alloc(bytes);
    if (entries == NULL) {
        return ERR_NOMEM;
    }
    memset(entries, 0, bytes);
    uint32_t mask = capacity - 1;
    for (uint32_t i = 0; i < m->capacity; i++) {
        if (is_live(&m->entries[i])) {
            uint32_t to = m->entries[i].hash & mask;
            while (entries[to].key != NULL) {
                to = (to + 1) & mask;
            }
            entries[to] = m->entries[i];
        }
    }
    quota_free(m->entries);
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
        return rehash(m, FIRST_CAPACITY);
    }
    if (m->count < m->capacity / 2) {
        return rehash(m, m->capacity); /* a third or more are tombstones */
    }
    return m->capacity < MAX_CAPACITY ? rehash(m, m->capacity * 2) : ERR_NOMEM;
}

void map_init(struct map *m)
{
    (void)pthread_once(&secret_once, draw_secret);
    *m = (struct map){0};
}

void map_fini(struct map *m)
{
    for (uint32_t i = 0; i < m->capacity; i++) {
        if (is_live(&m->entries[i])) {
            quota_free(m->entries[i].key);
        }
    }
    quota_free(m->entries);
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
    uint32_t mask = m->capacity - 1;
    uint32_t i = hash & mask;
    while (is_live(&m->entries[i])) {
        i = (i + 1) & mask;
    }
    if (m->entries[i].key == NULL) {
        m->filled++;
    }
    m->entries[i] = (struct map_entry){copy, (uint32_t)len, hash, value};
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
    uint32_t mask = m->capacity - 1;
    uint32_t i = (uint32_t)(e - m->entries);
    quota_free(e->key);
    *e = (struct map_entry){.key = DELETED};
    m->count--;
    /* No chain passes through an entry whose next one is free. */
    if (m->entries[(i + 1) & mask].key == NULL) {
        while (m->entries[i].key == DELETED) {
            m->entries[i].key = NULL;
            m->filled--;
            i = (i - 1) & mask;
        }
    }
    return value;
}

const struct map_entry *map_next(const struct map *m, uint32_t *at)
{
    while (*at < m->capacity) {
        const struct map_entry *e = &m->entries[(*at)++];
        if (is_live(e)) {
            return e;
        }
    }
    return NULL;
}
