/* secure.c -- TLS as the command line asks for it.
 *
 * Called at start, before the port is opened, and on SIGHUP, which reads the
 * files anew: who connects from then on gets what they hold, who is connected
 * notices nothing. Files that are wrong keep the server from starting, but not
 * from going on: a renewal that went wrong costs a line in the log.
 *
 * Loop 0 makes one of each for every loop, all from the same reading or none
 * (I8), and sends them there; tickets are the same for all. */
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

/* One for each loop, in `made`; or none. */
static int make_all(
    struct server *s, struct tls **made, char *why, size_t why_bytes)
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
        made[n] = tls_new(s->tickets, &files, why, why_bytes);
        if (made[n] == NULL) {
            rc = ERR_SYNTAX;
        } else {
            n++;
        }
    }
    while (rc != 0 && n > 0) {
        tls_unref(made[--n]);
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

/* `is_running`: the other loops have threads of their own by now. */
static int load(struct server *s, bool is_running)
{
    char why[TLS_WHY_BYTES] = "";
    struct tls *made[LIMIT_LOOPS] = {NULL};
    ASSERT(s->worker_count > 0, "one loop at least");
    if (s->config->tls_cert_count == 0) {
        return 0;
    }
    int rc = make_all(s, made, why, sizeof(why));
    if (rc != 0) {
        struct log_fields fields = {.event = "tls", .kind = "error"};
        log_event(LOG_ERROR, &fields, "cannot use TLS: %s", why);
        return rc;
    }
    log_certificates(made[0]);
    for (uint32_t i = 0; i < s->worker_count; i++) {
        if (is_running && i > 0) {
            hand_out(s, made[i], i);
        } else {
            net_set_tls(s->nets[i], made[i]);
            tls_unref(made[i]);
        }
    }
    return 0;
}

int secure_load(struct server *s)
{
    return load(s, false);
}

void secure_reload(struct server *s)
{
    if (s->config->tls_cert_count == 0 || load(s, true) != 0) {
        return;
    }
    struct log_fields fields = {.event = "tls"};
    log_event(LOG_INFO, &fields, "certificates are loaded anew");
}
