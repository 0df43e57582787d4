/* branch_priv.h -- an app's clients on other loops: the two ends, and the
 * letters between them.
 *
 *   home loop                          another loop
 *   app, client, far  (far.c)          branch, guest, conn  (branch.c)
 *
 *       <- knock ------------------------  a WebSocket was asked for
 *       -- invite / refusal ------------>  101, or a status
 *       <- the invite comes back --------  is it open? on_open, or nothing
 *       <- errand -----------------------  a message
 *       -- receipts -------------------->  messages that had their turn, and
 *                                          whether a handler awaits
 *       <- level ------------------------  on_slow, on_drain
 *       -- shut, settings -------------->  close it; what a reload changed
 *       <- the guest itself -------------  it has ended: on_close
 *       (frames travel by net/fanout)
 *
 * A `struct client *` in a letter is a token: only the home loop looks into
 * it. It is valid there because a client is not freed before the guest's own
 * letter, the last one about it, has come; and letters keep their order. The
 * other way only a conn_id travels, which finds somebody or nobody. */
#ifndef APP_BRANCH_PRIV_H
#define APP_BRANCH_PRIV_H

#include "app/app_priv.h"
#include "loop/mailbox.h"

/* ---- on the other loop ---- */

/* The app on a loop that is not its home. Everything but `app` and `net` is
 * that loop's alone. */
struct branch {
    struct app *app; /* a token, but for its immutable name, net, home loop */
    struct net *net; /* here */
    struct conn_settings settings; /* as of the last letter about them */
    struct inbox_limits inbox;     /* the app's; a quarter of it is ours */
    bool has_settings;
    uint32_t settings_count; /* letters about them */
    uint64_t full_logged_ms;
    struct list guests;
    struct list waiting; /* paused guests that have nothing under way */
    uint32_t events;     /* messages sent and not receipted */
    size_t bytes;
    uint32_t knocks; /* not answered yet */
};

/* The end of a client's connection over there; from the 101 to on_closed. */
struct guest {
    struct letter farewell; /* the place that on_close always has */
    struct branch *branch;
    struct client *client; /* token */
    struct conn_id conn;
    struct list node;       /* in branch->guests */
    struct list wait_node;  /* in branch->waiting */
    uint32_t sent;          /* messages sent and not receipted */
    uint32_t settings_seen; /* of branch->settings_count */
    bool is_paused;
    bool is_waiting; /* a handler of it awaits: nobody waits for the rest */
    /* Of the end. */
    uint16_t code;
    uint16_t reason_len;
    char reason[LIMIT_CLOSE_REASON];
};

/* From a request that has come to another loop than the app's. */
void branch_knock(struct app *a, struct conn *c, const struct http_request *r);
/* All that hangs on the app's branches; nobody may be connected any more, and
 * every mailbox must be quiet. */
void branch_free_all(struct app *a);

/* ---- at home ---- */

/* What a client that lives elsewhere has besides. */
struct far {
    struct list node; /* in far_side.receipts while there is one to write */
    struct conn_id conn;
    bool is_orphan;  /* the client is gone, the receipt is still to write */
    uint32_t events; /* messages that had their turn since the last one */
    size_t bytes;
    bool is_waiting;           /* a handler of it awaits */
    bool is_bound;             /* the guest's own letter has not come yet */
    bool is_opening;           /* the invite is under way */
    bool is_over;              /* on_close has ended: that letter frees it */
    struct event *close_event; /* closed while opening; NULL: not so */
    struct conn_queue queue;   /* as last reported */
};

/* What the home loop has for each other loop. */
struct far_side {
    bool has_branch;
    struct list receipts; /* far.node of clients there */
    uint32_t count;       /* of them */
};

/* ---- letters ---- */

struct knock {
    struct letter letter;
    struct app *app;
    struct conn_id conn;
    struct http_parser *parser; /* owned: it holds the request */
    size_t path_off;            /* where the path within the app begins */
    char ip[CONN_IP_BYTES];
};

struct invite {
    struct letter letter;
    struct app *app;
    struct net *net; /* the branch's */
    struct client *client;
    struct conn_id conn;
    struct conn_settings settings;
    struct inbox_limits inbox;
    bool is_open;     /* on its way home */
    bool has_deflate; /* compression was agreed on */
    struct deflate_params deflate;
    size_t len;
    char head[]; /* the response */
};

struct refusal {
    struct letter letter;
    struct app *app;
    struct net *net;
    struct conn_id conn;
    int status;
    char text[];
};

struct errand {
    struct letter letter;
    struct client *client;
    size_t len;
    bool is_binary;
    uint8_t *taken; /* its bytes, in memory of their own; NULL: here */
    uint8_t bytes[];
};

struct level {
    struct letter letter;
    struct client *client;
    struct conn_queue queue;
    bool is_slow; /* else drained */
};

struct shut {
    struct letter letter;
    struct net *net;
    struct conn_id conn;
    uint16_t code;
    uint16_t len;
    char reason[];
};

struct settings_letter {
    struct letter letter;
    struct app *app;
    struct conn_settings settings;
    struct inbox_limits inbox;
};

struct receipt {
    struct conn_id conn;
    uint32_t events;
    uint32_t is_waiting;
    uint64_t bytes;
};

struct receipts {
    struct letter letter;
    struct app *app;
    uint32_t count;
    struct receipt of[];
};

/* branch.c: opened over there */
void branch_on_invite(struct letter *l, struct loop *here);
void branch_on_refusal(struct letter *l, struct loop *here);
void branch_on_shut(struct letter *l, struct loop *here);
void branch_on_settings(struct letter *l, struct loop *here);
void branch_on_receipts(struct letter *l, struct loop *here);

/* far.c: opened at home */
void far_on_knock(struct letter *l, struct loop *here);
void far_on_invite_back(struct letter *l, struct loop *here);
void far_on_errand(struct letter *l, struct loop *here);
void far_on_level(struct letter *l, struct loop *here);
void far_on_farewell(struct letter *l, struct loop *here);

/* ---- far.c, for the rest of the app ---- */

/* NULL: no memory. */
struct far *far_new(struct conn_id conn) NODISCARD;
/* With its client; what is to be receipted still is. NULL is fine. */
void far_free(struct far *f);
void far_init_app(struct app *a);
void far_fini_app(struct app *a);
/* The verdict was yes: the connection is to be opened. 0 or ERR_NOMEM. */
int far_invite(struct app *a, struct client *cl,
    const struct deflate_params *deflate, const char *head,
    size_t len) NODISCARD;
void far_refuse(
    struct app *a, struct conn_id conn, int status, const char *text);
/* As conn_close(), and as there on_closed follows at once: nothing that comes
 * from the client counts any more. */
void far_shut(struct client *cl, uint16_t code, const char *reason, size_t len);
/* A message of it had its turn. */
void far_taken(struct client *cl, size_t len);
/* A handler of it has begun to await, or none does any more. */
void far_awaits(struct client *cl, bool is_waiting);
/* The live settings are others now. */
void far_settings_changed(struct app *a);

#endif
