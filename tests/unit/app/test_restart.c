/* What becomes of clients whose app's state has died, at whatever moment they
 * come and go. */
#include "script/preempt_priv.h"
#include "stage.h"

#if !PREEMPT_HOOK

#    define DIES "string.find(string.rep('a', 5000), '.-.-.-.-b')"
/* Says who comes and goes, and dies when told to. */
#    define APP_AT_ONCE                                                        \
        "local x\n"                                                            \
        "function on_open(c)\n"                                                \
        "  print('open ' .. c.id .. ' ' .. tostring(c.restored))\n"            \
        "  c:send('gen' .. app.generation)\n"                                  \
        "end\n"                                                                \
        "function on_close(c) print('close ' .. c.id) end\n"                   \
        "function on_message(c, m)\n"                                          \
        "  if m == 'die' then " DIES " end\n"                                  \
        "  if m == 'wait' then sleep(1.5) end\n"                               \
        "  if m == 'work' then\n"                                              \
        "    c.data.t = {}\n"                                                  \
        "    for i = 1, 20000 do c.data.t[i] = i end\n"                        \
        "    sleep(0.5)\n"                                                     \
        "    for i = 1, 100000 do x = { i } end\n"                             \
        "  end\n"                                                              \
        "  c:send(m)\n"                                                        \
        "end\n"

/* It takes long to load. */
#    define APP "for i = 1, 2000000 do local x = { i } end\n" APP_AT_ONCE

static void start(struct stage *st)
{
    stage_init(st);
    stage_write(st, "app.conf.lua", "return { limits = { cpu = '20ms' } }");
    stage_open(st, APP);
}

static void let_it_die(struct stage *st, struct peer *p)
{
    peer_say(p, "die");
    UNTIL(st, st->app->restart.is_down && st->app->load != NULL);
}

static void who_comes_while_it_is_down_is_new_and_opened_once(void **state)
{
    (void)state;
    struct stage st;
    start(&st);
    struct peer *a = peer_open(&st, "/");
    let_it_die(&st, a);
    struct peer *b = peer_ask(&st, "/", "");
    UNTIL(&st, b->status == 101);
    assert_true(st.app->restart.is_down);
    peer_say(b, "hello");
    UNTIL(&st, b->messages == 2);
    assert_string_equal(peer_take(b), "gen2 hello");
    UNTIL(&st, a->messages == 2);
    assert_int_equal(stage_logged(&st, "open 2 false"), 1);
    assert_int_equal(stage_logged(&st, "open 2"), 1);
    assert_int_equal(stage_logged(&st, "open 1 true"), 1);
    stage_fini(&st);
}

static void who_comes_says_something_and_goes_while_it_is_down_is_heard(
    void **state)
{
    (void)state;
    struct stage st;
    start(&st);
    struct peer *a = peer_open(&st, "/");
    let_it_die(&st, a);
    struct peer *b = peer_ask(&st, "/", "");
    UNTIL(&st, b->status == 101);
    peer_say(b, "hello");
    peer_cut(b);
    UNTIL(&st, stage_logged(&st, "close 2") == 1);
    assert_int_equal(stage_logged(&st, "open 2 false"), 1);
    UNTIL(&st, st.app->client_count == 1 && a->messages == 2);
    stage_fini(&st);
}

static void who_goes_while_it_is_down_is_not_heard_of(void **state)
{
    (void)state;
    struct stage st;
    start(&st);
    struct peer *a = peer_open(&st, "/");
    struct peer *c = peer_open(&st, "/");
    let_it_die(&st, a);
    peer_cut(c);
    UNTIL(&st, st.app->client_count == 1);
    UNTIL(&st, a->messages == 2);
    stage_pass(&st, 5);
    assert_int_equal(stage_logged(&st, "open 2"), 1);
    assert_int_equal(stage_logged(&st, "close"), 0);
    stage_fini(&st);
}

/* Its handler waits in the generation before the one that dies. */
static void who_goes_with_an_old_handler_is_heard_of_once_more(void **state)
{
    (void)state;
    struct stage st;
    start(&st);
    struct peer *a = peer_open(&st, "/");
    struct peer *b = peer_open(&st, "/");
    peer_say(b, "wait");
    stage_turns(&st, 3);
    stage_write(&st, "main.lua", APP "-- two");
    assert_int_equal(stage_reload(&st), 0);
    let_it_die(&st, a);
    peer_say(b, "hello");
    peer_cut(b);
    UNTIL(&st, stage_logged(&st, "close 2") == 1);
    UNTIL(&st, st.app->client_count == 1);
    assert_int_equal(st.app->live->generation, 3);
    assert_int_equal(stage_logged(&st, "open 2 true"), 1);
    stage_fini(&st);
}

/* Its data is still to be moved when the state dies that it is to move to. */
static void who_goes_while_he_is_on_the_move_is_forgotten_after_that(
    void **state)
{
    (void)state;
    struct stage st;
    start(&st);
    struct peer *a = peer_open(&st, "/");
    struct peer *b = peer_open(&st, "/");
    peer_say(b, "work");
    stage_turns(&st, 3);
    stage_write(&st, "main.lua", APP_AT_ONCE);
    assert_int_equal(stage_reload(&st), 0);
    UNTIL(&st, st.app->stopped != NULL);
    peer_say(a, "die");
    UNTIL(&st, stage_events(&st) == 1);
    st.app->inbox.turn = 0;
    UNTIL(&st, st.app->restart.is_down);
    preempt_set_slice_us(50);
    UNTIL(&st, st.app->carry != NULL);
    peer_cut(b);
    UNTIL(&st, st.app->carry == NULL);
    preempt_set_slice_us(0);
    UNTIL(&st, !st.app->restart.is_down && a->messages == 2);
    UNTIL(&st, st.app->client_count == 1);
    stage_fini(&st);
}

static void who_is_on_the_move_does_not_keep_it_from_beginning_anew(
    void **state)
{
    (void)state;
    struct stage st;
    start(&st);
    struct peer *a = peer_open(&st, "/");
    struct peer *b = peer_open(&st, "/");
    peer_say(b, "work");
    stage_turns(&st, 3);
    stage_write(&st, "main.lua", APP_AT_ONCE);
    assert_int_equal(stage_reload(&st), 0);
    UNTIL(&st, st.app->stopped != NULL);
    peer_say(a, "die");
    UNTIL(&st, stage_events(&st) == 1);
    st.app->inbox.turn = 0; /* so that its client is before the move */
    UNTIL(&st, st.app->restart.is_down);
    UNTIL(&st, !st.app->restart.is_down);
    UNTIL(&st, a->messages == 2 && b->messages == 3);
    assert_int_equal(st.app->live->generation, 3);
    stage_fini(&st);
}

/* It dies in the midst of a slice, with calls of its own in the queue: nobody
 * enters it for those. */
static void what_an_old_generation_spawned_dies_with_it(void **state)
{
    (void)state;
    struct stage st;
    stage_init(&st);
    stage_write(&st, "app.conf.lua", "return { limits = { memory = '1MB' } }");
    stage_open(&st, "function on_message(c)\n"
                    "  sleep(0.05)\n"
                    "  keep = {}\n"
                    "  for i = 1, 1730 do keep[i] = ('x'):rep(480) end\n"
                    "  for i = 1, 30 do\n"
                    "    task.spawn(function() return ('x'):rep(300000) end)\n"
                    "  end\n"
                    "end");
    peer_say(peer_open(&st, "/"), "spawn");
    stage_turns(&st, 3);
    stage_write(&st, "main.lua", "");
    assert_int_equal(stage_reload(&st), 0);
    UNTIL(&st, list_is_empty(&st.app->draining));
    assert_logged(&st, "what the app keeps leaves its events no memory");
    assert_false(st.app->restart.is_down);
    stage_fini(&st);
}

static void note_stopped(void *arg)
{
    *(bool *)arg = true;
}

/* Their last words were queued, and nobody is there to hear them any more. */
static void who_has_gone_before_it_dies_does_not_hold_up_the_stop(void **state)
{
    (void)state;
    struct stage st;
    bool is_stopped = false;
    stage_init(&st);
    stage_write(&st, "app.conf.lua", "return { limits = { cpu = '20ms' } }");
    stage_open(&st, "function on_close() " DIES " end");
    struct peer *peers[8];
    for (int i = 0; i < 8; i++) {
        peers[i] = peer_open(&st, "/");
    }
    app_stop(st.app, "shutdown", note_stopped, &is_stopped);
    UNTIL(&st, is_stopped);
    for (int i = 0; i < 7; i++) {
        peer_cut(peers[i]);
    }
    UNTIL(&st, st.app->restart.is_down);
    UNTIL(&st, st.app->client_count == 1);
    peer_cut(peers[7]);
    UNTIL(&st, st.app->client_count == 0);
    assert_int_equal(app_generation(st.app), 1);
    stage_fini(&st);
}

/* Nor who waits to come in, nor whose handler waits in an old generation. */
static void who_waits_while_it_is_down_does_not_hold_up_the_stop(void **state)
{
    (void)state;
    struct stage st;
    bool is_stopped = false;
    stage_init(&st);
    stage_write(&st, "app.conf.lua", "return { limits = { cpu = '20ms' } }");
    stage_open(&st, APP "function on_connect() return { data = {} } end");
    struct peer *a = peer_open(&st, "/");
    struct peer *b = peer_open(&st, "/");
    struct peer *c = peer_open(&st, "/");
    peer_say(b, "wait");
    stage_turns(&st, 3);
    stage_write(&st, "main.lua",
        APP "function on_connect() return { data = {} } end -- two");
    assert_int_equal(stage_reload(&st), 0);
    peer_cut(b); /* its on_close waits for its handler */
    let_it_die(&st, a);
    struct peer *d = peer_ask(&st, "/", "");
    UNTIL(&st, app_client_count(st.app) == 4);
    app_stop(st.app, "shutdown", note_stopped, &is_stopped);
    UNTIL(&st, is_stopped);
    UNTIL(&st, d->status != 0);
    assert_int_equal(d->status, 503);
    uint64_t begun_ms = loop_now_ms(st.loop);
    peer_cut(a);
    peer_cut(c);
    UNTIL(&st, app_client_count(st.app) == 0);
    assert_true(loop_now_ms(st.loop) - begun_ms < 1000);
    assert_int_equal(stage_logged(&st, "client.data is lost"), 0);
    stage_fini(&st);
}

static void an_app_can_be_closed_while_it_begins_anew(void **state)
{
    (void)state;
    struct stage st;
    start(&st);
    struct peer *a = peer_open(&st, "/");
    let_it_die(&st, a);
    stage_fini(&st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_comes_while_it_is_down_is_new_and_opened_once),
        cmocka_unit_test(
            who_comes_says_something_and_goes_while_it_is_down_is_heard),
        cmocka_unit_test(who_goes_while_it_is_down_is_not_heard_of),
        cmocka_unit_test(who_goes_with_an_old_handler_is_heard_of_once_more),
        cmocka_unit_test(
            who_goes_while_he_is_on_the_move_is_forgotten_after_that),
        cmocka_unit_test(
            who_is_on_the_move_does_not_keep_it_from_beginning_anew),
        cmocka_unit_test(what_an_old_generation_spawned_dies_with_it),
        cmocka_unit_test(who_has_gone_before_it_dies_does_not_hold_up_the_stop),
        cmocka_unit_test(who_waits_while_it_is_down_does_not_hold_up_the_stop),
        cmocka_unit_test(an_app_can_be_closed_while_it_begins_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

/* Nobody dies where no C function can be stopped. */
int main(void)
{
    return 0;
}

#endif
