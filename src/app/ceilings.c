/* ceilings.c -- how far the apps of a server may set their limits.
 *
 * Ceilings are settings themselves: a file of them is read by the readers of
 * app.conf.lua, with base/limits.h for its own ceilings. What an app does not
 * set, and what stands higher by default, comes down to them. Laws: I6. */
#include "app/ceilings.h"
#include "app/manifest_priv.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct ceilings {
    struct settings most;
};

static const struct settings base = {
    .conn =
        {
            .message_bytes = LIMIT_MAX_MESSAGE_BYTES,
            .fragments = LIMIT_MAX_FRAGMENTS,
            .outbox =
                {
                    .hard_bytes = LIMIT_MAX_OUTBOX_HARD_BYTES,
                    .soft_messages = LIMIT_MAX_OUTBOX_SOFT_MESSAGES,
                    .soft_ms = LIMIT_MAX_WAIT_MS,
                },
        },
    .inbox =
        {
            .events = LIMIT_MAX_INBOX_EVENTS,
            .client_events = LIMIT_MAX_INBOX_CLIENT_EVENTS,
            .bytes = LIMIT_MAX_INBOX_BYTES,
        },
    .outbox_bytes = LIMIT_MAX_APP_OUTBOX_BYTES,
    .cpu_ms = LIMIT_MAX_CPU_MS,
    .load_cpu_ms = LIMIT_MAX_LOAD_CPU_MS,
    .share = 100,
    .memory_bytes = LIMIT_MAX_MEMORY_BYTES,
    .clients = LIMIT_MAX_CLIENTS,
    .rooms = LIMIT_MAX_ROOMS,
    .rooms_per_client = LIMIT_MAX_ROOMS_PER_CLIENT,
    .tasks = LIMIT_MAX_TASKS,
    .timers = LIMIT_MAX_TIMERS,
    .requests = LIMIT_MAX_REQUESTS,
    .response_bytes = LIMIT_MAX_RESPONSE_BYTES,
    .answer_ms = LIMIT_MAX_WAIT_MS,
};

const struct settings *ceilings_most(const struct ceilings *c)
{
    return c != NULL ? &c->most : &base;
}

#define BEND(field) s->field = s->field < most->field ? s->field : most->field

void ceilings_bend(const struct settings *most, struct settings *s)
{
    BEND(conn.message_bytes);
    BEND(conn.fragments);
    BEND(conn.outbox.hard_bytes);
    BEND(conn.outbox.soft_messages);
    BEND(conn.outbox.soft_ms);
    BEND(inbox.events);
    BEND(inbox.client_events);
    BEND(inbox.bytes);
    BEND(outbox_bytes);
    BEND(cpu_ms);
    BEND(load_cpu_ms);
    BEND(share);
    BEND(memory_bytes);
    BEND(clients);
    BEND(rooms);
    BEND(rooms_per_client);
    BEND(tasks);
    BEND(timers);
    BEND(requests);
    BEND(response_bytes);
    BEND(answer_ms);
}

/* The file as a NUL-ended text. NULL with errno set; EFBIG: too long. */
static char *read_file(const char *path, size_t *len)
{
    char *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return NULL;
    }
    text = mem_alloc(LIMIT_CONF_BYTES + 1);
    size_t n = 0;
    ssize_t k = 1;
    while (k > 0 && n <= LIMIT_CONF_BYTES) {
        k = read(fd, text + n, LIMIT_CONF_BYTES + 1 - n);
        n += k > 0 ? (size_t)k : 0;
    }
    int err = k < 0 ? errno : n > LIMIT_CONF_BYTES ? EFBIG : 0;
    (void)close(fd);
    if (err != 0) {
        mem_free(text);
        errno = err;
        return NULL;
    }
    text[n] = '\0';
    *len = n;
    return text;
}

int ceilings_read(
    struct ceilings **out, const char *path, char *why, size_t why_bytes)
{
    struct snapshot_file file = {.name = (char *)(uintptr_t)path};
    struct ceilings *c = mem_alloc(sizeof(*c));

    c->most = base;
    *out = c;
    if (path == NULL) {
        return 0;
    }
    *out = NULL;
    file.data = read_file(path, &file.len);
    if (file.data == NULL) {
        int rc = -errno;
        (void)snprintf(why, why_bytes, "%s: %s", path, err_text(rc));
        ceilings_free(c);
        return rc;
    }
    struct manifest_parse p = {
        .file = &file,
        .settings = &c->most,
        .most = &base,
        .is_ceilings = true,
        .why = why,
        .why_bytes = why_bytes,
    };
    int rc = manifest_begin_file(&p);
    while (rc == MANIFEST_STOPPED) {
        rc = manifest_go_on(&p);
    }
    manifest_end(&p);
    mem_free(file.data);
    if (rc != 0) {
        ceilings_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void ceilings_free(struct ceilings *c)
{
    mem_free(c);
}
