/* loop.c -- the turn, and what hangs on it.
 *
 * A turn polls, lets sockets and libuv's handles speak, opens letters, fires
 * timers, runs the hooks of each phase and last what was deferred. Sockets come
 * before timers on purpose: when a pong and its time-out arrive in the same
 * turn, the pong counts. Letters to other loops leave before long work begins
 * and not only at the end: a broadcast reaches the other loops while this one
 * writes to its own sockets.
 *
 * Everything here belongs to the thread that runs the loop (I1). A turn is
 * never entered from inside a turn (I7 leans on that). Waiting, readiness and
 * the wheel have files of their own; nothing here knows a socket. */
#include "base/mem.h"
#include "loop/loop_priv.h"

/* How many rounds of closing callbacks and of things deferred again
 * loop_free() sees through before it calls what is left a leak. */
#define FREE_ROUNDS 64

/* Memory that was freed is wanted again soon, or not at all. */
#define SPARE_WAIT_MS  1000
#define SPARE_PIECE_MS 1

static void give_back(struct timer *t)
{
    struct loop *l = container_of(t, struct loop, spare_timer);
    if (mem_give_back()) {
        timer_start(l, t, SPARE_PIECE_MS);
    }
}

struct loop *loop_new(uint32_t index)
{
    struct loop *l = mem_zalloc(sizeof(*l));
    l->magic = LOOP_MAGIC;
    l->index = index;
    for (int phase = 0; phase < LOOP_PHASES; phase++) {
        list_init(&l->hooks[phase]);
    }
    list_init(&l->deferred);
    list_init(&l->grounds);
    mailbox_init(&l->mailbox);

    int rc = uv_loop_init(&l->uv);
    ASSERT(rc == 0, "a loop has its descriptors");
    rc = uv_async_init(&l->uv, &l->anchor, NULL);
    ASSERT(rc == 0, "a loop has its descriptors");
    rc = io_init(l);
    ASSERT(rc == 0, "a loop has its descriptors");
    timers_open(l);
    timer_init(&l->spare_timer, give_back);
    /* Now libuv watches for rings, and the first turn may wait. */
    uv_run(&l->uv, UV_RUN_NOWAIT);
    return l;
}

static void run_deferred(struct loop *l)
{
    struct list now;
    list_init(&now);
    list_append_all(&now, &l->deferred);

    struct list *node;
    while ((node = list_pop_head(&now)) != NULL) {
        struct loop_deferred *d =
            container_of(node, struct loop_deferred, node);
        d->fn(d);
    }
}

void loop_free(struct loop *l)
{
    CHECK(l, LOOP_MAGIC);
    ASSERT(!l->is_in_turn, "a loop outlives its turn");
    for (int i = 0; i < FREE_ROUNDS && !list_is_empty(&l->deferred); i++) {
        run_deferred(l);
    }
    ASSERT(list_is_empty(&l->deferred), "nothing defers for ever");
    for (int phase = 0; phase < LOOP_PHASES; phase++) {
        ASSERT(list_is_empty(&l->hooks[phase]), "hooks die before their loop");
    }
    ASSERT(l->watch_count == 0, "watches die before their loop");
    mailbox_fini(&l->mailbox);
    timer_stop(&l->spare_timer);
    mem_stop_giving();
    timers_close(l);
    io_fini(l);
    uv_close((uv_handle_t *)&l->anchor, NULL);

    int rc = UV_EBUSY;
    for (int i = 0; i < FREE_ROUNDS && rc == UV_EBUSY; i++) {
        uv_run(&l->uv, UV_RUN_NOWAIT);
        rc = uv_loop_close(&l->uv);
    }
    ASSERT(rc == 0, "handles die before their loop");
    l->magic = 0;
    mem_free(l);
}

/* A hook may add and remove any hook, itself included. So hooks move one by
 * one to a list of those that ran, and a mark shows where those begin that
 * were added meanwhile: their turn is the next one. */
static void run_hooks(struct list *hooks)
{
    if (list_is_empty(hooks)) {
        return;
    }
    struct list ran;
    struct list mark;
    list_init(&ran);
    list_push_tail(hooks, &mark);

    struct list *node;
    while ((node = list_pop_head(hooks)) != &mark) {
        list_push_tail(&ran, node);
        struct loop_hook *h = container_of(node, struct loop_hook, node);
        h->fn(h);
    }
    list_append_all(&ran, hooks);
    list_append_all(hooks, &ran);
}

int loop_bound_wait(struct loop *l, int wait_ms)
{
    /* The hooks of the last turn took time; without a look at the clock
     * libuv's idea of how long to wait would be longer by as much. */
    uv_update_time(&l->uv);
    int uv_ms = uv_backend_timeout(&l->uv);
    return uv_ms >= 0 && (wait_ms < 0 || uv_ms < wait_ms) ? uv_ms : wait_ms;
}

static void poll_or_sleep(struct loop *l, int wait_ms)
{
    if (wait_ms == 0 || !mailbox_doze(l)) {
        io_poll(l, 0);
    } else {
        load_sleep(l);
        io_poll(l, wait_ms); /* it wakes up in there, before it calls */
    }
    load_turn(l);
}

void loop_turn(struct loop *l, int wait_ms)
{
    CHECK(l, LOOP_MAGIC);
    ASSERT(!l->is_in_turn, "a turn is not entered from a turn");
    l->is_in_turn = true;
    if (l->keeps_polling || !list_is_empty(&l->deferred)) {
        wait_ms = 0;
    }
    l->keeps_polling = false;

    poll_or_sleep(l, wait_ms);
    mailbox_open(l);
    timers_turn(l);
    mailbox_send(l);
    for (int phase = 0; phase < LOOP_PHASES; phase++) {
        run_hooks(&l->hooks[phase]);
        mailbox_send(l);
    }
    run_deferred(l);
    if (UNLIKELY(mem_may_have_spare()) && !timer_is_started(&l->spare_timer)) {
        timer_start(l, &l->spare_timer, SPARE_WAIT_MS);
    }
    l->is_in_turn = false;
}

void loop_run(struct loop *l)
{
    while (!l->is_stopping) {
        loop_turn(l, -1);
    }
    l->is_stopping = false;
}

void loop_stop(struct loop *l)
{
    l->is_stopping = true;
}

uint32_t loop_index(const struct loop *l)
{
    return l->index;
}

struct uv_loop_s *loop_uv(struct loop *l)
{
    return &l->uv;
}

struct metrics *loop_metrics(struct loop *l)
{
    return &l->metrics;
}

/* libuv's cached clock is the one clock: its timers must agree with ours. */
uint64_t loop_now_ms(const struct loop *l)
{
    return uv_now(&l->uv);
}

uint64_t loop_clock_ns(void)
{
    return uv_hrtime();
}

void loop_hook_add(struct loop *l, enum loop_phase phase, struct loop_hook *h,
    void (*fn)(struct loop_hook *h))
{
    h->fn = fn;
    list_push_tail(&l->hooks[phase], &h->node);
}

void loop_hook_remove(struct loop_hook *h)
{
    list_remove(&h->node);
}

void loop_keep_polling(struct loop *l)
{
    l->keeps_polling = true;
}

void loop_defer(struct loop *l, struct loop_deferred *d,
    void (*fn)(struct loop_deferred *d))
{
    d->fn = fn;
    list_push_tail(&l->deferred, &d->node);
}
