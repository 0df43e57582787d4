/* config_priv.h -- what the files of the configuration share: one option, those
 * of TLS and hardening (config_secure.c), and those against rude peers
 * (config_guard.c). */
#ifndef SERVER_CONFIG_PRIV_H
#define SERVER_CONFIG_PRIV_H

#include "server/config.h"

struct option {
    const char *flag;  /* with its "--" */
    const char *env;   /* the variable */
    const char *value; /* what it takes ("HOST:PORT"); NULL: it is a switch */
    const char *help;  /* lines of the help, without indentation */
    unsigned commands;
    /* Takes the text; false: it is none of what `wants` says. */
    bool (*set)(struct config *c, const char *text);
    const char *wants;
};

/* A switch gets no text from a flag, and a yes or no from the environment. */
bool config_read_switch(const char *text, bool *is_on);

/* ---- config_secure.c ---- */

#define CONFIG_SECURE_COUNT 6

/* The second part of the table of options. */
extern const struct option config_secure_options[CONFIG_SECURE_COUNT];
/* 0, or ERR_SYNTAX with a line about what does not fit together. */
int config_check_secure(
    const struct config *c, char *why, size_t why_bytes) NODISCARD;

/* ---- config_guard.c ---- */

#define CONFIG_GUARD_COUNT 13

/* The third part. */
extern const struct option config_guard_options[CONFIG_GUARD_COUNT];
/* NULL, or what does not fit together. */
const char *config_check_guard(const struct config *c);

#endif
