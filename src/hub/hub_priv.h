/* hub_priv.h -- what the files of this room share. */
#ifndef HUB_HUB_PRIV_H
#define HUB_HUB_PRIV_H

#include "hub/hub.h"
#include "net/fanout.h"
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

/* The members of a room that live on one loop. Their places are two parallel
 * arrays (one allocation): a walk needs nothing but the slots. See part.c for
 * their order. */
struct part {
    struct room *room; /* it is part of this one, which owns it */
    struct part *next; /* of the same room, for another loop */
    struct blob *list; /* ref; the places as letters carry them; NULL: to be
                          made for the next broadcast */
    uint32_t *slots;
    struct member **members; /* NULL: dead */
    uint32_t loop;
    uint32_t len; /* places used, dead ones among them */
    uint32_t cap;
    uint32_t dead;
    uint32_t sorted; /* places [0, sorted) are in ascending slot order */
};

struct room {
    struct part here; /* on the hub's own loop; first of all parts */
    struct tape tape;
    struct tape packed;    /* the same broadcasts, compressed */
    struct room_rule rule; /* as it was when the room was made */
    const char *name;      /* behind the struct, but for everybody's */
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

/* Members on one other loop that a broadcast has found so far (far.c). */
struct far_batch {
    struct fanout_target *targets;
    uint32_t count;
    uint32_t cap;
};

/* The hub's end of the way to one other loop. */
struct far_loop {
    struct meter *window; /* ref; what is under way there. NULL: nothing was */
    struct far_batch batch;
};

struct hub {
    struct net *net;      /* borrowed: outlives every hub */
    uint32_t home;        /* its loop's index */
    struct far_loop *far; /* by loop index; NULL: no member was ever far */
    uint32_t far_count;
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
    uint64_t refused;        /* messages, by the meter */
    struct pack_settings compress;
    uint32_t far_packed; /* members on other loops that take compressed ones */
    uint64_t stamp;      /* of the latest broadcast that dedupes by stamps */
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

/* part.c */
void part_init(struct part *p, struct room *r, uint32_t loop);
void part_fini(struct part *p);
uint32_t part_count(const struct part *p);
/* Room for one more: part_add() cannot fail then. 0 or ERR_NOMEM. */
int part_reserve(struct part *p) NODISCARD;
/* Returns the member's index. */
uint32_t part_add(struct part *p, struct member *m);
void part_remove(struct part *p, uint32_t index);
/* Called before a walk, and before anybody is hidden from it: drops dead places
 * and restores the order where either has become worth its cost. */
void part_tidy(struct part *p);
/* Copies at most `cap` members' ids, in order; returns how many. */
uint32_t part_ids(const struct part *p, uint64_t *ids, uint32_t cap);
/* The members as net/fanout has them, part_count() of them; lent until the part
 * changes. NULL: the meter says no, or there is no memory. */
struct blob *part_list(struct part *p, struct meter *meter) NODISCARD;

/* room.c */
void room_init(struct room *r, const char *name, size_t len, uint32_t home);
void room_fini(struct room *r);
/* NULL: no memory. */
struct room *room_new(const char *name, size_t len, uint32_t home,
    const struct room_rule *rule) NODISCARD;
void room_free(struct room *r);
/* The part for members of that loop; NULL: there never was one. */
struct part *room_part(struct room *r, uint32_t loop);
/* Room for one more from that loop: room_add() cannot fail then. 0 or
 * ERR_NOMEM. */
int room_reserve(struct room *r, uint32_t loop) NODISCARD;
/* Returns the member's index in its part. */
uint32_t room_add(struct room *r, struct member *m);
void room_remove(struct room *r, const struct member *m, uint32_t index);

/* far.c */
void far_fini(struct hub *h);
/* One letter for each other loop that has members of `r` which are not hidden;
 * adds to *queued and *dropped. */
void far_cast_room(struct hub *h, struct room *r, const struct fanout *f,
    const struct hub_target *to, uint32_t *queued, uint32_t *dropped);
/* Notes a member for far_send_batch(). False: there is no memory for it. */
bool far_collect(struct hub *h, const struct member *m) NODISCARD;
/* One letter for each loop that members were collected for. */
void far_send_batch(
    struct hub *h, const struct fanout *f, uint32_t *queued, uint32_t *dropped);
/* To one member. 0 or ERR_FULL. */
int far_send(
    struct hub *h, const struct member *m, const struct fanout *f) NODISCARD;

/* cast.c */
/* Calls fn for each member that is excepted, for some perhaps twice; returns
 * the sum of what it says. */
uint32_t cast_each_excepted(struct hub *h, const struct hub_target *to,
    uint32_t (*fn)(struct member *m, void *arg), void *arg);

/* member.c */
/* The member's place in `r`, or NULL. */
struct membership *member_in(const struct member *m, const struct room *r);
void member_leave_all(struct hub *h, struct member *m);

#endif
