/* tenancy.h -- the apps of one loop: loaded, reloaded, stopped and closed on
 * the thread that is their home. */
#ifndef SERVER_TENANCY_H
#define SERVER_TENANCY_H

#include "server/sites.h"

/* Begins to load one app, unless it is there: its site's state says what comes
 * of it, and the log why. */
void tenancy_load(struct worker *w, struct site *site);
/* The same before the loop runs, to its end. 0, or an error that has been
 * logged. */
int tenancy_load_first(struct worker *w, struct site *site) NODISCARD;
/* Loads all of this loop's that are not loaded, one a turn. */
void tenancy_begin(struct worker *w);
/* The files of all of them are looked at again, one app a turn (SIGHUP). */
void tenancy_reload(struct worker *w);
/* A line in the log for each of them that has run. */
void tenancy_log_stats(struct worker *w);
/* on_stop in all of them; `on_stopped(w)` when the last has ended. */
void tenancy_stop(
    struct worker *w, const char *reason, void (*on_stopped)(struct worker *w));
void tenancy_close_clients(
    struct worker *w, uint16_t code, const char *reason, uint32_t spread_ms);
void tenancy_kill_clients(struct worker *w);
/* Clients that are there or about to be, over all of this loop's apps. */
uint64_t tenancy_client_count(const struct worker *w);
/* Closes them for good; see app_close(). */
void tenancy_close(struct worker *w);

#endif
