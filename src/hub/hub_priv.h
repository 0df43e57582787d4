/* hub_priv.h -- what the files of this room share. */
#ifndef HUB_HUB_PRIV_H
#define HUB_HUB_PRIV_H

#include "hub/hub.h"
#include "net/fanout.h"
#include "net/pack.h"
#include "net/tape.h"

/* id -> member. See ids.c. */
struct ids {
    struct member **table; /* NULL: free */
    uint32_t capacity;     /* 0 or a power of two */
    uint32_t count;
};

/* Set in a place that a walk passes over: its member is excepted from the
 * broadcast under way, or has joined since it began. */
#define ROOM_HIDDEN 0x80000000u

/* Some of a part's members, their slots ascending. */
struct row {
    struct member **members;
    uint32_t *slots; /* of each; behind `members`, in the same allocation */
    uint32_t low;    /* no slot in here is below; 0 for the first row */
    uint32_t len;
    uint32_t cap;
    uint32_t hidden;
};

/* The members of a room that live on one loop. See part.c. */
struct part {
    struct room *room; /* it is part of this one, which owns it */
    struct part *next; /* of the same room, for another loop */
    struct blob *list; /* ref; the places as letters carry them; NULL: to be
                          made for the next broadcast */
    uint32_t list_len; /* targets in it */
    struct row *rows;  /* never none */
    struct row first;  /* where `rows` points while one is enough, so a part
                          must not move in memory */
    uint32_t row_count;
    uint32_t row_cap;
    uint32_t loop;
    uint32_t count;     /* members */
    uint32_t hidden;    /* of them */
    bool is_list_lent;  /* a walk makes it or uses it ... */
    bool is_list_stale; /* ... and it is not true any more */
};

/* A stretch of places, as a walk sees them. */
struct places {
    const uint32_t *slots;
    struct member *const *members;
    uint32_t len;
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

/* The hub's end of the way to one other loop. */
struct far_loop {
    struct meter *window; /* ref; what is under way there. NULL: nothing was */
    struct fanout_pieces batch; /* members that a broadcast has found there */
};

/* Where a walk is, so that it can go on after anything. See walk.c. */
struct walk {
    bool is_on;
    bool is_cast;            /* else it lists ids */
    bool hides;              /* who joins `room` is hidden in it */
    struct room *room;       /* held: it does not end; NULL: none */
    struct part *part;       /* of that room */
    uint32_t slot;           /* the next one in it, if there is such a place */
    struct user_entry *user; /* NULL: none, or it has no clients any more */
    struct list *next;       /* of user->members */
    size_t at;               /* in a list of names or ids */
    struct blob *list;       /* ref; being filled; NULL: none */
    uint32_t filled;
};

/* A frame that is being encoded, a piece at a time if it is long. */
struct scribe {
    struct range range; /* ref; no blob: not begun, or refused */
    const uint8_t *from;
    size_t left;
};

enum cast_phase {
    CAST_DONE,
    /* a room, or everybody */
    CAST_LISTS,
    CAST_HIDE_IDS,
    CAST_HIDE_USERS,
    CAST_ENCODE,
    CAST_LETTERS,
    CAST_ROOM,
    CAST_SHOW,
    /* a union */
    CAST_SKIP_IDS,
    CAST_SKIP_USERS,
    CAST_ROOMS,
    CAST_USERS,
    CAST_IDS,
    CAST_COLLECTED
};

enum cast_frame { FRAME_NOT_BEGUN, FRAME_PLAIN, FRAME_READY };

/* The broadcast under way. What `to` and `msg` point to is lent by whoever
 * makes the steps, and is not looked at by anybody else. */
struct cast {
    struct hub_target to;
    struct hub_message msg;
    enum cast_phase phase;
    struct tape *tape;
    struct tape *packed; /* for the compressed form of it */
    enum cast_frame frame;
    struct scribe scribe;
    struct parcel parcel;
    bool is_refused;           /* the app's meter said no */
    bool is_incomplete;        /* no memory to say who it is not for */
    enum outbox_policy policy; /* of what is collected for other loops */
    bool has_far;              /* something is */
    uint32_t far_at;           /* loops that have got it */
    uint32_t addressed;        /* of a room */
    uint32_t queued;
    uint32_t dropped;
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
    bool is_walking; /* in a step: membership rests until it is over */
    struct ids ids;
    struct map rooms; /* name -> struct room, everybody left out */
    struct map users; /* name -> struct user_entry */
    struct room everybody;
    struct tape scratch;        /* direct sends */
    struct tape scratch_packed; /* compressed, of those that were long */
    struct rule *rules;         /* in the order of defining */
    uint32_t rule_count;
    uint32_t compress_bytes; /* the least that is compressed by itself */
    uint64_t refused;        /* messages, by the meter */
    struct pack_settings compress;
    uint32_t far_packed; /* members on other loops that take compressed ones */
    uint64_t stamp;      /* of the latest walk */
    struct walk walk;
    struct cast cast;
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
/* Room for one more in this slot: part_add() cannot fail then. 0 or
 * ERR_NOMEM. */
int part_reserve(struct part *p, uint32_t slot) NODISCARD;
void part_add(struct part *p, struct member *m, bool is_hidden);
void part_remove(struct part *p, uint32_t slot);
/* The first places from this slot on, hidden ones among them; lent until the
 * part changes. False: there are none. */
bool part_next(const struct part *p, uint32_t from, struct places *out);
/* True if it was not hidden. The slot has a place. */
bool part_hide(struct part *p, uint32_t slot);
/* Shows some of the hidden from *from on, at first 0; nobody may be hidden
 * meanwhile. True: there are more. */
bool part_show_some(struct part *p, uint32_t *from);
/* While it is lent, a list that is not true any more is kept. */
void part_lend_list(struct part *p, bool is_lent);

/* room.c */
void room_init(struct room *r, const char *name, size_t len, uint32_t home);
void room_fini(struct room *r);
/* NULL: no memory. */
struct room *room_new(const char *name, size_t len, uint32_t home,
    const struct room_rule *rule) NODISCARD;
void room_free(struct room *r);
/* The part for members of that loop; NULL: there never was one. */
struct part *room_part(struct room *r, uint32_t loop);
/* Room for one more with this connection: room_add() cannot fail then. 0 or
 * ERR_NOMEM. */
int room_reserve(struct room *r, const struct conn_id *conn) NODISCARD;
void room_add(struct room *r, struct member *m);
void room_remove(struct room *r, const struct member *m);

/* far.c */
void far_fini(struct hub *h);
/* A letter with the part's list to the loop of its members that are not hidden;
 * the hidden ones have been collected as excepted. Adds to *queued and
 * *dropped. */
void far_cast_part(struct hub *h, struct part *p, const struct fanout *f,
    uint32_t *queued, uint32_t *dropped);
/* It could not be said who is excepted: dropped for the others. */
void far_drop_part(struct hub *h, struct part *p, uint32_t *dropped);
/* Forgets who was collected. */
void far_forget_collected(struct hub *h);
/* Notes a member for a letter. False: there is no memory for it. */
bool far_collect(struct hub *h, const struct member *m) NODISCARD;
/* A letter to the loop `loop` for those that were collected there, with the
 * walk's list if there are several. */
uint32_t far_collected(const struct hub *h, uint32_t loop);
void far_send_collected(struct hub *h, uint32_t loop, const struct fanout *f,
    uint32_t *queued, uint32_t *dropped);
/* To one member. 0 or ERR_FULL. */
int far_send(
    struct hub *h, const struct member *m, const struct fanout *f) NODISCARD;
/* In steps. True: the list that letters to the part carry is made and lent, or
 * cannot be; it has those in it who were not hidden. */
bool far_make_list(struct hub *h, struct part *p) NODISCARD;
/* The walk's list, of those who were collected. */
bool far_list_collected(struct hub *h, uint32_t loop) NODISCARD;

/* walk.c */
void walk_begin(struct hub *h);
void walk_end(struct hub *h);
/* From its first place on; `hides`: without those who join from now on. */
void walk_enter_room(struct hub *h, struct room *r, bool hides);
void walk_leave_room(struct hub *h);
/* NULL: nobody by that name. */
void walk_enter_user(struct hub *h, const struct hub_name *name);
/* The user's client that is next; NULL: no more. */
struct member *walk_client(struct hub *h);
void walk_pass_client(struct hub *h);
/* A member, or an entry, is about to go. */
void walk_forget_member(struct hub *h, const struct member *m);
void walk_forget_user(struct hub *h, const struct user_entry *u);
/* Does a newcomer of this room have to be hidden? */
bool walk_hides(const struct hub *h, const struct room *r);

/* encode.c */
bool encode_is_packed(const struct hub *h, const struct hub_message *msg);
bool encode_is_long(const struct hub_message *msg);
/* preempt_is_due() for the floors below, which know nothing of scripts. */
bool encode_is_due(void);
/* In steps, for the cast under way. True: its parcel is ready, or refused. */
bool encode_message(struct hub *h) NODISCARD;
/* For other loops: with the compressed form, made once and here, if anybody
 * over there may want it. In steps. True: it is ready. */
bool encode_fanout(
    struct hub *h, enum outbox_policy policy, struct fanout *f) NODISCARD;

/* cast.c */
void cast_drop(struct hub *h);

/* member.c */
bool member_is_in(const struct member *m, const struct room *r);
void member_leave_all(struct hub *h, struct member *m);
void member_end_room_if_empty(struct hub *h, struct room *r);

#endif
