/* failure.c -- what is said of an event that failed: a line in the log (of so
 * many a second), a count, and a call of the app's own on_error.
 *
 * Called where an event ends (event.c), and where a whole state does
 * (restart.c). on_error(message, context) is an event like others and runs
 * when its turn comes, so it may await; what fails in it is logged only, and
 * no more than LIMIT_ERROR_EVENTS of them wait (I2). */
#include "app/api_priv.h"
#include "base/mem.h"
#include <stdio.h>
#include <string.h>

void failure_count_kill(struct app *a)
{
    metric_add(loop_metrics(a->loop), METRIC_KILLS, 1);
    histogram_set(&a->kills, histogram_get(&a->kills) + 1);
}

static void count(struct app *a, const char *kind)
{
    metric_add(loop_metrics(a->loop), METRIC_HANDLER_ERRORS, 1);
    if (strcmp(kind, "error") != 0) {
        failure_count_kill(a);
    }
}

static void tell_app(struct app *a, const struct event *ev, const char *name,
    const char *kind, const char *text)
{
    size_t len = strlen(text);

    if (a->is_closing || a->error_events >= LIMIT_ERROR_EVENTS ||
        (ev != NULL && ev->kind == EVENT_ERROR) ||
        a->live->handlers[HANDLER_ON_ERROR] == LUA_NOREF) {
        return;
    }
    struct failure *f = quota_alloc(sizeof(*f) + len);
    if (f == NULL) {
        return; /* the log has it */
    }
    *f = (struct failure){.event = name, .kind = kind, .len = len};
    memcpy(f->text, text, len);
    if (ev != NULL && ev->client != NULL) {
        f->client = client_id(ev->client);
    }
    struct event *told = event_new(a, EVENT_ERROR);
    told->extra = f;
    a->error_events++;
    inbox_queue(a, told);
}

/* The first line as the message, what follows as the detail. */
void failure_report(struct state *s, const struct event *ev, const char *kind,
    const char *text, const char *where)
{
    struct app *a = s->app;
    const char *name = ev != NULL ? event_name(ev) : "reload";
    char copy[LOG_LINE_BYTES];
    struct log_fields f;

    (void)snprintf(copy, sizeof(copy), "%s%s", text, where);
    state_trim_traceback(copy);
    tell_app(a, ev, name, kind, copy);
    count(a, kind);
    if (!lines_take(&a->failure_lines)) {
        return;
    }
    char *eol = strchr(copy, '\n');
    if (eol != NULL) {
        *eol = '\0';
    }
    app_log_fields(a, s, &f);
    f.client = ev != NULL && ev->client != NULL ? client_id(ev->client) : 0;
    f.event = name;
    f.kind = kind;
    f.err = eol != NULL ? eol + 1 : NULL;
    log_event(LOG_ERROR, &f, "%s", copy);
}

/* (message, { event, kind, client? }) */
int failure_push(struct event *ev, lua_State *T)
{
    const struct failure *f = ev->extra;
    struct client *cl = NULL;

    lua_rawgeti(T, LUA_REGISTRYINDEX, ev->state->handlers[HANDLER_ON_ERROR]);
    lua_pushlstring(T, f->text, f->len);
    lua_createtable(T, 0, 3);
    lua_pushstring(T, f->event);
    lua_setfield(T, -2, "event");
    lua_pushstring(T, f->kind);
    lua_setfield(T, -2, "kind");
    if (f->client != 0) {
        cl = api_client_of_id(ev->app, f->client);
    }
    if (cl != NULL) {
        api_push_client(T, ev->state, cl);
        lua_setfield(T, -2, "client");
    }
    return 2;
}

void failure_finished(struct event *ev)
{
    ev->app->error_events--;
    quota_free(ev->extra);
}
