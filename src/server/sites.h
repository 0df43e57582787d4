/* sites.h -- the apps that this server hosts, and where each is reached.
 *
 * A site is one app's place: a directory, a name, a home loop. The table is
 * made before the loops run and does not change; what changes is whether the
 * app is loaded, which its home loop alone decides and all loops read (I4).
 *
 * `moonwire run DIR` has one site, at every path. `moonwire serve DIR` has one
 * for each sub-directory with a main.lua, at /NAME/. */
#ifndef SERVER_SITES_H
#define SERVER_SITES_H

#include "app/app.h"
#include "base/map.h"
#include "base/word.h"
#include "loop/timers.h"

struct watch;
struct worker;

enum site_state {
    SITE_LOADING, /* its turn to be loaded has not come, or it takes long */
    SITE_LIVE,    /* `app` is set, and stays */
    SITE_FAILED   /* it does not load; tried again when its files change */
};

struct site {
    char *name;
    char *dir;
    struct worker *home; /* borrowed; only its index is for others to see */
    uint32_t home_index;
    struct word state; /* enum site_state; set behind `app` */
    struct app *app;   /* owned by the home loop; others: if it is LIVE */
    /* The home loop's. */
    struct watch *watch; /* of one that failed; NULL: none */
    bool is_stopping;    /* on_stop has not ended */
};

struct sites {
    struct site *list;
    size_t count;
    struct map by_name; /* serve: name -> struct site * */
    bool is_mounted;    /* serve: each below its name */
};

/* One site for the app in `dir`. */
void sites_init_one(struct sites *s, const char *dir);
/* Those below `dir`, in the order of their names. 0 or a negated errno, with
 * a line in `why`. */
int sites_init_below(
    struct sites *s, const char *dir, char *why, size_t why_bytes) NODISCARD;
void sites_fini(struct sites *s);

/* Who answers for that path, and where the path within the site begins (at a
 * "/", or at "" for "/NAME" alone). NULL: nobody. Any thread. */
struct site *sites_find(
    const struct sites *s, const char *path, const char **rest);
enum site_state site_get_state(const struct site *site);

#endif
