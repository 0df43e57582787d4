/* test_hub.c -- coming and going, users, and what is left after a failure. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "base/mem.h"
#include "hub/hub_priv.h"
#include "support/walks.h"
#include <stdio.h>
#include <string.h>

#define MEMBERS 40

static struct hub *hub;
static struct member members[MEMBERS];

static int set_up(void **state)
{
    (void)state;
    struct hub_config config = {.rooms_max = 100, .rooms_per_client = 10};
    hub = hub_new(&config);
    memset(members, 0, sizeof(members));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mem_fail_at(0);
    for (size_t i = 0; i < MEMBERS; i++) {
        hub_leave(&members[i]);
    }
    hub_free(hub);
    return 0;
}

static int try_enter(size_t i, const char *user)
{
    struct conn_id conn = {0, (uint32_t)i, 1};
    return hub_enter(
        hub, &members[i], i + 1, conn, user, user == NULL ? 0 : strlen(user));
}

static void enter(size_t i, const char *user)
{
    assert_int_equal(try_enter(i, user), 0);
}

static void a_client_is_found_from_enter_to_leave(void **state)
{
    (void)state;
    assert_null(hub_find(hub, 1));
    enter(0, NULL);
    assert_ptr_equal(hub_find(hub, 1), &members[0]);
    assert_int_equal(hub_count(hub), 1);
    hub_leave(&members[0]);
    assert_null(hub_find(hub, 1));
    assert_int_equal(hub_count(hub), 0);
}

static void leaving_twice_is_harmless(void **state)
{
    (void)state;
    enter(0, "ada");
    enter(1, NULL);
    hub_leave(&members[0]);
    hub_leave(&members[0]);
    assert_int_equal(hub_count(hub), 1);
}

static void a_client_may_come_back(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        enter(0, "ada");
        assert_int_equal(hub_join(&members[0], "a", 1), 0);
        hub_leave(&members[0]);
        assert_null(hub_room(hub, "a", 1));
    }
}

static void the_idle_have_no_memberships_on_the_heap(void **state)
{
    (void)state;
    enter(0, NULL);
    assert_ptr_equal(members[0].rooms, &members[0].first);
    assert_int_equal(sizeof(members[0].rooms[0]), 8);
    assert_int_equal(hub_join(&members[0], "a", 1), 0);
    assert_ptr_not_equal(members[0].rooms, &members[0].first);
    assert_true(hub_part(&members[0], "a", 1));
    assert_ptr_equal(members[0].rooms, &members[0].first);
}

static void a_user_has_his_clients_in_the_order_they_came(void **state)
{
    (void)state;
    uint64_t ids[4] = {0};
    enter(3, "ada");
    enter(1, "bob");
    enter(2, "ada");
    enter(0, NULL);
    assert_int_equal(user_ids(hub, "ada", 3, ids, 4), 2);
    assert_int_equal(ids[0], 4);
    assert_int_equal(ids[1], 3);
    assert_int_equal(user_ids(hub, "ada", 3, ids, 1), 1);
    hub_leave(&members[3]);
    assert_int_equal(user_ids(hub, "ada", 3, ids, 4), 1);
    assert_int_equal(ids[0], 3);
    hub_leave(&members[2]);
    assert_int_equal(user_ids(hub, "ada", 3, ids, 4), 0);
    assert_int_equal(user_ids(hub, "bob", 3, ids, 4), 1);
    assert_int_equal(user_ids(hub, "bo", 2, ids, 4), 0);
    assert_int_equal(hub->users.count, 1);
}

static void a_member_knows_its_user_and_the_anonymous_have_none(void **state)
{
    (void)state;
    size_t len = 99;
    struct conn_id conn = {0, 0, 1};
    assert_int_equal(hub_enter(hub, &members[0], 1, conn, "a\0b", 3), 0);
    assert_memory_equal(member_user(&members[0], &len), "a\0b", 3);
    assert_int_equal(len, 3);
    enter(1, NULL);
    assert_null(member_user(&members[1], &len));
    assert_int_equal(len, 0);
}

/* Fails the 1st, 2nd, 3rd... allocation of entering as member i, until it
 * goes through; nothing may have changed by a failure. */
static int torture_enter(size_t i, const char *user)
{
    uint64_t ids[MEMBERS];
    int failures = 0;
    uint32_t count = hub_count(hub);
    uint32_t users = hub->users.count;
    size_t same =
        user == NULL ? 0 : user_ids(hub, user, strlen(user), ids, MEMBERS);
    for (uint64_t n = 1;; n++) {
        mem_fail_at(n);
        int rc = try_enter(i, user);
        mem_fail_at(0);
        if (rc == 0) {
            return failures;
        }
        failures++;
        assert_int_equal(rc, ERR_NOMEM);
        assert_null(members[i].hub);
        assert_null(hub_find(hub, i + 1));
        assert_int_equal(hub_count(hub), count);
        assert_int_equal(hub->users.count, users);
        if (user != NULL) {
            assert_int_equal(
                user_ids(hub, user, strlen(user), ids, MEMBERS), same);
        }
    }
}

static void an_enter_without_memory_changes_nothing(void **state)
{
    (void)state;
    int failures = 0;
    for (size_t i = 0; i < MEMBERS; i++) {
        char user[8];
        snprintf(user, sizeof(user), "u%u", (unsigned)i / 4);
        failures += torture_enter(i, i % 3 == 2 ? NULL : user);
    }
    assert_true(failures > 8);
    assert_int_equal(hub_count(hub), MEMBERS);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_client_is_found_from_enter_to_leave),
        T(leaving_twice_is_harmless),
        T(a_client_may_come_back),
        T(the_idle_have_no_memberships_on_the_heap),
        T(a_user_has_his_clients_in_the_order_they_came),
        T(a_member_knows_its_user_and_the_anonymous_have_none),
        T(an_enter_without_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
