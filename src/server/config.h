/* config.h -- flags and environment -> one frozen struct; parse only.
 *
 * Every option stands in one table (config.c), which also writes the help:
 * a flag wins over its environment variable, that over the default. Settings
 * of an app are not here: they stand in its app.conf.lua. */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include "app/app.h"
#include "base/limits.h"
#include "base/log.h"
#include "net/guard.h"
#include <stdio.h>

struct config {
    const char *operand; /* the DIR or NAME; borrowed from argv */
    const char *listen;  /* "HOST:PORT" */
    const char *admin;   /* "HOST:PORT" of this machine; NULL: none */
    enum log_level log_level;
    enum log_format log_format;
    uint32_t drain_ms; /* clients are closed spread over this */
    bool reload;       /* when files change */
    bool is_many;      /* the operand holds apps (serve), else is one (run) */
    uint32_t workers;  /* loops */
    enum placement placement; /* where an app does not say */
    struct guard guard;       /* against rude peers; not started */
    const char *ceilings;     /* a file; NULL: none */
    /* Of harden.h: */
    const char *user; /* to become; NULL: whoever suits */
    bool keep_root;
    bool no_seccomp;
    bool allow_new_privs;
    /* TLS: files, in the order given. No keys: each certificate's file holds
     * its key as well. */
    const char *tls_certs[LIMIT_TLS_CERTIFICATES];
    const char *tls_keys[LIMIT_TLS_CERTIFICATES];
    size_t tls_cert_count;
    size_t tls_key_count;
    bool tls_is_from_env; /* the first flag takes its place */
};

/* Which options a command takes; bits. */
#define CONFIG_FOR_RUN   1u
#define CONFIG_FOR_CHECK 2u

#define CONFIG_WHY_BYTES 512
#define CONFIG_HELP      1 /* --help was asked for */

/* Reads the words behind a command's name. `operand` is what the command
 * wants one of ("DIR"); NULL: none. The environment is read for the options
 * of `command` only. 0, CONFIG_HELP, or ERR_SYNTAX with a line in `why`. */
int config_read(struct config *c, unsigned command, const char *operand,
    const char *const *words, char *why, size_t why_bytes) NODISCARD;
/* The options of `command`, one paragraph each; nothing if it has none. */
void config_print_options(unsigned command, FILE *to);
/* Calls `fn` for each MOONWIRE_ variable of the environment that looks like
 * a misspelt option. */
void config_find_typos(void (*fn)(const char *name, const char *meant));

#endif
