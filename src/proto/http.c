/* http.c -- one request head, from bytes to strings.
 *
 * net/conn feeds what arrives until there is a request or a refusal. Each
 * byte goes through http_scan.c first, which knows the bounds and the strict
 * grammar of lines; then through llhttp (no leniency switched on), which
 * knows methods, versions and what Connection, Content-Length and
 * Transfer-Encoding say; then its words are kept here. Both must find the end
 * of the head at the same byte, or the request is refused.
 *
 * All text of a head lies in one buffer, one string behind the other:
 *     target \0 (name \0 value \0)* path \0
 * so nothing needs pointers while the buffer moves; they are set at the end
 * by walking it. The buffer is bounded by the head's bound, twice (I6).
 *
 * It reads no bodies: it says that there is one. What stands behind the head
 * is never touched, so an upgraded connection's first frames stay with the
 * caller. llhttp is paused at the end of each head and started anew for the
 * next: no state leaks from one request of a connection into another. */
#include "proto/http.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/http_priv.h"
#include <string.h>
#include <strings.h>

/* llhttp has a constant of its own by the name of one of ours. */
#define HTTP_REQUEST LLHTTP_REQUEST
#include <llhttp.h>
#undef HTTP_REQUEST

#define TARGET_BYTES ((size_t)8 * 1024)

struct http_parser {
    struct http_scan scan;
    llhttp_t llhttp;
    struct buf text;
    size_t at; /* where the name or value under way begins in text */
    size_t header_count;
    bool has_length; /* a Content-Length was sent */
    bool has_coding; /* a Transfer-Encoding was sent */
    bool is_complete;
    int status; /* of a refusal; 0: none */
    const char *detail;
    struct http_header *headers; /* of the finished request */
    struct http_request request;
};

static int refuse(struct http_parser *p, int status, const char *why)
{
    if (p->status == 0) {
        p->status = status;
        p->detail = why;
    }
    return -1;
}

static int keep(struct http_parser *p, const char *s, size_t n)
{
    if (buf_add(&p->text, s, n) != 0) {
        return refuse(p, 503, "no memory for the request head");
    }
    return 0;
}

static int end_string(struct http_parser *p)
{
    int rc = keep(p, "", 1);
    p->at = p->text.len;
    return rc;
}

static int on_target(llhttp_t *l, const char *s, size_t n)
{
    return keep(l->data, s, n);
}

static int on_target_complete(llhttp_t *l)
{
    return end_string(l->data);
}

/* Early, so that an HTTP/2 client is told at once. A CONNECT must not get as
 * far as somebody who answers 200: whoever asked would take what follows for
 * its tunnel (RFC 9110 9.3.6). */
static int on_version_complete(llhttp_t *l)
{
    if (l->http_major != 1) {
        return refuse(l->data, 505, "only HTTP/1.1 is spoken here");
    }
    if (l->method == HTTP_CONNECT) {
        return refuse(l->data, 501, "there are no tunnels through here");
    }
    return 0;
}

static int on_name(llhttp_t *l, const char *s, size_t n)
{
    struct http_parser *p = l->data;
    if (keep(p, s, n) != 0) {
        return -1;
    }
    for (uint8_t *c = p->text.p + p->text.len - n; n > 0; n--, c++) {
        if (*c >= 'A' && *c <= 'Z') {
            *c = (uint8_t)(*c - 'A' + 'a');
        }
    }
    return 0;
}

static int on_name_complete(llhttp_t *l)
{
    struct http_parser *p = l->data;
    size_t at = p->at;
    if (end_string(p) != 0) {
        return -1;
    }
    const char *name = (const char *)p->text.p + at;
    p->has_length |= strcmp(name, "content-length") == 0;
    p->has_coding |= strcmp(name, "transfer-encoding") == 0;
    return 0;
}

static int on_value(llhttp_t *l, const char *s, size_t n)
{
    return keep(l->data, s, n);
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static int on_value_complete(llhttp_t *l)
{
    struct http_parser *p = l->data;
    /* llhttp trims the front, this the back. */
    while (p->text.len > p->at && is_blank(p->text.p[p->text.len - 1])) {
        p->text.len--;
    }
    p->header_count++;
    return end_string(p);
}

static int on_headers_complete(llhttp_t *l)
{
    struct http_parser *p = l->data;
    p->is_complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_target,
    .on_url_complete = on_target_complete,
    .on_version_complete = on_version_complete,
    .on_header_field = on_name,
    .on_header_field_complete = on_name_complete,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_headers_complete,
};

/* llhttp has one error for three things. */
static void refuse_length(struct http_parser *p)
{
    const char *reason = llhttp_get_error_reason(&p->llhttp);
    if (p->has_coding) { /* in version 9 */
        refuse(p, 400, "the length of the body is told twice");
    } else if (reason != NULL && strstr(reason, "overflow") != NULL) {
        refuse(p, 413, "the body is too big");
    } else {
        refuse(p, 400, "Content-Length is not a number");
    }
}

/* What llhttp did not like, as a status. */
static void refuse_for(struct http_parser *p, llhttp_errno_t err)
{
    switch (err) {
    case HPE_INVALID_METHOD: refuse(p, 501, "the method is unknown"); break;
    case HPE_INVALID_VERSION:
        refuse(p, 505, "only HTTP/1.1 is spoken here");
        break;
    case HPE_INVALID_URL:
        refuse(p, 400, "the request target is malformed");
        break;
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        refuse(p, 400, "the length of the body is told twice");
        break;
    case HPE_INVALID_CONTENT_LENGTH: refuse_length(p); break;
    case HPE_INVALID_TRANSFER_ENCODING:
        if (p->has_length) {
            refuse(p, 400, "the length of the body is told twice");
        } else {
            refuse(p, 501, "the only Transfer-Encoding known is chunked");
        }
        break;
    default: refuse(p, 400, "the request head is malformed"); break;
    }
}

/* Pointers into the text, now that it will not move. */
static int set_pointers(struct http_parser *p)
{
    struct http_request *r = &p->request;
    size_t path_at = p->text.len;
    if (buf_reserve(&p->text, strlen((char *)p->text.p) + 2) != 0) {
        return refuse(p, 503, "no memory for the request head");
    }
    p->headers = quota_alloc(p->header_count * sizeof(*p->headers));
    if (p->headers == NULL) {
        return refuse(p, 503, "no memory for the request head");
    }
    const char *s = (char *)p->text.p;
    r->target = s;
    s += strlen(s) + 1;
    for (size_t i = 0; i < p->header_count; i++) {
        struct http_header *h = &p->headers[i];
        h->name = s;
        h->value = h->name + strlen(h->name) + 1;
        h->value_len = strlen(h->value);
        s = h->value + h->value_len + 1;
    }
    r->headers = p->headers;
    r->header_count = p->header_count;
    r->path = (char *)p->text.p + path_at;
    return 0;
}

/* RFC 9112 3.2: one Host, of sound form; in absolute-form it is the host of
 * the target that counts, so one that differs is refused. */
static int check_host(struct http_parser *p, const struct http_target *t)
{
    const struct http_request *r = &p->request;
    size_t count = http_header_count(r, "host");
    if (count > 1) {
        return refuse(p, 400, "more than one Host");
    }
    const char *host = http_header_find(r, "host");
    p->request.host = host;
    if (host == NULL) {
        return r->minor == 0 ? 0 : refuse(p, 400, "Host is missing");
    }
    if (!http_host_is_valid(host, strlen(host))) {
        return refuse(p, 400, "Host is malformed");
    }
    if (t->authority != NULL &&
        (strlen(host) != t->authority_len ||
            strncasecmp(host, t->authority, t->authority_len) != 0)) {
        return refuse(p, 400, "Host differs from the request target's host");
    }
    return 0;
}

/* RFC 9112 6.1 and 6.3: a body whose length two readers could see
 * differently is refused. */
static int check_body(struct http_parser *p)
{
    struct http_request *r = &p->request;
    r->has_body = p->has_coding || p->llhttp.content_length > 0;
    if (!p->has_coding) {
        return 0;
    }
    if (p->has_length) {
        return refuse(p, 400, "the length of the body is told twice");
    }
    if (r->minor == 0) {
        return refuse(p, 400, "Transfer-Encoding in HTTP/1.0");
    }
    if (http_header_count(r, "transfer-encoding") != 1 ||
        strcasecmp(http_header_find(r, "transfer-encoding"), "chunked") != 0) {
        return refuse(p, 501, "the only Transfer-Encoding known is chunked");
    }
    return 0;
}

static int finish(struct http_parser *p)
{
    struct http_request *r = &p->request;
    if (set_pointers(p) != 0) {
        return -1;
    }
    r->method = llhttp_method_name((llhttp_method_t)p->llhttp.method);
    r->minor = p->llhttp.http_minor;
    r->keep_alive = llhttp_should_keep_alive(&p->llhttp) != 0;
    /* RFC 9110 7.8: who asks for a protocol that we do not speak ("h2c") is
     * answered as if he had not. */
    r->upgrade = p->llhttp.upgrade != 0 &&
                 http_header_has_token(r, "upgrade", "websocket");
    /* The path's room was reserved, behind the last header. */
    char *path = (char *)p->text.p + p->text.len;
    struct http_target target;
    const char *why = http_target_parse(r->target, &target, path);
    if (why != NULL) {
        return refuse(p, 400, why);
    }
    r->query = target.query;
    return check_host(p, &target) != 0 ? -1 : check_body(p);
}

struct http_parser *http_parser_new(size_t head_bytes, size_t headers)
{
    struct http_parser *p = mem_zalloc(sizeof(*p));
    p->scan.head_bytes = head_bytes;
    p->scan.headers = headers;
    p->scan.target_bytes = TARGET_BYTES;
    buf_init(&p->text, 2 * head_bytes + 2);
    http_parser_reset(p);
    return p;
}

void http_parser_free(struct http_parser *p)
{
    if (p != NULL) {
        buf_fini(&p->text);
        quota_free(p->headers);
        mem_free(p);
    }
}

void http_parser_reset(struct http_parser *p)
{
    /* A connection that waits for its next request holds no text. */
    buf_fini(&p->text);
    quota_free(p->headers);
    p->headers = NULL;
    p->request = (struct http_request){0};
    p->at = 0;
    p->header_count = 0;
    p->has_length = false;
    p->has_coding = false;
    p->is_complete = false;
    p->status = 0;
    p->detail = NULL;
    http_scan_reset(&p->scan);
    llhttp_init(&p->llhttp, LLHTTP_REQUEST, &settings);
    p->llhttp.data = p;
}

enum http_result http_parser_feed(
    struct http_parser *p, const uint8_t *data, size_t n, size_t *used)
{
    *used = 0;
    if (p->status != 0) {
        return HTTP_BAD;
    }
    if (p->is_complete) {
        http_parser_reset(p);
    }
    size_t right = http_scan(&p->scan, data, n);
    *used = right;
    llhttp_errno_t err = HPE_OK;
    if (right > 0) {
        err = llhttp_execute(&p->llhttp, (const char *)data, right);
    }
    bool is_end = p->scan.state == SCAN_DONE;
    if (err != HPE_OK && !(err == HPE_PAUSED && p->is_complete)) {
        refuse_for(p, err); /* unless a callback already said why */
    } else if (p->scan.status != 0) {
        refuse(p, p->scan.status, p->scan.detail);
    } else if (is_end != p->is_complete) {
        refuse(p, 400, "the request head is malformed");
    } else if (!is_end) {
        return HTTP_MORE;
    } else if (finish(p) == 0) {
        return HTTP_REQUEST;
    }
    return HTTP_BAD;
}

const struct http_request *http_parser_request(const struct http_parser *p)
{
    return &p->request;
}

void http_parser_set_host(struct http_parser *p, const char *host)
{
    p->request.host = host;
}

bool http_parser_is_head(const struct http_parser *p)
{
    return p->text.len > 0 && p->llhttp.method == HTTP_HEAD;
}

int http_parser_status(const struct http_parser *p, const char **detail)
{
    *detail = p->detail;
    return p->status;
}
