/* admin.h -- the operator's port: shows a running server.
 *
 * Plain HTTP on an address of this machine only. GET /metrics answers in
 * Prometheus' text format; everything else is 404. Nothing can be changed
 * through it yet. */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include "base/buf.h"
#include "base/metric.h"

struct admin;
struct net;

/* What adds series of its own to /metrics, with base/metric_text.h. Called on
 * the loop that answers, once for each request, in the order given. 0 or what
 * metric_text_*() returned. */
struct admin_source {
    int (*write)(void *user, struct buf *out);
    void *user;
};

/* All of it is borrowed and must outlive the admin. */
struct admin_config {
    struct net *net;     /* of the loop that answers */
    const char *address; /* "HOST:PORT" */
    /* Those of all loops; they are summed. A table may belong to another
     * thread. */
    const struct metrics *const *tables;
    size_t table_count;
    const struct admin_source *sources;
    size_t source_count;
};

/* Is it "HOST:PORT" with a host that can only be this machine: 127.x.x.x,
 * [::1], localhost? */
bool admin_is_loopback(const char *address);

/* 0; ERR_DENIED: the address is not, or "localhost" here does not lead to,
 * the loopback; or what listener_open() says. */
int admin_open(struct admin **out, const struct admin_config *config) NODISCARD;
/* The address it is bound to, "127.0.0.1:43210". */
const char *admin_address(const struct admin *a);
/* Closes the port, so that another server can have it; who is connected is
 * still answered. NULL is fine, and so is a second time. */
void admin_close(struct admin *a);
/* When every connection of the net is gone. NULL is fine. */
void admin_free(struct admin *a);

#endif
