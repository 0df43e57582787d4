/* request_priv.h -- a plain HTTP request while the app thinks about it:
 * request.c begins and ends that, response.c fills in what on_request says. */
#ifndef APP_REQUEST_PRIV_H
#define APP_REQUEST_PRIV_H

#include "app/app_priv.h"
#include "base/buf.h"
#include "loop/mailbox.h"

struct exchange {
    struct app *app;
    struct conn_id conn;
    struct timer answer_timer;
    bool is_late; /* has been answered with 504 */
    char ip[CONN_IP_BYTES];
    bool is_head;
    bool keep_alive;
    uint8_t *body; /* of the request, own copy; NULL: none */
    size_t body_len;
    /* The response. */
    int status; /* 0: the app has nothing to say */
    bool has_type;
    bool is_json;
    struct buf headers; /* lines, each ending in CRLF */
    uint8_t *content;   /* NULL: none */
    size_t content_len;
    struct answer *spare; /* for a small one; NULL: used */
};

/* The request as one block: method, path, query, ip, host, then names and
 * values of the headers, each NUL-ended. 0 or an error of buf_add(). */
int request_flatten(
    struct buf *b, const struct http_request *r, const char *ip) NODISCARD;

/* ---- letters: a request that came to another loop than the app's ---- */

struct visit {
    struct letter letter;
    struct app *app;
    struct net *net; /* where it came */
    struct conn_id conn;
    struct http_parser *parser; /* owned: it holds the request */
    size_t path_off;            /* where the path within the app begins */
    char ip[CONN_IP_BYTES];
    size_t body_len;
    uint8_t body[];
};

struct answer {
    struct letter letter;
    struct net *net;
    struct conn_id conn;
    bool keep_alive;
    bool is_large;    /* else it is an exchange's spare */
    uint8_t *content; /* what stands in no one piece with the head; NULL: all
                         does */
    size_t content_len;
    size_t sent; /* of that, so far */
    size_t len;
    char bytes[];
};

/* ---- headers.c ---- */

/* Reads the table of headers in the field `headers` of the table at idx into
 * lines. Raises, with `who` in front, on what cannot be a header. *has_type:
 * Content-Type was among them; NULL: it is not asked. */
void headers_read(
    lua_State *L, int idx, const char *who, struct buf *lines, bool *has_type);

#endif
