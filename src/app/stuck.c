/* stuck.c -- events that cannot begin: how long they are tried, and when the
 * state is to blame.
 *
 * Called by inbox_run.c, which has them wait where they are. There are three
 * cases.
 *
 *   all tasks are taken  the end of one gives it another chance. Whether those
 *                        who are under way will ever end nobody knows, but
 *                        nothing is lost meanwhile, as back-pressure stops the
 *                        readers: it is said, not judged
 *   no stack is to be    the machine's fault. It has to try again by itself,
 *   had                  for nobody tells when there is one, and not for ever,
 *                        for those who are under way may be waiting for this
 *                        very call: after LIMIT_BEGIN_MS the event is over
 *   no memory            the same. But who sleeps for ever and holds it all
 *                        would have the app lose one event after the other for
 *                        ever: after LIMIT_FULL_BEGINS in a row the state ends
 *                        and begins anew (restart.c); what waits then is for
 *                        the next one */
#include "app/app_priv.h"

#define RETRY_MS 10

/* True: that was one too many. */
static bool end_if_full(struct state *s, const struct event *ev)
{
    if (++s->failed_begins < LIMIT_FULL_BEGINS) {
        return false;
    }
    vm_give_up(s->vm,
        "what waits in the app leaves its events no memory to begin "
        "(limits.memory)");
    restart_after_death(s, ev);
    return true;
}

bool stuck_is_over(struct app *a, const struct event *ev, int rc)
{
    struct inbox *in = &a->inbox;
    uint64_t now = loop_now_ms(a->loop);

    if (task_count(ev->state->vm) >= ev->state->settings.tasks) {
        char text[APP_LIMIT_TEXT_BYTES];
        app_note_limit(ev->state, APP_TASKS, text);
        return false;
    }
    timer_start(a->loop, &in->retry_timer, RETRY_MS);
    if (in->failing_since_ms == 0) {
        in->failing_since_ms = now;
    }
    if (now - in->failing_since_ms < LIMIT_BEGIN_MS) {
        return false;
    }
    in->failing_since_ms = 0;
    return rc != ERR_NOMEM || !end_if_full(ev->state, ev);
}

void stuck_no_more(struct app *a, struct state *s)
{
    a->inbox.failing_since_ms = 0;
    s->failed_begins = 0;
}

void stuck_try_again(struct timer *t)
{
    struct inbox *in = container_of(t, struct inbox, retry_timer);

    inbox_post(container_of(in, struct app, inbox));
}
