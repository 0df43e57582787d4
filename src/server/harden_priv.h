/* harden_priv.h -- the measures behind harden.c, one file each. */
#ifndef SERVER_HARDEN_PRIV_H
#define SERVER_HARDEN_PRIV_H

#include "base/base.h"

/* ---- harden_user.c ---- */

#define HARDEN_NAME_BYTES 64

/* Becomes `user` (a name or a number), or, for NULL, the user that is least
 * able to do harm and can read `dir`. `keep_bind`: keeps the one capability
 * of opening ports below 1024. Writes who the process is now ("nobody"; "root
 * without rights"). 0 or a negated errno, or ERR_NOT_FOUND (no such user),
 * ERR_DENIED (it takes root to become somebody else). */
int harden_user_become(const char *user, const char *dir, bool keep_bind,
    char name[HARDEN_NAME_BYTES]) NODISCARD;
/* Gives up all capabilities of this thread. */
void harden_user_drop_rights(void);

/* ---- harden_filter.c ---- */

/* Puts the filter in front of every system call of every thread, for good.
 * The process must have given up new privileges. 0 or a negated errno;
 * -ENOSYS: not on this system or processor. */
int harden_filter_install(void) NODISCARD;

#endif
