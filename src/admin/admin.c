/* admin.c -- the operator's port: a listener of its own, and its routes.
 *
 * Opened and closed by server/. It is plain HTTP without a password, so it is
 * for this machine alone, in two ways. It listens on a loopback address and
 * on no other, whatever a name leads to. And a request must name one in its
 * Host: a web page whose name somebody has turned to 127.0.0.1 sends its own
 * name, and is not to read what the operator reads ("DNS rebinding").
 *
 * Requests are read by the same code as clients' are, with the same bounds. A
 * connection ends with its answer, so none is there when the server stops. */
#include "admin/admin.h"
#include "admin/admin_priv.h"
#include "base/limits.h"
#include "base/mem.h"
#include "net/listener.h"
#include "net/reply.h"
#include <arpa/inet.h>
#include <string.h>

#define ADMIN_MAGIC 0x61646d6eu

/* ---- addresses ---- */

/* Is host[0..len) one of this machine's own, by its look? */
static bool is_loopback_host(const char *host, size_t len)
{
    char text[INET6_ADDRSTRLEN];
    struct in_addr v4;
    struct in6_addr v6;
    if (len == 0 || len >= sizeof(text)) {
        return false;
    }
    memcpy(text, host, len);
    text[len] = '\0';
    if (text[0] == '[' && text[len - 1] == ']') {
        text[len - 1] = '\0';
        return inet_pton(AF_INET6, text + 1, &v6) == 1 &&
               IN6_IS_ADDR_LOOPBACK(&v6);
    }
    if (strcasecmp(text, "localhost") == 0) {
        return true;
    }
    return inet_pton(AF_INET, text, &v4) == 1 &&
           ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
}

bool admin_is_loopback(const char *address)
{
    const char *colon = strrchr(address, ':');
    return colon != NULL &&
           is_loopback_host(address, (size_t)(colon - address));
}

/* A Host header may come without a port. */
static bool is_meant_for_us(const struct http_request *r)
{
    const char *host = http_header_find(r, "host");
    if (host == NULL) {
        return false;
    }
    const char *colon = strrchr(host, ':');
    const char *bracket = strrchr(host, ']');
    size_t len = colon != NULL && (bracket == NULL || colon > bracket)
                     ? (size_t)(colon - host)
                     : strlen(host);
    return is_loopback_host(host, len);
}

/* ---- requests ---- */

static void on_request(void *user, struct conn *c, const struct http_request *r)
{
    struct admin *a = user;
    bool is_head = strcmp(r->method, "HEAD") == 0;
    if (!is_meant_for_us(r)) {
        reply_text(c, 403, "Ask by an address of this machine, or localhost.",
            NULL, is_head, false);
    } else if (strcmp(r->path, "/metrics") != 0) {
        reply_text(
            c, 404, "There is /metrics, and no more.", NULL, is_head, false);
    } else if (!is_head && strcmp(r->method, "GET") != 0) {
        reply_text(c, 405, "Only GET and HEAD are answered here.",
            "Allow: GET, HEAD\r\n", false, false);
    } else {
        admin_reply_metrics(a, c, is_head);
    }
}

/* ---- life ---- */

int admin_open(struct admin **out, const struct admin_config *config)
{
    if (!admin_is_loopback(config->address)) {
        return ERR_DENIED;
    }
    struct admin *a = mem_zalloc(sizeof(*a));
    a->magic = ADMIN_MAGIC;
    a->config = *config;
    a->router = (struct conn_router){.on_request = on_request, .user = a};
    /* No WebSocket is ever opened here: what counts is what a request may
     * take, and those bounds are fixed. */
    a->settings =
        (struct conn_settings){.message_bytes = LIMIT_DEFAULT_MESSAGE_BYTES,
            .ping_ms = LIMIT_DEFAULT_PING_MS,
            .pong_ms = LIMIT_PONG_MS,
            .close_ms = LIMIT_CLOSE_MS,
            .outbox = {.hard_bytes = LIMIT_DEFAULT_OUTBOX_HARD_BYTES,
                .soft_messages = LIMIT_DEFAULT_OUTBOX_SOFT_MESSAGES,
                .soft_ms = LIMIT_DEFAULT_OUTBOX_SOFT_MS},
            .policy = OUTBOX_CLOSE};
    int rc = listener_open(
        &a->listener, config->net, config->address, &a->router, &a->settings);
    if (rc == 0 && !admin_is_loopback(listener_address(a->listener))) {
        rc = ERR_DENIED;
    }
    if (rc != 0) {
        admin_free(a);
        return rc;
    }
    *out = a;
    return 0;
}

const char *admin_address(const struct admin *a)
{
    return listener_address(a->listener);
}

void admin_close(struct admin *a)
{
    if (a != NULL && a->listener != NULL) {
        CHECK(a, ADMIN_MAGIC);
        listener_close(a->listener);
        a->listener = NULL;
    }
}

void admin_free(struct admin *a)
{
    if (a != NULL) {
        admin_close(a);
        a->magic = 0;
        mem_free(a);
    }
}
