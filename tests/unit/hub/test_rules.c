/* test_rules.c -- which rule holds for which room. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "base/limits.h"
#include "base/mem.h"
#include "hub/hub_priv.h"
#include <stdio.h>
#include <string.h>

static struct hub *hub;

static int set_up(void **state)
{
    (void)state;
    struct hub_config config = {.rooms_max = 100, .rooms_per_client = 100};
    hub = hub_new(&config);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hub_free(hub);
    return 0;
}

/* Rules are told apart by their max_clients. */
static int define(const char *pattern, uint32_t mark)
{
    struct room_rule rule = {.max_clients = mark};
    return hub_define(hub, pattern, strlen(pattern), &rule);
}

static uint32_t rule_of(const char *name)
{
    return rules_match(hub, name, strlen(name)).max_clients;
}

static void a_star_matches_what_begins_alike_and_no_star_the_name_itself(
    void **state)
{
    (void)state;
    assert_int_equal(define("cursor/*", 1), 0);
    assert_int_equal(define("lobby", 2), 0);
    assert_int_equal(rule_of("cursor/"), 1);
    assert_int_equal(rule_of("cursor/7"), 1);
    assert_int_equal(rule_of("cursor"), 0);
    assert_int_equal(rule_of("a cursor/7"), 0);
    assert_int_equal(rule_of("lobby"), 2);
    assert_int_equal(rule_of("lobby2"), 0);
    assert_int_equal(rule_of("lobb"), 0);
    assert_int_equal(rule_of(""), 0);
}

static void a_star_inside_a_pattern_is_a_star(void **state)
{
    (void)state;
    assert_int_equal(define("a*b", 1), 0);
    assert_int_equal(define("**", 2), 0);
    assert_int_equal(rule_of("a*b"), 1);
    assert_int_equal(rule_of("axb"), 0);
    assert_int_equal(rule_of("*x"), 2);
}

static void of_many_that_match_the_first_defined_holds(void **state)
{
    (void)state;
    assert_int_equal(define("a/b", 1), 0);
    assert_int_equal(define("a/*", 2), 0);
    assert_int_equal(define("*", 3), 0);
    assert_int_equal(define("a/c", 4), 0);
    assert_int_equal(rule_of("a/b"), 1);
    assert_int_equal(rule_of("a/c"), 2);
    assert_int_equal(rule_of("b"), 3);
    assert_int_equal(rule_of(""), 3);
}

static void the_same_pattern_again_replaces_its_rule_in_its_place(void **state)
{
    (void)state;
    assert_int_equal(define("a/*", 1), 0);
    assert_int_equal(define("a/", 5), 0);
    assert_int_equal(define("*", 2), 0);
    assert_int_equal(define("a/*", 3), 0);
    assert_int_equal(rule_of("a/x"), 3);
    assert_int_equal(hub->rule_count, 3);
}

static void a_room_keeps_the_rule_it_was_made_with(void **state)
{
    (void)state;
    struct member m[3] = {0};
    for (uint32_t i = 0; i < 3; i++) {
        struct conn_id conn = {0, i, 1};
        assert_int_equal(hub_enter(hub, &m[i], i + 1, conn, NULL, 0), 0);
    }
    assert_int_equal(define("a", 2), 0);
    assert_int_equal(hub_join(&m[0], "a", 1), 0);
    hub_clear_rules(hub);
    assert_int_equal(define("a", 1), 0);
    assert_int_equal(hub_join(&m[1], "a", 1), 0);
    assert_int_equal(hub_join(&m[2], "a", 1), ERR_FULL);
    assert_true(hub_part(&m[0], "a", 1));
    assert_true(hub_part(&m[1], "a", 1));
    assert_int_equal(hub_join(&m[0], "a", 1), 0);
    assert_int_equal(hub_join(&m[1], "a", 1), ERR_FULL);
    for (size_t i = 0; i < 3; i++) {
        hub_leave(&m[i]);
    }
}

static void so_many_rules_and_no_more(void **state)
{
    (void)state;
    char name[16];
    for (uint32_t i = 0; i < LIMIT_ROOM_RULES; i++) {
        snprintf(name, sizeof(name), "r%u", (unsigned)i);
        assert_int_equal(define(name, i + 1), 0);
    }
    assert_int_equal(define("one more", 1), ERR_QUOTA);
    assert_int_equal(define("r5", 99), 0);
    assert_int_equal(rule_of("r5"), 99);
    hub_clear_rules(hub);
    assert_int_equal(rule_of("r5"), 0);
    assert_int_equal(define("one more", 1), 0);
}

static void a_definition_without_memory_changes_nothing(void **state)
{
    (void)state;
    int failures = 0;
    char name[16];
    for (uint32_t i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "r%u", (unsigned)i);
        for (uint64_t n = 1;; n++) {
            mem_fail_at(n);
            int rc = define(name, i + 1);
            mem_fail_at(0);
            if (rc == 0) {
                break;
            }
            failures++;
            assert_int_equal(rc, ERR_NOMEM);
            assert_int_equal(hub->rule_count, i);
            assert_int_equal(rule_of(name), 0);
        }
    }
    assert_int_equal(failures, 10);
    assert_int_equal(rule_of("r4"), 5);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_star_matches_what_begins_alike_and_no_star_the_name_itself),
        T(a_star_inside_a_pattern_is_a_star),
        T(of_many_that_match_the_first_defined_holds),
        T(the_same_pattern_again_replaces_its_rule_in_its_place),
        T(a_room_keeps_the_rule_it_was_made_with),
        T(so_many_rules_and_no_more),
        T(a_definition_without_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
