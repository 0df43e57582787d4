/* observe.c -- the operator's port, with what is to be seen there.
 *
 * Called by boot and stop; answers on loop 0. Gathers what /metrics shows: the
 * tables of all loops, and the sources of whoever has series of its own. */
#include "server/observe.h"
#include "admin/admin.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/config.h"
#include "server/observe_apps.h"
#include "server/server_priv.h"

struct observe {
    struct admin *admin;
    struct admin_source apps;
    const struct metrics *tables[]; /* one for each loop */
};

int observe_open(struct server *s)
{
    if (s->config->admin == NULL) {
        return 0;
    }
    size_t count = s->worker_count;
    struct observe *o =
        mem_zalloc(sizeof(*o) + count * sizeof(const struct metrics *));
    for (size_t i = 0; i < count; i++) {
        o->tables[i] = loop_metrics(s->workers[i].loop);
    }
    o->apps = (struct admin_source){observe_apps, &s->sites};
    struct admin_config config = {.net = s->nets[0],
        .address = s->config->admin,
        .tables = o->tables,
        .table_count = count,
        .sources = &o->apps,
        .source_count = 1};
    int rc = admin_open(&o->admin, &config);
    if (rc != 0) {
        mem_free(o);
        log_event(LOG_ERROR, NULL, "cannot listen on %s for --admin: %s",
            s->config->admin,
            rc == ERR_DENIED ? "not an address of this machine alone"
                             : server_listen_error(rc));
        return rc;
    }
    s->observe = o;
    log_event(LOG_INFO, NULL, "figures on http://%s/metrics",
        admin_address(o->admin));
    return 0;
}

void observe_close(struct server *s)
{
    if (s->observe != NULL) {
        admin_close(s->observe->admin);
    }
}

void observe_free(struct server *s)
{
    if (s->observe != NULL) {
        admin_free(s->observe->admin);
        mem_free(s->observe);
        s->observe = NULL;
    }
}
