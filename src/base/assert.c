/* assert.c -- the last words of a process that has found its own bug.
 *
 * Only ASSERT and CHECK come here. The line goes through the log, so it looks
 * like every other line and reaches whoever reads them; abort() then leaves a
 * core. Nothing is flushed or closed: after a broken law no state is to be
 * trusted with that. */
#include "base/base.h"
#include "base/log.h"
#include <stdlib.h>

void assert_failed(
    const char *cond, const char *law, const char *file, int line)
{
    struct log_fields f = {.kind = "crash"};
    log_event(LOG_ERROR, &f, "assertion failed: %s (law: %s) at %s:%d", cond,
        law, file, line);
    abort();
}
