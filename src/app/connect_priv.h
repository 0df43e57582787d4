/* connect_priv.h -- a client-to-be while the app thinks about it: connect.c
 * begins and ends that, verdict.c fills in what on_connect says. */
#ifndef APP_CONNECT_PRIV_H
#define APP_CONNECT_PRIV_H

#include "base/buf.h"
#include "base/limits.h"
#include "loop/timers.h"
#include "net/conn.h"
#include "proto/deflate.h"
#include "proto/handshake.h"

#define REASON_BYTES 256

struct connect {
    struct app *app;
    struct timer answer_timer;
    bool is_late; /* has been refused with 504 */
    struct conn_id conn;
    char ip[CONN_IP_BYTES];
    uint64_t id; /* the client's, if it becomes one */
    char accept[HANDSHAKE_ACCEPT_BYTES + 1];
    bool has_deflate; /* an offer to compress is taken */
    struct deflate_params deflate;
    char *path;      /* own copy */
    char *protocols; /* what the client offers, one list; NULL: nothing */
    /* The verdict. */
    bool is_accepted;
    bool has_data;
    int status;
    char reason[REASON_BYTES];
    char *user; /* NULL: none */
    size_t user_len;
    char protocol[LIMIT_PROTOCOL_BYTES + 1];
    struct buf headers; /* lines, each ending in CRLF */
    struct buf rooms;   /* {uint32 length, name}... */
};

#endif
