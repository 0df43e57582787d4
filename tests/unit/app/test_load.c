/* Loads that take long: the neighbours, and the app itself, go on meanwhile. */
#include "loop/watch.h"
#include "script/preempt_priv.h"
#include "stage.h"

#define ECHO "function on_message(c, m) c:send(app.generation .. m) end\n"
#define LONG "local x for i = 1, 3000000 do x = { i } end\n"

struct pair {
    struct stage st; /* with the app that loads */
    struct app *victim;
    struct peer *other; /* of the victim */
};

static void start_pair(struct pair *p, const char *main_lua)
{
    stage_start(&p->st, ECHO);
    p->victim = p->st.app;
    p->other = peer_open(&p->st, "/");
    if (main_lua != NULL) {
        stage_open(&p->st, main_lua);
    }
}

static void end_pair(struct pair *p)
{
    if (p->st.app != p->victim) {
        net_kill_all(p->st.conn_net, true);
        UNTIL(&p->st, app_client_count(p->victim) == 0 &&
                          app_client_count(p->st.app) == 0);
        stage_turns(&p->st, 3);
        app_close(p->victim);
    }
    stage_fini(&p->st);
}

static void expect_words(
    struct stage *st, struct peer *p, const char *ask, const char *words)
{
    (void)peer_take(p);
    p->messages = 0;
    peer_say(p, ask);
    UNTIL(st, p->messages > 0);
    assert_string_equal(peer_take(p), words);
}

/* How often the victim answers until there is nothing to load any more. */
static int answers_while_loading(struct pair *p)
{
    int n = 0;

    while (reload_has_work(p->st.app)) {
        expect_words(&p->st, p->other, "x", "1x");
        n++;
    }
    return n;
}

static void opening_takes_long_and_others_are_served(void **state)
{
    (void)state;
    struct pair p;
    struct stage_opening o = {.stage = &p.st};
    start_pair(&p, NULL);
    stage_write(&p.st, "main.lua",
        LONG ECHO "function on_start() print('started') end");
    struct app_config config = stage_config(&p.st);
    p.st.app = app_open(&config, stage_on_opened, &o);
    assert_false(o.is_over);
    assert_true(answers_while_loading(&p) >= 5);
    UNTIL(&p.st, o.is_over);
    assert_int_equal(o.rc, 0);
    UNTIL(&p.st, stage_logged(&p.st, "started") == 1);
    end_pair(&p);
}

static void an_app_that_never_opens_is_told_of(void **state)
{
    (void)state;
    struct pair p;
    struct stage_opening o = {.stage = &p.st};
    start_pair(&p, NULL);
    stage_write(&p.st, "main.lua", "while true do end");
    struct app_config config = stage_config(&p.st);
    p.st.app = app_open(&config, stage_on_opened, &o);
    assert_true(answers_while_loading(&p) >= 5);
    UNTIL(&p.st, o.is_over);
    assert_true(o.rc < 0);
    assert_contains(p.st.why, "of CPU");
    app_close(p.st.app);
    p.st.app = p.victim;
    end_pair(&p);
}

static void the_log_says_of_what_kind_the_failure_was(void **state)
{
    (void)state;
    static const struct {
        const char *kind;
        const char *code;
    } ends[] = {
        {"kind=error", "error('x')"},
        {"kind=memory", "local t = {} for i = 1, 1e9 do t[i] = {} end"},
        {"kind=cpu", "while true do end"},
#if !PREEMPT_HOOK
        {"kind=cpu", "string.find(string.rep('a', 5000), '.-.-.-.-b')"},
#endif
    };
    struct pair p;
    start_pair(&p, ECHO);
    stage_write(
        &p.st, "app.conf.lua", "return { limits = { load_cpu = '200ms' } }");
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        int before = stage_logged(&p.st, ends[i].kind);
        uint64_t kills = metric_get(loop_metrics(p.st.loop), METRIC_KILLS);
        stage_write(&p.st, "main.lua", ends[i].code);
        assert_int_equal(app_reload(p.st.app) > 0, 0);
        (void)answers_while_loading(&p);
        assert_true(p.st.app->load_rc < 0);
        assert_int_equal(stage_logged(&p.st, ends[i].kind), before + 1);
        /* An error is no kill. */
        kills = metric_get(loop_metrics(p.st.loop), METRIC_KILLS) - kills;
        assert_int_equal(kills, i > 0);
    }
    assert_int_equal(app_kills(p.st.app), ARRAY_LEN(ends) - 1);
    end_pair(&p);
}

static void settings_that_never_end_stop_nobody(void **state)
{
    (void)state;
    struct pair p;
    start_pair(&p, ECHO "-- the second\n");
    stage_write(&p.st, "app.conf.lua",
        "local s = 'x' for i = 1, 18 do s = s .. s end\n"
        "local t while true do t = s .. s .. #s end");
    assert_int_equal(app_reload(p.st.app), 0);
    assert_true(answers_while_loading(&p) >= 5);
    assert_true(p.st.app->load_rc < 0);
    assert_logged(&p.st, "reload failed, generation 1 goes on: ");
    assert_int_equal(app_kills(p.st.app), 1);
    end_pair(&p);
}

static void the_old_generation_serves_while_the_new_one_loads(void **state)
{
    (void)state;
    struct pair p;
    start_pair(&p, ECHO "-- the second\n");
    struct peer *a = peer_open(&p.st, "/");
    stage_write(&p.st, "main.lua", LONG ECHO);
    assert_int_equal(app_reload(p.st.app), 0);
    int n = 0;
    while (reload_has_work(p.st.app)) {
        (void)peer_take(a);
        a->messages = 0;
        peer_say(a, "y");
        UNTIL(&p.st, a->messages > 0);
        n++;
    }
    assert_true(n >= 5);
    assert_int_equal(app_generation(p.st.app), 2);
    expect_words(&p.st, a, "z", "2z");
    end_pair(&p);
}

/* The first load has failed, and nobody has been told yet. */
static void a_file_that_changes_behind_the_first_load_is_loaded(void **state)
{
    (void)state;
    struct stage st;
    struct stage_opening o = {.stage = &st};
    stage_init(&st);
    stage_write(&st, "main.lua", "error('mended soon')");
    struct app_config config = stage_config(&st);
    st.app = app_open(&config, stage_on_opened, &o);
    assert_null(st.app->load);
    assert_false(o.is_over);
    stage_write(&st, "main.lua", ECHO);
    assert_int_equal(app_reload(st.app), 0);
    while (!o.is_over) {
        stage_turn(&st, 10);
    }
    assert_int_equal(o.rc, 0);
    assert_string_equal(st.why, "");
    struct peer *a = peer_open(&st, "/");
    expect_words(&st, a, "x", "1x");
    stage_fini(&st);
}

static void note_change(void *arg)
{
    *(bool *)arg = true;
}

/* What a watch has seen, and not told yet, is told to who has it then. */
static void a_watch_outlives_an_app_that_does_not_open(void **state)
{
    (void)state;
    struct stage st;
    struct stage_opening o = {.stage = &st};
    stage_init(&st);
    stage_write(&st, "main.lua", "error('mended soon')");
    struct app_config config = stage_config(&st);
    config.watch = true;
    st.app = app_open(&config, stage_on_opened, &o);
    stage_write(&st, "main.lua", ECHO);
    while (!o.is_over) {
        stage_turn(&st, 10);
    }
    assert_int_not_equal(o.rc, 0);
    struct watch *w = app_take_watch(st.app);
    bool has_changed = false;
    assert_non_null(w);
    watch_hand_on(w, note_change, &has_changed);
    app_close(st.app);
    st.app = NULL;
    UNTIL(&st, has_changed);
    watch_free(w);
    stage_fini(&st);
}

static void files_that_change_during_a_load_are_loaded_next(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, ECHO);
    struct peer *a = peer_open(&st, "/");
    stage_write(&st, "main.lua", LONG "error('mended soon')");
    assert_int_equal(app_reload(st.app), 0);
    stage_write(&st, "main.lua", ECHO "-- mended");
    assert_int_equal(app_reload(st.app), 0);
    UNTIL(&st, app_generation(st.app) == 2);
    assert_logged(&st, "mended soon");
    expect_words(&st, a, "x", "2x");
    stage_fini(&st);
}

static void an_app_can_be_closed_while_it_loads(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, ECHO);
    stage_write(&st, "main.lua", LONG ECHO);
    assert_int_equal(app_reload(st.app), 0);
    assert_true(reload_has_work(st.app));
    stage_close_app(&st);
    struct stage_opening o = {.stage = &st};
    struct app_config config = stage_config(&st);
    st.app = app_open(&config, stage_on_opened, &o);
    assert_true(reload_has_work(st.app));
    app_close(st.app);
    st.app = NULL;
    stage_turns(&st, 3);
    assert_false(o.is_over);
    stage_fini(&st);
}

#if !PREEMPT_HOOK
/* A state that died begins anew slice by slice, too, and if a better version
 * is on its way that one will do. */
static void a_restart_takes_long_and_others_are_served(void **state)
{
    (void)state;
    struct pair p;
    stage_init(&p.st);
    stage_write(&p.st, "app.conf.lua", "return { limits = { cpu = '20ms' } }");
    stage_open(&p.st, ECHO);
    p.victim = p.st.app;
    p.other = peer_open(&p.st, "/");
    stage_open(&p.st,
        LONG "function on_message(c, m)\n"
             "  string.find(string.rep('a', 5000), '.-.-.-.-b')\n"
             "end\n"
             "function on_open(c) c:send(tostring(c.restored)) end");
    struct peer *a = peer_open(&p.st, "/");
    UNTIL(&p.st, a->messages == 1);
    peer_say(a, "die");
    UNTIL(&p.st, p.st.app->load != NULL);
    assert_true(p.st.app->restart.is_down);
    assert_true(answers_while_loading(&p) >= 5);
    UNTIL(&p.st, a->messages == 2);
    assert_string_equal(peer_take(a), "false true");
    peer_say(a, "die");
    UNTIL(&p.st, p.st.app->load != NULL);
    stage_write(&p.st, "main.lua", ECHO);
    assert_int_equal(app_reload(p.st.app), 0);
    UNTIL(&p.st, app_generation(p.st.app) == 4);
    (void)peer_take(a);
    expect_words(&p.st, a, "x", "4x");
    end_pair(&p);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_takes_long_and_others_are_served),
        cmocka_unit_test(an_app_that_never_opens_is_told_of),
        cmocka_unit_test(the_log_says_of_what_kind_the_failure_was),
        cmocka_unit_test(settings_that_never_end_stop_nobody),
        cmocka_unit_test(the_old_generation_serves_while_the_new_one_loads),
        cmocka_unit_test(a_file_that_changes_behind_the_first_load_is_loaded),
        cmocka_unit_test(a_watch_outlives_an_app_that_does_not_open),
        cmocka_unit_test(files_that_change_during_a_load_are_loaded_next),
        cmocka_unit_test(an_app_can_be_closed_while_it_loads),
#if !PREEMPT_HOOK
        cmocka_unit_test(a_restart_takes_long_and_others_are_served),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
