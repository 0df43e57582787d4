/* admin_priv.h -- shared by admin.c and what answers its routes. */
#ifndef ADMIN_ADMIN_PRIV_H
#define ADMIN_ADMIN_PRIV_H

#include "admin/admin.h"
#include "net/conn.h"

struct listener;

struct admin {
    uint64_t magic;
    struct admin_config config;
    struct listener *listener; /* NULL: closed */
    struct conn_router router;
    struct conn_settings settings;
};

/* Answers `c` with all figures; the head alone for `is_head`. */
void admin_reply_metrics(struct admin *a, struct conn *c, bool is_head);

#endif
