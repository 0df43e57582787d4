/* harden.c -- what the process gives up before it runs anybody's code.
 *
 * Called by boot. The order is the point: users are looked up while every
 * system call is there; new privileges are given up before the filter, which
 * the kernel demands; and all of it comes before the first app is loaded,
 * since a main chunk is an app's code like any other. Only one thing is kept
 * for a moment, the right to open ports below 1024.
 *
 * A start that fails is one line in the log, so what there is to say waits for
 * harden_end(). A measure that this system does not have is warned of and left
 * out; one that was asked for by name (--user) and cannot be had ends the
 * start. Why these measures, and what the filter lets through, is told in
 * docs/decisions/0011. */
#include "server/harden.h"
#include "base/err.h"
#include "base/log.h"
#include "server/config.h"
#include "server/harden_priv.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define LOWEST_FREE_PORT 1024

static bool needs_low_port(const char *address)
{
    const char *colon = address != NULL ? strrchr(address, ':') : NULL;
    unsigned long port = colon != NULL ? strtoul(colon + 1, NULL, 10) : 0;
    return port > 0 && port < LOWEST_FREE_PORT;
}

static void tell_user(struct harden *h)
{
    if (h->user[0] != '\0') {
        log_event(h->is_worth_a_warning ? LOG_WARN : LOG_INFO, NULL,
            "runs as %s", h->user);
        h->user[0] = '\0';
    }
}

static int refuse_user(const struct config *c, int rc)
{
    if (rc == ERR_NOT_FOUND) {
        log_event(LOG_ERROR, NULL, "--user %s: no such user", c->user);
    } else if (rc == ERR_DENIED) {
        log_event(LOG_ERROR, NULL,
            "--user %s: only root can become somebody else", c->user);
    } else {
        log_event(LOG_ERROR, NULL, "cannot become --user %s: %s", c->user,
            err_text(rc));
    }
    return rc;
}

static int become_user(
    struct harden *h, const struct config *c, const char *dir)
{
    char name[HARDEN_NAME_BYTES];
    bool was_root = geteuid() == 0;
    if (c->keep_root) {
        (void)snprintf(h->user, sizeof(h->user), "%s",
            was_root ? "root with all rights (--keep-root)" : "");
        h->is_worth_a_warning = was_root;
        return 0;
    }
    bool keep_bind = needs_low_port(c->listen) || needs_low_port(c->admin);
    int rc = harden_user_become(c->user, dir, keep_bind, name);
    if (rc != 0 && c->user != NULL) {
        return refuse_user(c, rc);
    }
    if (rc != 0) {
        /* A container without the right to change users, say. */
        (void)snprintf(h->user, sizeof(h->user),
            "root, which cannot be given up here: %s", err_text(rc));
        h->is_worth_a_warning = true;
    } else if (was_root && geteuid() == 0) {
        (void)snprintf(h->user, sizeof(h->user), "%s",
            c->user != NULL ? "root without its rights"
                            : "root without its rights, since nobody else can "
                              "read the app; --user NAME is better");
    } else if (was_root) {
        (void)snprintf(h->user, sizeof(h->user), "%s (started as root)", name);
    }
    if (c->user != NULL) {
        /* If it cannot read the app, this line explains the next one. */
        tell_user(h);
    }
    return 0;
}

static void filter_calls(struct harden *h, const struct config *c)
{
    if (c->no_seccomp) {
        (void)snprintf(h->calls, sizeof(h->calls), "(--no-seccomp)");
        return;
    }
    int rc = harden_filter_install();
    if (rc != 0) {
        (void)snprintf(
            h->calls, sizeof(h->calls), "no seccomp here: %s", err_text(rc));
    }
}

int harden_begin(struct harden *h, const struct config *c, const char *dir)
{
    *h = (struct harden){.keeps_rights = c->keep_root};
    int rc = become_user(h, c, dir);
    if (rc != 0) {
        return rc;
    }
    if (c->allow_new_privs) {
        (void)snprintf(h->calls, sizeof(h->calls),
            "and new privileges are possible (--allow-new-privs)");
        return 0;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        (void)snprintf(h->calls, sizeof(h->calls),
            "cannot give up new privileges: %s", err_text(-errno));
        return 0;
    }
    filter_calls(h, c);
    return 0;
}

void harden_end(struct harden *h)
{
    if (!h->keeps_rights) {
        harden_user_drop_rights();
    }
    tell_user(h);
    if (h->calls[0] != '\0') {
        log_event(
            LOG_WARN, NULL, "every system call is let through: %s", h->calls);
    }
}
