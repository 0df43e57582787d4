/* check.c -- loads an app as a start would, and tells what came of it.
 *
 * For people and for scripts before a deployment: the verdict goes to stdout
 * (fine) or stderr (not), the exit code says the same. Nothing is served and
 * no handler runs. */
#include "server/check.h"
#include "app/app.h"
#include "app/ceilings.h"
#include "base/log.h"
#include "loop/loop.h"
#include "net/net.h"
#include "script/fiber.h"
#include "script/sched.h"
#include "server/cli.h"
#include "server/config.h"
#include "server/server.h"
#include <stdio.h>

int check_app(const struct config *config)
{
    char name[SERVER_NAME_BYTES];
    char why[APP_ERROR_BYTES];
    char handlers[256];
    const char *whose = config->operand;
    server_app_name(config->operand, name);
    struct loop *loop = loop_new(0);
    struct net *net = net_new(loop);
    struct sched *sched = sched_new(loop);
    struct app_config app_config = {.loop = loop,
        .net = net,
        .sched = sched,
        .name = name,
        .dir = config->operand,
        .quiet = true};
    struct ceilings *ceilings = NULL;
    int rc = ceilings_read(&ceilings, config->ceilings, why, sizeof(why));
    if (rc != 0) {
        whose = "cannot read the ceilings";
    } else {
        app_config.ceilings = ceilings;
        rc = app_check(
            &app_config, why, sizeof(why), handlers, sizeof(handlers));
    }
    ceilings_free(ceilings);
    sched_free(sched);
    net_free(net);
    loop_free(loop);
    fiber_pool_fini();
    if (rc != 0) {
        /* Part of it may be the app's own words, escape sequences and all. */
        char text[2 * APP_ERROR_BYTES];
        log_escape(text, sizeof(text), why);
        (void)fprintf(stderr, "moonwire: %s: %s\n", whose, text);
        return EXIT_FAILED;
    }
    (void)printf("%s loads. Its handlers: %s\n", config->operand,
        handlers[0] != '\0' ? handlers : "none");
    return EXIT_OK;
}
