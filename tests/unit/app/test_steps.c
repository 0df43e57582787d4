/* What an app can have a hundred thousand of is begun, told and dropped a few
 * at a time, so that its loop serves the others in between (I9). */
#include "stage.h"

/* Not fewer than two steps of anything, and no step is longer than that. */
#ifdef MOONWIRE_TINY
#    define CROWD 12
#    define STEP  4
#else
#    define CROWD 300
#    define STEP  256
#endif
#define TIMERS      (5 * STEP)
#define TIMERS_TEXT "for i = 1, %d do timer.after(1000 + i, print) end\n"

static uint32_t length(const struct list *l)
{
    uint32_t n = 0;
    list_each (node, l) {
        n++;
    }
    return n;
}

static void write_timers(struct stage *st, const char *more)
{
    char text[256];
    (void)snprintf(text, sizeof(text), TIMERS_TEXT "%s", TIMERS, more);
    stage_write(st, "main.lua", text);
}

static void timers_of_a_fresh_state_start_some_in_a_turn(void **state)
{
    (void)state;
    struct stage st;
    stage_init(&st);
    write_timers(&st, "");
    stage_open(&st, NULL);
    const struct state *s = st.app->live;
    uint32_t left = length(&s->noted_timers);
    assert_true(left > 0);
    for (int turns = 0; left > 0; turns++) {
        stage_turn(&st, 0);
        uint32_t now = length(&s->noted_timers);
        assert_true(left - now <= STEP);
        left = now;
        assert_true(turns < 1000);
    }
    assert_int_equal(length(&s->timers), TIMERS);
    stage_fini(&st);
}

static void timers_of_an_old_state_go_some_in_a_turn(void **state)
{
    (void)state;
    struct stage st;
    stage_init(&st);
    write_timers(&st, "");
    stage_open(&st, NULL);
    struct state *old = st.app->live;
    stage_write(&st, "main.lua", "print('new')");
    assert_int_equal(stage_reload(&st), 0);
    /* In a turn in which it is still there it has had one step at most. */
    uint32_t left = TIMERS;
    for (int turns = 0; !list_is_empty(&st.app->draining); turns++) {
        assert_true(left - old->timer_count <= STEP);
        left = old->timer_count;
        stage_turn(&st, 0);
        assert_true(turns < 1000);
    }
    assert_true(left <= STEP);
    assert_int_equal(stage_logged(&st, "new"), 1);
    stage_fini(&st);
}

/* All are due, and wait for a task: none is free. */
static void calls_of_an_old_state_go_some_in_a_turn(void **state)
{
    (void)state;
    struct stage st;
    char text[256];
    stage_init(&st);
    (void)snprintf(text, sizeof(text),
        "function on_message(c, m)\n"
        "  for i = 1, 15 do task.spawn(sleep, 1000) end\n"
        "  for i = 1, %d do timer.after(0.001, print) end\n"
        "  sleep(1000)\n"
        "end\n",
        TIMERS);
    stage_write(&st, "app.conf.lua", "return { limits = { tasks = 16 } }");
    stage_open(&st, text);
    peer_say(peer_open(&st, "/"), "go");
    struct state *old = st.app->live;
    UNTIL(&st, old->calls == TIMERS + 15 && st.app->stopped == NULL);
    st.app->drain_old_ms = 100000;
    stage_write(&st, "main.lua", "print('new')");
    assert_int_equal(stage_reload(&st), 0);
    timer_start(st.loop, &old->drain_timer, 0);
    uint32_t left = TIMERS + 15;
    for (int turns = 0; !list_is_empty(&st.app->draining); turns++) {
        assert_true(left - old->calls <= STEP);
        left = old->calls;
        stage_turn(&st, 0);
        assert_true(turns < 1000);
    }
    assert_true(left <= STEP);
    stage_fini(&st);
}

static void open_crowd(struct stage *st)
{
    for (int i = 0; i < CROWD; i++) {
        (void)peer_open(st, "/");
    }
    assert_int_equal(st->app->client_count, CROWD);
}

static uint32_t closed_clients(const struct stage *st)
{
    uint32_t n = 0;
    list_each (node, &st->app->client_list) {
        n += container_of(node, struct client, node)->is_closed;
    }
    return n + CROWD - st->app->client_count;
}

static void clients_are_closed_some_in_a_turn(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_close(c) end");
    open_crowd(&st);
    app_close_clients(st.app, 1001, "go", 0);
    uint32_t done = closed_clients(&st);
    assert_true(done > 0 && done <= STEP);
    for (int turns = 0; done < CROWD; turns++) {
        stage_turn(&st, 0);
        assert_true(closed_clients(&st) - done <= STEP);
        done = closed_clients(&st);
        assert_true(turns < 1000);
    }
    UNTIL(&st, st.app->client_count == 0);
    stage_fini(&st);
}

#ifndef STAGE_FAR

static void who_goes_while_it_is_down_is_forgotten_some_in_a_turn(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_close(c) print('heard') end");
    open_crowd(&st);
    vm_give_up(st.app->live->vm, "for the test");
    restart_after_death(st.app->live, NULL);
    timer_stop(&st.app->restart.timer); /* for now */
    list_each_safe (node, &st.app->client_list) {
        struct client *cl = container_of(node, struct client, node);
        conn_kill(net_find(st.net, cl->member.conn), false);
    }
    uint32_t left = CROWD;
    assert_int_equal(st.app->client_count, CROWD);
    for (int turns = 0; left > 0; turns++) {
        stage_turn(&st, 0);
        assert_true(left - st.app->client_count <= STEP);
        left = st.app->client_count;
        assert_true(turns < 1000);
    }
    timer_start(st.loop, &st.app->restart.timer, 0);
    UNTIL(&st, !st.app->restart.is_down && !reload_has_work(st.app));
    assert_int_equal(stage_logged(&st, "heard"), 0);
    stage_fini(&st);
}

static void readers_are_resumed_some_in_a_turn(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_message(c) end");
    open_crowd(&st);
    list_each (node, &st.app->client_list) {
        struct client *cl = container_of(node, struct client, node);
        cl->is_paused = true;
        list_push_tail(&st.app->inbox.paused, &cl->pause_node);
    }
    inbox_resume_readers(st.app, NULL);
    uint32_t left = length(&st.app->inbox.paused);
    assert_true(left < CROWD && CROWD - left <= STEP);
    for (int turns = 0; left > 0; turns++) {
        stage_turn(&st, 0);
        assert_true(left - length(&st.app->inbox.paused) <= STEP);
        left = length(&st.app->inbox.paused);
        assert_true(turns < 1000);
    }
    stage_fini(&st);
}

#else

static uint32_t told(const struct branch *b)
{
    uint32_t n = 0;
    list_each (node, &b->guests) {
        n += container_of(node, struct guest, node)->settings_seen ==
             b->settings_count;
    }
    return n;
}

static void guests_hear_of_new_settings_some_in_a_turn(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, "function on_message(c) end");
    open_crowd(&st);
    const struct branch *b = st.app->branches[1];
    uint32_t count = b->settings_count;
    uint32_t before = CROWD;
    stage_write(&st, "main.lua", "print('two')");
    assert_int_equal(stage_reload(&st), 0);
    for (int turns = 0; b->settings_count == count || before < CROWD; turns++) {
        before = b->settings_count == count ? 0 : before;
        loop_turn(st.far_loop, 0);
        assert_true(b->settings_count == count || told(b) - before <= STEP);
        before = b->settings_count == count ? 0 : told(b);
        loop_turn(st.loop, 0);
        assert_true(turns < 1000);
    }
    stage_fini(&st);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_of_a_fresh_state_start_some_in_a_turn),
        cmocka_unit_test(timers_of_an_old_state_go_some_in_a_turn),
        cmocka_unit_test(calls_of_an_old_state_go_some_in_a_turn),
        cmocka_unit_test(clients_are_closed_some_in_a_turn),
#ifndef STAGE_FAR
        cmocka_unit_test(who_goes_while_it_is_down_is_forgotten_some_in_a_turn),
        cmocka_unit_test(readers_are_resumed_some_in_a_turn),
#else
        cmocka_unit_test(guests_hear_of_new_settings_some_in_a_turn),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
