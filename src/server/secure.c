/* secure.c -- TLS as the command line asks for it.
 *
 * Called at start, before there are loops, and on SIGHUP, which reads the
 * files anew: who connects from then on gets what they hold, who is connected
 * notices nothing. Files that are wrong keep the server from starting, but not
 * from going on: a renewal that went wrong costs a line in the log.
 *
 * The main thread makes one for each loop, all from the same reading or none
 * (I8), and gives them out; tickets are the same for all. */
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/tls.h"
#include "server/config.h"
#include "server/server_priv.h"

struct tls_letter {
    struct letter letter;
    struct net *net;
    struct tls *tls; /* ref */
};

static void log_certificates(const struct tls *t)
{
    for (size_t i = 0; i < tls_count(t); i++) {
        char line[LOG_LINE_BYTES / 4];
        tls_describe(t, i, line, sizeof(line));
        log_event(LOG_INFO, NULL, "certificate %zu of %zu: %s", i + 1,
            tls_count(t), line);
    }
}

static int make_tickets(struct server *s, char *why, size_t why_bytes)
{
    if (s->tickets == NULL) {
        s->tickets = tls_tickets_new(why, why_bytes);
    }
    return s->tickets != NULL ? 0 : ERR_SYNTAX;
}

/* One for each loop, in s->tls; or none. */
static int make_all(struct server *s, char *why, size_t why_bytes)
{
    const struct config *c = s->config;
    const struct tls_files files = {
        .certs = c->tls_certs,
        .keys = c->tls_key_count > 0 ? c->tls_keys : c->tls_certs,
        .count = c->tls_cert_count,
    };
    int rc = make_tickets(s, why, why_bytes);
    uint32_t n = 0;
    while (rc == 0 && n < s->worker_count) {
        s->tls[n] = tls_new(s->tickets, &files, why, why_bytes);
        if (s->tls[n] == NULL) {
            rc = ERR_SYNTAX;
        } else {
            n++;
        }
    }
    while (rc != 0 && n > 0) {
        tls_unref(s->tls[--n]);
        s->tls[n] = NULL;
    }
    return rc;
}

static void on_tls(struct letter *l, struct loop *here)
{
    struct tls_letter *t = container_of(l, struct tls_letter, letter);
    (void)here;
    net_set_tls(t->net, t->tls);
    tls_unref(t->tls);
    mem_free(t);
}

static void hand_out(struct server *s, struct tls *t, uint32_t loop)
{
    struct tls_letter *l = mem_alloc(sizeof(*l));
    l->net = s->nets[loop];
    l->tls = t;
    mailbox_post(s->workers[0].loop, s->workers[loop].loop, &l->letter, on_tls);
}

int secure_read(struct server *s)
{
    char why[TLS_WHY_BYTES] = "";
    ASSERT(s->worker_count > 0, "one loop at least");
    if (s->config->tls_cert_count == 0) {
        return 0;
    }
    int rc = make_all(s, why, sizeof(why));
    if (rc != 0) {
        struct log_fields fields = {.event = "tls", .kind = "error"};
        log_event(LOG_ERROR, &fields, "cannot use TLS: %s", why);
        return rc;
    }
    log_certificates(s->tls[0]);
    return 0;
}

/* `is_running`: the other loops have threads of their own by now. */
static void give(struct server *s, bool is_running)
{
    for (uint32_t i = 0; i < s->worker_count; i++) {
        if (s->tls[i] == NULL) {
            continue;
        }
        if (is_running && i > 0) {
            hand_out(s, s->tls[i], i);
        } else {
            net_set_tls(s->nets[i], s->tls[i]);
            tls_unref(s->tls[i]);
        }
        s->tls[i] = NULL;
    }
}

void secure_give(struct server *s)
{
    give(s, false);
}

void secure_reload(struct server *s)
{
    if (s->config->tls_cert_count == 0 || secure_read(s) != 0) {
        return;
    }
    give(s, true);
    struct log_fields fields = {.event = "tls"};
    log_event(LOG_INFO, &fields, "certificates are loaded anew");
}
