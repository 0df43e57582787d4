/* config_secure.c -- the options of TLS (secure.c) and of what the process
 * gives up (harden.h).
 *
 * Called by config.c, whose table of options they are part of. Files are only
 * named here: what stands in them is found out when they are read. */
#include "base/err.h"
#include "server/config_priv.h"
#include <string.h>

static bool set_user(struct config *c, const char *text)
{
    c->user = text;
    return text[0] != '\0';
}

static bool set_keep_root(struct config *c, const char *text)
{
    return config_read_switch(text, &c->keep_root);
}

static bool set_no_seccomp(struct config *c, const char *text)
{
    return config_read_switch(text, &c->no_seccomp);
}

static bool set_allow_new_privs(struct config *c, const char *text)
{
    return config_read_switch(text, &c->allow_new_privs);
}

static bool add_file(const char **files, size_t *count, const char *text)
{
    if (text[0] == '\0' || *count == LIMIT_TLS_CERTIFICATES) {
        return false;
    }
    files[(*count)++] = text;
    return true;
}

static void forget_tls_of_env(struct config *c)
{
    if (c->tls_is_from_env) {
        c->tls_is_from_env = false;
        c->tls_cert_count = 0;
        c->tls_key_count = 0;
    }
}

static bool set_tls_cert(struct config *c, const char *text)
{
    forget_tls_of_env(c);
    return add_file(c->tls_certs, &c->tls_cert_count, text);
}

static bool set_tls_key(struct config *c, const char *text)
{
    forget_tls_of_env(c);
    return add_file(c->tls_keys, &c->tls_key_count, text);
}

const struct option config_secure_options[CONFIG_SECURE_COUNT] = {
    {"--tls-cert", "MOONWIRE_TLS_CERT", "FILE",
        "speak TLS with this certificate chain (PEM); given again, more\n"
        "certificates, chosen by the name that a client asks for, the\n"
        "first for who asks for none",
        CONFIG_FOR_RUN, set_tls_cert, "a file, at most 64"},
    {"--tls-key", "MOONWIRE_TLS_KEY", "FILE",
        "its private key (PEM), once for each --tls-cert and in the same\n"
        "order; without any, the keys are in the files of the certificates",
        CONFIG_FOR_RUN, set_tls_key, "a file, at most 64"},
    {"--user", "MOONWIRE_USER", "NAME",
        "who to become when started as root (who owns DIR; else\n"
        "nobody; else root without its rights)",
        CONFIG_FOR_RUN, set_user, "the name or number of a user"},
    {"--keep-root", "MOONWIRE_KEEP_ROOT", NULL,
        "stay root when started as root", CONFIG_FOR_RUN, set_keep_root,
        "1 or 0"},
    {"--no-seccomp", "MOONWIRE_NO_SECCOMP", NULL,
        "let every system call through", CONFIG_FOR_RUN, set_no_seccomp,
        "1 or 0"},
    {"--allow-new-privs", "MOONWIRE_ALLOW_NEW_PRIVS", NULL,
        "do not give up new privileges; without that there is no\n"
        "seccomp either",
        CONFIG_FOR_RUN, set_allow_new_privs, "1 or 0"},
};

int config_check_secure(const struct config *c, char *why, size_t why_bytes)
{
    if (c->tls_key_count == 0 || c->tls_key_count == c->tls_cert_count) {
        return 0;
    }
    (void)snprintf(why, why_bytes,
        "%zu --tls-key for %zu --tls-cert: one for each, or none",
        c->tls_key_count, c->tls_cert_count);
    return ERR_SYNTAX;
}
