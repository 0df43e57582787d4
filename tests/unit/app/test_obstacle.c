/* client.data that cannot be carried over: whose it is, and what becomes of
 * the reload. */
#include "script/task_priv.h"
#include "stage.h"

#define SPOILER                                                                \
    "print('loaded')\n"                                                        \
    "function on_message(c, m)\n"                                              \
    "  c.data.f = m == 'spoil' and print or nil\n"                             \
    "  if m == 'crowd' then\n"                                                 \
    "    c.data.f = print\n"                                                   \
    "    for i = 1, 16 do task.spawn(sleep, 0.3) end\n"                        \
    "  end\n"                                                                  \
    "  c:send('gen' .. app.generation)\n"                                      \
    "end\n"                                                                    \
    "function on_close(c)\n"                                                   \
    "  print(('gen%d sees a %s'):format(app.generation, type(c.data.f)))\n"    \
    "end\n"

static struct peer *open_and_say(struct stage *st, const char *word)
{
    struct peer *p = peer_open(st, "/");
    peer_say(p, word);
    UNTIL(st, p->messages == 1);
    return p;
}

/* The end of the n-th client there is, and no turn for its on_close. */
static void end_client(struct stage *st, int n)
{
    struct list *node = st->app->client_list.next;
    while (n-- > 0) {
        node = node->next;
    }
    struct client *cl = container_of(node, struct client, node);
    struct conn *c = net_find(st->app->net, cl->member.conn);
    if (c != NULL) {
        conn_kill(c, true);
    } else {
        client_ended(cl, 1006, "", 0);
    }
}

static void begin_reload(struct stage *st, const char *main_lua)
{
    stage_write(st, "main.lua", main_lua);
    assert_int_equal(app_reload(st->app), 0);
}

static void fail_to_reload(struct stage *st, const char *main_lua)
{
    stage_write(st, "main.lua", main_lua);
    assert_true(stage_reload(st) < 0);
    assert_int_equal(app_generation(st->app), 1);
}

static void who_has_gone_is_waited_for(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, SPOILER);
    for (int i = 0; i < 4; i++) {
        (void)open_and_say(&st, i < 3 ? "spoil" : "mend");
    }
    for (int i = 0; i < 3; i++) {
        end_client(&st, i);
    }
    assert_int_equal(stage_logged(&st, "sees"), 0);
    begin_reload(&st, SPOILER "-- two");
    UNTIL(&st, app_generation(st.app) == 2);
    assert_int_equal(stage_logged(&st, "gen1 sees a function"), 3);
    assert_int_equal(stage_logged(&st, "reload failed"), 0);
    assert_int_equal(stage_logged(&st, "loaded\n"), 2);
    assert_int_equal(
        metric_get(loop_metrics(st.loop), METRIC_RELOADS_FAILED), 0);
    stage_fini(&st);
}

/* Its on_close finds no task; the reload may be what would change that. */
static void who_has_gone_is_not_waited_for_without_end(void **state)
{
    (void)state;
    struct stage st;
    stage_init(&st);
    stage_write(&st, "app.conf.lua", "return { limits = { tasks = 16 } }");
    stage_open(&st, SPOILER);
    (void)open_and_say(&st, "crowd");
    end_client(&st, 0);
    st.app->drain_old_ms = 20;
    begin_reload(&st, SPOILER "-- two");
    UNTIL(&st, stage_logged(&st, "reload failed") == 1);
    assert_logged(&st, "generation 1 goes on: client 1: client.data.f is a");
    assert_int_equal(app_generation(st.app), 1);
    /* And when it has found one: */
    UNTIL(&st, app_generation(st.app) == 2);
    assert_logged(&st, "gen1 sees a function");
    stage_fini(&st);
}

static void on_stopped(void *arg)
{
    *(bool *)arg = true;
}

static void while_it_is_waited_for_the_app_may_die_stop_and_change(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        struct stage st;
        stage_init(&st);
        stage_write(&st, "app.conf.lua", "return { limits = { tasks = 16 } }");
        stage_open(&st, SPOILER);
        (void)open_and_say(&st, "crowd");
        end_client(&st, 0);
        begin_reload(&st, SPOILER "-- two");
        UNTIL(&st, st.app->fresh != NULL && !reload_has_work(st.app));
        switch (how) {
        case 0:
            kill_vm(st.app->live->vm, VM_END_CRASH, "a test");
            restart_after_death(st.app->live, NULL);
            UNTIL(&st, app_generation(st.app) == 2);
            break;
        case 1: {
            bool is_stopped = false;
            app_stop(st.app, "test", on_stopped, &is_stopped);
            UNTIL(&st, is_stopped);
            break;
        }
        case 2:
            stage_write(&st, "main.lua", SPOILER "-- three");
            assert_int_equal(app_reload(st.app), 0);
            UNTIL(&st, app_generation(st.app) == 3);
            assert_int_equal(stage_logged(&st, "reload failed"), 0);
            break;
        default: break;
        }
        stage_fini(&st);
    }
}

static void it_is_tried_again_when_the_data_is_mended(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, SPOILER);
    struct peer *p = open_and_say(&st, "spoil");
    fail_to_reload(&st, SPOILER "-- two");
    /* Looked at some times, with no load and no word in the log. */
    stage_pass(&st, LIMIT_OBSTACLE_MS * 4);
    assert_int_equal(app_generation(st.app), 1);
    assert_int_equal(stage_logged(&st, "loaded\n"), 2);
    assert_int_equal(stage_logged(&st, "reload failed"), 1);
    peer_say(p, "mend");
    UNTIL(&st, app_generation(st.app) == 2);
    assert_int_equal(stage_logged(&st, "loaded\n"), 3);
    assert_int_equal(stage_logged(&st, "reload failed"), 1);
    stage_fini(&st);
}

static void it_is_tried_again_when_the_client_has_gone(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, SPOILER);
    struct peer *a = open_and_say(&st, "spoil");
    struct peer *b = open_and_say(&st, "spoil");
    fail_to_reload(&st, SPOILER "-- two");
    peer_cut(a);
    UNTIL(&st, stage_logged(&st, "client 2: client.data.f is a function") == 1);
    assert_int_equal(app_generation(st.app), 1);
    peer_cut(b);
    UNTIL(&st, app_generation(st.app) == 2);
    stage_fini(&st);
}

static void it_is_not_tried_again_when_there_is_nothing_new(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, SPOILER);
    struct peer *p = open_and_say(&st, "spoil");
    fail_to_reload(&st, SPOILER "-- two");
    stage_write(&st, "main.lua", SPOILER);
    assert_int_equal(app_reload(st.app), ERR_CHANGED);
    assert_false(timer_is_started(&st.app->obstacle.timer));
    fail_to_reload(&st, SPOILER "-- two");
    assert_true(timer_is_started(&st.app->obstacle.timer));
    fail_to_reload(&st, "broken(");
    assert_false(timer_is_started(&st.app->obstacle.timer));
    fail_to_reload(&st, SPOILER "-- two");
    peer_say(p, "mend");
    UNTIL(&st, p->messages == 2);
    begin_reload(&st, SPOILER "-- three");
    UNTIL(&st, app_generation(st.app) == 2);
    assert_false(timer_is_started(&st.app->obstacle.timer));
    stage_fini(&st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_gone_is_waited_for),
        cmocka_unit_test(who_has_gone_is_not_waited_for_without_end),
        cmocka_unit_test(
            while_it_is_waited_for_the_app_may_die_stop_and_change),
        cmocka_unit_test(it_is_tried_again_when_the_data_is_mended),
        cmocka_unit_test(it_is_tried_again_when_the_client_has_gone),
        cmocka_unit_test(it_is_not_tried_again_when_there_is_nothing_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
