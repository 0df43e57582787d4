/* map.h -- byte string -> pointer, open addressing, keys copied. Hashing is
 * keyed with a secret of this process, so nobody outside can aim at it. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/base.h"

struct map_entry {
    char *key; /* NUL-terminated copy; NULL: free, (char *)-1: deleted */
    uint32_t key_len;
    uint32_t hash;
    void *value;
};

/* Entries, in segments if there are many. */
struct map_table {
    union {
        struct map_entry *entries;   /* of one segment at most */
        struct map_entry **segments; /* NULL: all of it is free */
    } u;
    uint32_t capacity; /* 0 or a power of two */
};

struct map {
    struct map_table now;
    uint32_t count;
    uint32_t filled; /* with the deleted ones, and places for those of `old` */
    /* The table before this one, less what has moved over: all below this. */
    uint32_t moved;
    struct map_table old; /* no capacity: none */
};

void map_init(struct map *m);
void map_fini(struct map *m); /* frees keys, not values */
void *map_get(const struct map *m, const char *key, size_t len);
/* `value` is not NULL. 0, or ERR_NOMEM (nothing changed): keys come from
 * outside. Replaces the value of a key that is there. */
int map_put(struct map *m, const char *key, size_t len, void *value) NODISCARD;
/* The value that was there, or NULL. */
void *map_remove(struct map *m, const char *key, size_t len);
/* Iterates in no order: start with *at = 0; NULL at the end. The map must not
 * change meanwhile, but for map_remove of the entry just returned. */
const struct map_entry *map_next(const struct map *m, uint32_t *at);
/* The same, but looks at no more than `most` places for one. NULL: not here;
 * *at is map_end() when there are no more. */
const struct map_entry *map_look(
    const struct map *m, uint32_t *at, uint32_t most);
uint32_t map_end(const struct map *m);

#endif
