/* test_member.c -- joining and leaving rooms, and the quotas on that. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "base/mem.h"
#include "hub/hub_priv.h"
#include <stdio.h>
#include <string.h>

#define MEMBERS          40
#define ROOMS_MAX        6
#define ROOMS_PER_CLIENT 4

static struct hub *hub;
static struct member members[MEMBERS];

static int set_up(void **state)
{
    (void)state;
    struct hub_config config = {
        .rooms_max = ROOMS_MAX, .rooms_per_client = ROOMS_PER_CLIENT};
    hub = hub_new(&config);
    memset(members, 0, sizeof(members));
    for (uint32_t i = 0; i < MEMBERS; i++) {
        struct conn_id conn = {0, i, 1};
        assert_int_equal(hub_enter(hub, &members[i], i + 1, conn, NULL, 0), 0);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < MEMBERS; i++) {
        hub_leave(&members[i]);
    }
    assert_int_equal(hub->rooms.count, 0);
    hub_free(hub);
    return 0;
}

static int join(size_t i, const char *room)
{
    return hub_join(&members[i], room, strlen(room));
}

static bool part(size_t i, const char *room)
{
    return hub_part(&members[i], room, strlen(room));
}

static bool is_in(size_t i, const char *room)
{
    return hub_is_in(&members[i], room, strlen(room));
}

static struct room *the_room(const char *name)
{
    return hub_room(hub, name, strlen(name));
}

static void a_room_lives_as_long_as_it_has_members(void **state)
{
    (void)state;
    assert_null(the_room("a"));
    assert_int_equal(join(0, "a"), 0);
    assert_int_equal(join(1, "a"), 0);
    size_t len = 0;
    assert_string_equal(room_name(the_room("a"), &len), "a");
    assert_int_equal(len, 1);
    assert_int_equal(room_count(the_room("a")), 2);
    assert_true(part(0, "a"));
    assert_int_equal(room_count(the_room("a")), 1);
    hub_leave(&members[1]);
    assert_null(the_room("a"));
}

static void joining_twice_is_joining_once(void **state)
{
    (void)state;
    assert_int_equal(join(0, "a"), 0);
    assert_int_equal(join(0, "a"), 0);
    assert_int_equal(room_count(the_room("a")), 1);
    assert_true(part(0, "a"));
    assert_false(part(0, "a"));
    assert_false(is_in(0, "a"));
}

static void a_name_is_its_bytes(void **state)
{
    (void)state;
    assert_int_equal(hub_join(&members[0], "a\0b", 3), 0);
    assert_int_equal(hub_join(&members[1], "", 0), 0);
    assert_true(hub_is_in(&members[0], "a\0b", 3));
    assert_false(hub_is_in(&members[0], "a", 1));
    assert_true(hub_is_in(&members[1], "", 0));
    assert_false(hub_is_in(&members[0], "", 0));
    assert_true(hub_part(&members[1], "", 0));
    assert_ptr_equal(hub_find(hub, 2), &members[1]);
}

static void who_has_left_the_hub_is_closed_to_rooms(void **state)
{
    (void)state;
    assert_int_equal(join(0, "a"), 0);
    hub_leave(&members[0]);
    assert_int_equal(join(0, "a"), ERR_CLOSED);
    assert_false(part(0, "a"));
    assert_false(is_in(0, "a"));
}

static void rooms_are_kept_in_the_order_of_joining(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(join(0, names[i]), 0);
    }
    assert_true(part(0, "b"));
    assert_int_equal(join(0, "b"), 0);
    static const char *const want[] = {"", "a", "c", "d", "b"};
    assert_int_equal(members[0].room_count, 5);
    for (size_t i = 0; i < 5; i++) {
        size_t len;
        assert_string_equal(room_name(members[0].rooms[i], &len), want[i]);
    }
}

static void a_client_may_join_so_many_rooms_and_no_more(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < ROOMS_PER_CLIENT; i++) {
        assert_int_equal(join(0, names[i]), 0);
    }
    assert_int_equal(join(0, "e"), ERR_QUOTA);
    assert_null(the_room("e"));
    assert_int_equal(join(0, "a"), 0);
    assert_true(part(0, "a"));
    assert_int_equal(join(0, "e"), 0);
}

static void an_app_may_have_so_many_rooms_and_no_more(void **state)
{
    (void)state;
    char name[2] = "a";
    for (size_t i = 0; i < ROOMS_MAX; i++, name[0]++) {
        assert_int_equal(join(i, name), 0);
    }
    assert_int_equal(join(9, "new"), ERR_QUOTA);
    assert_int_equal(join(9, "a"), 0);
    assert_true(part(1, "b"));
    assert_int_equal(join(9, "new"), 0);
}

static void a_room_takes_no_more_than_its_rule_allows(void **state)
{
    (void)state;
    struct room_rule three = {.max_clients = 3};
    assert_int_equal(hub_define(hub, "small*", 6, &three), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(join(i, "small/1"), 0);
    }
    assert_int_equal(join(3, "small/1"), ERR_FULL);
    assert_false(is_in(3, "small/1"));
    assert_int_equal(join(2, "small/1"), 0);
    assert_int_equal(join(3, "small/2"), 0);
    assert_true(part(0, "small/1"));
    assert_int_equal(join(3, "small/1"), 0);
    assert_int_equal(join(4, "large"), 0);
}

static void all_rooms_are_listed_once(void **state)
{
    (void)state;
    unsigned seen = 0;
    uint32_t at = 0;
    bool is_end = false;
    assert_null(hub_next_room(hub, &at, &is_end));
    assert_true(is_end);
    assert_int_equal(join(0, "a"), 0);
    assert_int_equal(join(1, "b"), 0);
    assert_int_equal(join(2, "c"), 0);
    assert_int_equal(join(0, "c"), 0);
    struct room *r;
    at = 0;
    while ((r = hub_next_room(hub, &at, &is_end)) != NULL) {
        size_t len;
        unsigned bit = 1u << (room_name(r, &len)[0] - 'a');
        assert_int_equal(seen & bit, 0);
        seen |= bit;
    }
    assert_int_equal(seen, 7);
}

/* As in test_hub.c: every allocation of a join fails once. */
static int torture_join(size_t i, const char *room)
{
    int failures = 0;
    uint32_t rooms = hub->rooms.count;
    uint32_t in = members[i].room_count;
    uint32_t count = the_room(room) ? room_count(the_room(room)) : 0;
    for (uint64_t n = 1;; n++) {
        mem_fail_at(n);
        int rc = join(i, room);
        mem_fail_at(0);
        if (rc == 0) {
            return failures;
        }
        failures++;
        assert_int_equal(rc, ERR_NOMEM);
        assert_false(is_in(i, room));
        assert_int_equal(members[i].room_count, in);
        assert_int_equal(hub->rooms.count, rooms);
        assert_int_equal(
            the_room(room) ? room_count(the_room(room)) : 0, count);
        if (in == 1) {
            assert_ptr_equal(members[i].rooms, &members[i].first);
        }
    }
}

static void a_join_without_memory_changes_nothing(void **state)
{
    (void)state;
    int failures = 0;
    for (size_t i = 0; i < MEMBERS; i++) {
        failures += torture_join(i, "all");
        if (i < ROOMS_MAX - 1) {
            char name[8];
            snprintf(name, sizeof(name), "own%u", (unsigned)i);
            failures += torture_join(i, name);
        }
    }
    assert_int_equal(room_count(the_room("all")), MEMBERS);
    assert_true(failures > MEMBERS);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_room_lives_as_long_as_it_has_members),
        T(joining_twice_is_joining_once),
        T(a_name_is_its_bytes),
        T(who_has_left_the_hub_is_closed_to_rooms),
        T(rooms_are_kept_in_the_order_of_joining),
        T(a_client_may_join_so_many_rooms_and_no_more),
        T(an_app_may_have_so_many_rooms_and_no_more),
        T(a_room_takes_no_more_than_its_rule_allows),
        T(all_rooms_are_listed_once),
        T(a_join_without_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
