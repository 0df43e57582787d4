/* config_priv.h -- what the files of the configuration share: one option, and
 * those against rude peers (config_guard.c). */
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

/* ---- config_guard.c ---- */

#define CONFIG_GUARD_COUNT 13

/* The second part of the table of options. */
extern const struct option config_guard_options[CONFIG_GUARD_COUNT];
/* NULL, or what does not fit together. */
const char *config_check_guard(const struct config *c);

#endif
