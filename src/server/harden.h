/* harden.h -- what the process gives up before it runs anybody's code.
 *
 * A sandbox that is broken out of leaves the intruder in this process, with
 * what the process may do. So it may do little: it is not root, gains no
 * privileges, and most system calls are refused (with an error, never a kill).
 * Each measure can be turned off by an option; the log says what is on, and
 * warns of what is not. */
#ifndef SERVER_HARDEN_H
#define SERVER_HARDEN_H

#include "base/base.h"

struct config;

/* What is to be told when the start has come to its end. */
struct harden {
    char user[192]; /* who it runs as; "": who it was started as */
    char
        calls[192]; /* why every system call is let through; "": they are not */
    bool is_worth_a_warning; /* `user` is */
    bool keeps_rights;
};

/* Before the first app is loaded, while there is one thread. `dir`: what has
 * to be readable afterwards. 0, or a negative number and a line in the log:
 * what was asked for cannot be had. */
int harden_begin(
    struct harden *h, const struct config *c, const char *dir) NODISCARD;
/* All ports are open: the right to open those below 1024 goes, and the log
 * has its lines. That right belongs to a thread, so before there are others. */
void harden_end(struct harden *h);

#endif
