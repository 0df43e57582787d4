/* How many lines an app, and what fails in it, put into the log. */
#include "app/app_priv.h"
#include "stage.h"

#define TALKER                                                                 \
    "failures = 0\n"                                                           \
    "function on_message(c, m)\n"                                              \
    "  if m == 'fail' then error('on purpose') end\n"                          \
    "  if m == 'talk' then for i = 1, 150 do print('line', i) end end\n"       \
    "  c:send(m)\n"                                                            \
    "end\n"

static uint64_t metric(const struct stage *st, enum metric m)
{
    return metric_get(loop_metrics(st->loop), m);
}

/* All within a second, or none of this could be told. */
static void fail_often(struct stage *st, struct peer *p, unsigned times)
{
    uint64_t before = metric(st, METRIC_HANDLER_ERRORS);
    for (unsigned i = 0; i < times; i++) {
        peer_say(p, "fail");
    }
    UNTIL(st, metric(st, METRIC_HANDLER_ERRORS) == before + times);
}

static void failures_have_so_many_lines_a_second(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, TALKER);
    struct peer *p = peer_open(&st, "/");
    fail_often(&st, p, 60);
    assert_int_equal(
        stage_logged(&st, "on purpose"), LIMIT_FAILURE_LINES_PER_S);
    assert_int_equal(
        metric(&st, METRIC_LOG_DROPPED), 60 - LIMIT_FAILURE_LINES_PER_S);
    assert_int_equal(stage_logged(&st, "more lines"), 0);
    UNTIL(&st, stage_logged(&st, "more lines") == 1);
    assert_logged(
        &st, "event=log] 40 more lines of failures were dropped: over 20 a");
    /* The next second has lines of its own. */
    fail_often(&st, p, 1);
    assert_int_equal(
        stage_logged(&st, "on purpose"), LIMIT_FAILURE_LINES_PER_S + 1);
    peer_say(p, "still");
    UNTIL(&st, peer_has(p, "still"));
    stage_fini(&st);
}

static void an_app_has_lines_of_its_own(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, TALKER);
    struct peer *p = peer_open(&st, "/");
    peer_say(p, "talk");
    UNTIL(&st, peer_has(p, "talk"));
    assert_int_equal(
        stage_logged(&st, "event=log] line"), LIMIT_APP_LOG_LINES_PER_S);
    fail_often(&st, p, 1); /* who talks too much hides no failure */
    assert_int_equal(stage_logged(&st, "on purpose"), 1);
    UNTIL(&st, stage_logged(&st, "more lines") == 1);
    assert_logged(&st, "50 more lines of its own were dropped: over 100 a");
    stage_fini(&st);
}

static void what_was_dropped_is_said_at_the_end_at_the_latest(void **state)
{
    (void)state;
    struct stage st;
    stage_start(&st, TALKER);
    struct peer *p = peer_open(&st, "/");
    fail_often(&st, p, 21);
    assert_int_equal(stage_logged(&st, "more lines"), 0);
    stage_close_app(&st);
    assert_logged(&st, "1 more lines of failures were dropped");
    stage_fini(&st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_have_so_many_lines_a_second),
        cmocka_unit_test(an_app_has_lines_of_its_own),
        cmocka_unit_test(what_was_dropped_is_said_at_the_end_at_the_latest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
