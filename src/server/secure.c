/* secure.c -- TLS as the command line asks for it.
 *
 * Called at start, before the port is opened, and on SIGHUP, which reads the
 * files anew: who connects from then on gets what they hold, who is connected
 * notices nothing. Files that are wrong keep the server from starting, but not
 * from going on: a renewal that went wrong costs a line in the log. */
#include "base/err.h"
#include "base/log.h"
#include "net/tls.h"
#include "server/config.h"
#include "server/server_priv.h"

static void log_certificates(const struct tls *t)
{
    for (size_t i = 0; i < tls_count(t); i++) {
        char line[LOG_LINE_BYTES / 4];
        tls_describe(t, i, line, sizeof(line));
        log_event(LOG_INFO, NULL, "certificate %zu of %zu: %s", i + 1,
            tls_count(t), line);
    }
}

int secure_load(struct server *s)
{
    const struct config *c = s->config;
    char why[TLS_WHY_BYTES] = "";
    if (c->tls_cert_count == 0) {
        return 0;
    }
    const struct tls_files files = {
        .certs = c->tls_certs,
        .keys = c->tls_key_count > 0 ? c->tls_keys : c->tls_certs,
        .count = c->tls_cert_count,
    };
    struct tls *t = tls_new(s->loop, &files, why, sizeof(why));
    if (t == NULL) {
        struct log_fields fields = {.event = "tls", .kind = "error"};
        log_event(LOG_ERROR, &fields, "cannot use TLS: %s", why);
        return ERR_SYNTAX;
    }
    log_certificates(t);
    net_set_tls(s->net, t);
    tls_unref(t);
    return 0;
}

void secure_reload(struct server *s)
{
    if (s->config->tls_cert_count == 0 || secure_load(s) != 0) {
        return;
    }
    struct log_fields fields = {.event = "tls"};
    log_event(LOG_INFO, &fields, "certificates are loaded anew");
}
