/* hub_priv.h -- what the files of this room share. */
#ifndef HUB_HUB_PRIV_H
#define HUB_HUB_PRIV_H

#include "hub/hub.h"
#include "net/tape.h"

/* id -> member. See ids.c. */
struct ids {
    struct member **table; /* NULL: free */
    uint32_t capacity;     /* 0 or a power of two */
    uint32_t count;
};

/* Set in room.slots for a place that a walk passes over: its member has left,
 * or is excepted from the broadcast under way. The number of the slot stays
 * readable below it, so that places can still be searched. */
#define ROOM_DEAD 0x80000000u

/* The places of a room are two parallel arrays (one allocation): a walk needs
 * nothing but the slots. See room.c for their order. */
struct room {
    uint32_t *slots;
    struct member **members; /* NULL: dead */
    uint32_t len;            /* places used, dead ones among them */
    uint32_t cap;
    uint32_t dead;
    uint32_t sorted;       /* places [0, sorted) are in ascending slot order */
    struct room_rule rule; /* as it was when the room was made */
    struct tape tape;
    struct tape packed; /* the same broadcasts, compressed */
    const char *name;   /* behind the struct, but for everybody's */
    uint32_t name_len;
};

struct user_entry {
    struct list members; /* of member.user_node, in the order of entering */
    uint32_t count;
    uint32_t name_len;
    char name[];
};

struct rule {
    char *pattern; /* without its "*" */
    size_t len;
    bool is_prefix;
    struct room_rule rule;
};

struct hub {
    struct net *net;     /* borrowed: outlives every hub */
    struct meter *meter; /* ref */
    enum outbox_policy policy;
    uint32_t rooms_max;
    uint32_t rooms_per_client;
    bool is_walking; /* membership rests until the walk is over */
    struct ids ids;
    struct map rooms; /* name -> struct room, everybody left out */
    struct map users; /* name -> struct user_entry */
    struct room everybody;
    struct tape scratch; /* direct sends */
    struct rule *rules;  /* in the order of defining */
    uint32_t rule_count;
    uint32_t compress_bytes; /* the least that is compressed by itself */
    struct pack_settings compress;
    uint64_t stamp; /* of the latest broadcast that dedupes by stamps */
};

/* ids.c */
void ids_fini(struct ids *t);
struct member *ids_get(const struct ids *t, uint64_t id);
/* Room for one more: ids_put() cannot fail then. 0 or ERR_NOMEM. */
int ids_reserve(struct ids *t) NODISCARD;
void ids_put(struct ids *t, struct member *m);
void ids_remove(struct ids *t, const struct member *m);

/* user.c */
struct user_entry *user_find(const struct hub *h, const char *name, size_t len);
/* Finds or makes; NULL: no memory. */
struct user_entry *user_get(struct hub *h, const char *name, size_t len);
void user_add(struct user_entry *u, struct member *m);
void user_remove(struct user_entry *u, struct member *m);
/* An entry that has nobody goes; NULL is fine. */
void user_drop_if_unused(struct hub *h, struct user_entry *u);

/* rules.c */
struct room_rule rules_match(const struct hub *h, const char *name, size_t len);

/* room.c */
void room_init(struct room *r, const char *name, size_t len);
void room_fini(struct room *r);
/* NULL: no memory. */
struct room *room_new(
    const char *name, size_t len, const struct room_rule *rule) NODISCARD;
void room_free(struct room *r);
/* Room for one more: room_add() cannot fail then. 0 or ERR_NOMEM. */
int room_reserve(struct room *r) NODISCARD;
/* Returns the member's index. */
uint32_t room_add(struct room *r, struct member *m);
void room_remove(struct room *r, uint32_t index);
/* Called before a walk: drops dead places and restores the order where either
 * has become worth its cost. */
void room_tidy(struct room *r);

/* member.c */
/* The member's place in `r`, or NULL. */
struct membership *member_in(const struct member *m, const struct room *r);
void member_leave_all(struct hub *h, struct member *m);

#endif
