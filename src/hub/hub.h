/* hub.h -- who is there, who is in which room, and who gets what.
 *
 * One hub per app, on the app's home loop. It holds membership; output goes
 * to lanes and outboxes in net, encoded once per broadcast (net/tape). Names
 * are bytes, judged by the callers' limits before they come here.
 *
 * A member is a client as the hub sees it; the app embeds it in its own
 * struct. Members of a room are kept in the order of their slots, which is
 * close to the order of accepting: the kernel's memory and the lanes are then
 * walked in order, worth 10-16 % of a fan-out.
 *
 * Laws: I1, I2; the order of broadcasts to a room is the same at every
 * member, and a member that is addressed in two ways gets one copy. */
#ifndef HUB_HUB_H
#define HUB_HUB_H

#include "base/map.h"
#include "net/net.h"
#include "net/pack.h"
#include "proto/frame.h"

struct hub;
struct room;

struct hub_name {
    const char *p;
    size_t len;
};

struct member {
    struct hub *hub; /* NULL: not in a hub */
    struct conn_id conn;
    uint8_t pack_bits;     /* window of the compression agreed on; 0: none */
    bool has_pack_context; /* it keeps one of its own */
    uint64_t id;           /* the client's number */
    struct room **rooms;   /* [0] is the room of everybody */
    uint32_t room_count;
    uint32_t room_cap;
    struct room *first;      /* where `rooms` points while one is enough, so
                                a member must not move in memory */
    struct user_entry *user; /* NULL: anonymous */
    struct list user_node;
    uint64_t stamp; /* of the last walk that is done with us */
};

struct hub_config {
    struct net *net;
    struct meter *meter;       /* taken by reference */
    enum outbox_policy policy; /* where no room rule says otherwise */
    uint32_t rooms_max;
    uint32_t rooms_per_client;
};

struct hub *hub_new(const struct hub_config *config) NODISCARD;
/* Every member must have left. */
void hub_free(struct hub *h);
/* New defaults from a reload. Who is in more rooms than a lower limit allows
 * stays in them. */
void hub_set_policy(struct hub *h, enum outbox_policy policy);
void hub_set_limits(
    struct hub *h, uint32_t rooms_max, uint32_t rooms_per_client);

/* Messages of at least `threshold_bytes` go out compressed to those who agreed
 * to that; as a hub begins, none do. */
void hub_set_compress(
    struct hub *h, uint32_t threshold_bytes, const struct pack_settings *how);

/* Messages that the meter had no room for, so far. */
uint64_t hub_refused(const struct hub *h);

/* A client opened: it can be found and addressed from now on. `user` may be
 * NULL. 0 or ERR_NOMEM. `m->hub` must be NULL, the rest of `m` need not be
 * initialised; no two members of a hub may have the same id. */
int hub_enter(struct hub *h, struct member *m, uint64_t id, struct conn_id conn,
    const char *user, size_t user_len) NODISCARD;
/* Leaves the hub and all its rooms; harmless twice. Due when the conn tells
 * on_closed: a walk knows its members by slot alone, and the slot will be
 * somebody else's. */
void hub_leave(struct member *m);
/* It has agreed to compressed messages; at most once, while it is in. */
void hub_set_packed(struct member *m, uint8_t bits, bool has_context);
struct member *hub_find(struct hub *h, uint64_t id);
uint32_t hub_count(const struct hub *h);
/* The member's user name, or NULL. */
const char *member_user(const struct member *m, size_t *len);

/* 0 (also if it is in already), ERR_FULL (the room's max_clients), ERR_QUOTA
 * (rooms per client or per app), ERR_CLOSED, ERR_NOMEM. A room exists while
 * it has members. */
int hub_join(struct member *m, const char *room, size_t len) NODISCARD;
/* True if it was in. */
bool hub_part(struct member *m, const char *room, size_t len);
bool hub_is_in(const struct member *m, const char *room, size_t len);

struct room *hub_room(struct hub *h, const char *name, size_t len);
uint32_t room_count(const struct room *r);
const char *room_name(const struct room *r, size_t *len);
/* The rooms in no order; *at starts at 0. NULL: none was met so far, or, with
 * *is_end, there are no more. */
struct room *hub_next_room(struct hub *h, uint32_t *at, bool *is_end);
/* How many members a room has (NULL: everybody), or clients a user. */
uint32_t hub_count_room(const struct hub *h, const struct hub_name *room);
uint32_t hub_count_user(const struct hub *h, const struct hub_name *user);

/* Rules by room name; a pattern ends in "*" or is the name itself; the first
 * that matches holds for a room when it is made. 0, ERR_QUOTA (too many
 * rules), ERR_NOMEM. Defining the same pattern again replaces its rule in its
 * place. Rules are replaced as a whole at a reload: hub_clear_rules() first. */
struct room_rule {
    bool has_policy;
    enum outbox_policy policy;
    uint32_t max_clients; /* 0: no bound of its own */
};
int hub_define(struct hub *h, const char *pattern, size_t len,
    const struct room_rule *rule) NODISCARD;
void hub_clear_rules(struct hub *h);

/* What an app says of one message. */
enum hub_compress { HUB_COMPRESS_AUTO, HUB_COMPRESS_YES, HUB_COMPRESS_NO };

struct hub_message {
    enum frame_opcode op; /* FRAME_TEXT or FRAME_BINARY */
    const void *data;
    size_t len;
    const char *key; /* NULL: none */
    size_t key_len;
    enum hub_compress compress;
};

struct hub_target {
    /* Nothing set: everybody. Rooms and users add up; unknown ones are
     * empty. `ids`, if not NULL, is the list itself (that of a room with
     * a filter) and rooms and users are not looked at. */
    const struct hub_name *rooms;
    size_t room_count;
    const struct hub_name *users;
    size_t user_count;
    const uint64_t *ids;
    size_t id_count;
    const uint64_t *except_ids;
    size_t except_count;
    const struct hub_name *except_users;
    size_t except_user_count;
};

/* More than may be done in one go for this member: to be sent to him as a
 * broadcast to one. */
bool hub_is_long(const struct member *m, const struct hub_message *msg);
/* To one client. 0, ERR_CLOSED, ERR_FULL. */
int hub_send(struct member *m, const struct hub_message *msg) NODISCARD;

/* ---- walks ----
 *
 * What may concern a hundred thousand members is done in steps, since a section
 * must be short (script/preempt.h). A step ends when a tick waits, so most
 * walks are done in one:
 *
 *   hub_cast_begin(h, &to, &msg);
 *   while (!hub_cast_step(h)) {
 *       preempt_breathe();
 *   }
 *   hub_cast_end(h, &queued, &dropped);
 *
 * Between two steps members may leave, and others enter; the walk is about
 * those who were there as it began, less those who have left. There is one walk
 * of a hub at a time, and nothing else is sent by way of it meanwhile: so each
 * of them gets everything in one order. */

/* Encoded once, queued for every member addressed. The target, the message and
 * all that they point to are lent until the end. */
void hub_cast_begin(
    struct hub *h, const struct hub_target *to, const struct hub_message *msg);
/* True: it is done. */
bool hub_cast_step(struct hub *h) NODISCARD;
void hub_cast_end(struct hub *h, uint32_t *queued, uint32_t *dropped);

/* The ids of a room's members (NULL: everybody), in order, or of a user's
 * clients. */
void hub_list_room(struct hub *h, const struct hub_name *room);
void hub_list_user(struct hub *h, const struct hub_name *user);
/* Puts more of them behind the *n that are in `ids`, which has room for `cap`.
 * True: these are all, or all that fit. */
bool hub_list_step(
    struct hub *h, uint64_t *ids, size_t cap, size_t *n) NODISCARD;
void hub_list_end(struct hub *h);

/* Who walked will not go on: nothing of it is left. Harmless if nobody did. */
void hub_walk_drop(struct hub *h);

#endif
