/* test_part.c -- a room's members by loop, and the lists of them that letters
 * carry. No connections are needed for that: members get slots out of thin
 * air. How one part keeps its places is seen in test_room.c. */
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
#include <stdlib.h>
#include <string.h>

#define MEMBERS 120
#define LOOPS   3

static struct hub *hub;
static struct meter *meter;
static struct member members[MEMBERS];

static int set_up(void **state)
{
    (void)state;
    struct hub_config config = {.rooms_max = 100, .rooms_per_client = 100};
    hub = hub_new(&config);
    meter = meter_new(1 << 20);
    memset(members, 0, sizeof(members));
    srand(3);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mem_fail_at(0);
    memset(&walks, 0, sizeof(walks));
    for (size_t i = 0; i < MEMBERS; i++) {
        hub_leave(&members[i]);
    }
    hub_free(hub);
    assert_int_equal(meter_used(meter), 0);
    meter_unref(meter);
    return 0;
}

/* Member i of the test, with id i + 1, in this slot of this loop. */
static void enter(size_t i, uint32_t loop, uint32_t slot)
{
    struct conn_id conn = {loop, slot, (uint32_t)i + 1000};
    assert_int_equal(hub_enter(hub, &members[i], i + 1, conn, NULL, 0), 0);
}

static void join(size_t i, const char *room)
{
    assert_int_equal(hub_join(&members[i], room, strlen(room)), 0);
}

static struct part *part_of(const char *room, uint32_t loop)
{
    return room_part(hub_room(hub, room, strlen(room)), loop);
}

static const struct fanout_target *targets_of(const struct blob *list)
{
    return (const struct fanout_target *)(const void *)list->data;
}

static const struct member *find_in(const struct part *p, uint32_t slot)
{
    struct places s;
    if (!part_next(p, slot, &s) || s.slots[0] != slot) {
        return NULL;
    }
    assert_int_equal(s.members[0]->conn.slot, slot);
    return s.members[0];
}

/* As a broadcast does it, in steps, with what happens between them. */
static struct blob *part_list(struct part *p, struct meter *charged)
{
    bool is_done = false;
    struct meter *usual = hub->meter;
    hub->meter = charged;
    walk_begin(hub);
    walk_enter_room(hub, p->room, true);
    walks.steps = 0;
    while (!is_done) {
        walks_before_step();
        is_done = far_make_list(hub, p);
        walks_after_step();
    }
    struct blob *list = p->list;
    while (part_show_some(p, &(uint32_t){0})) {
    }
    part_lend_list(p, false);
    walk_end(hub);
    hub->meter = usual;
    return list;
}

/* The list is who is in the part, each once. */
static void check_list(struct part *p)
{
    struct blob *list = part_list(p, meter);
    assert_non_null(list);
    const struct fanout_target *t = targets_of(list);
    uint32_t n = part_count(p);
    assert_int_equal(list->size, n * sizeof(*t));
    for (uint32_t i = 0; i < n; i++) {
        const struct member *m = find_in(p, t[i].slot);
        assert_non_null(m);
        assert_int_equal(m->conn.loop, p->loop);
        assert_int_equal(t[i].generation, m->conn.generation);
        for (uint32_t j = 0; j < i; j++) {
            assert_int_not_equal(t[j].slot, t[i].slot);
        }
    }
}

static void each_loop_has_a_part_of_its_own(void **state)
{
    (void)state;
    enter(0, 0, 5);
    enter(1, 2, 5);
    enter(2, 1, 5);
    enter(3, 2, 4);
    for (size_t i = 0; i < 4; i++) {
        join(i, "a");
    }
    const struct room *r = hub_room(hub, "a", 1);
    assert_int_equal(room_count(r), 4);
    assert_int_equal(hub_count(hub), 4);
    assert_int_equal(part_count(part_of("a", 0)), 1);
    assert_int_equal(part_count(part_of("a", 1)), 1);
    assert_int_equal(part_count(part_of("a", 2)), 2);
    assert_null(part_of("a", 3));
    assert_ptr_equal(part_of("a", 0), &r->here);
}

static void a_room_of_others_only_has_an_empty_part_at_home(void **state)
{
    (void)state;
    enter(0, 2, 0);
    join(0, "a");
    assert_int_equal(part_count(part_of("a", 0)), 0);
    assert_int_equal(room_count(hub_room(hub, "a", 1)), 1);
    /* And it ends when the last of them goes. */
    assert_true(hub_part(&members[0], "a", 1));
    assert_null(hub_room(hub, "a", 1));
}

static void a_part_outlives_its_members_as_long_as_the_room(void **state)
{
    (void)state;
    enter(0, 0, 0);
    enter(1, 2, 0);
    join(0, "a");
    join(1, "a");
    struct part *p = part_of("a", 2);
    hub_leave(&members[1]);
    assert_ptr_equal(part_of("a", 2), p);
    assert_int_equal(part_count(p), 0);
    assert_int_equal(room_count(hub_room(hub, "a", 1)), 1);
    enter(2, 2, 9);
    join(2, "a");
    assert_ptr_equal(part_of("a", 2), p);
    assert_int_equal(part_count(p), 1);
}

static void ids_are_those_of_all_parts_and_no_more_than_asked_for(void **state)
{
    (void)state;
    for (size_t i = 0; i < 9; i++) {
        enter(i, (uint32_t)i % LOOPS, (uint32_t)i);
        join(i, "a");
    }
    bool seen[10] = {false};
    uint64_t ids[10] = {0};
    assert_int_equal(room_ids(hub, "a", ids, 10), 9);
    for (size_t i = 0; i < 9; i++) {
        assert_in_range(ids[i], 1, 9);
        assert_false(seen[ids[i]]);
        seen[ids[i]] = true;
    }
    assert_int_equal(ids[9], 0);
    /* Those at home stand first. */
    assert_int_equal(ids[0], 1);
    assert_int_equal(ids[1], 4);
    assert_int_equal(ids[2], 7);
    for (uint32_t cap = 0; cap < 9; cap++) {
        memset(ids, 0, sizeof(ids));
        assert_int_equal(room_ids(hub, "a", ids, cap), cap);
        for (uint32_t i = 0; i < 10; i++) {
            assert_int_equal(ids[i] != 0, i < cap);
        }
    }
    assert_int_equal(room_ids(hub, NULL, ids, 10), 9);
}

static void a_bound_on_a_room_counts_members_of_all_loops(void **state)
{
    (void)state;
    struct room_rule rule = {.max_clients = 3};
    assert_int_equal(hub_define(hub, "a", 1, &rule), 0);
    for (size_t i = 0; i < 4; i++) {
        enter(i, (uint32_t)i % 2, (uint32_t)i);
    }
    join(0, "a");
    join(1, "a");
    join(2, "a");
    assert_int_equal(hub_join(&members[3], "a", 1), ERR_FULL);
    hub_leave(&members[0]);
    join(3, "a");
}

static void a_list_says_slots_and_generations_of_the_living(void **state)
{
    (void)state;
    for (size_t i = 0; i < 20; i++) {
        enter(i, 1, (uint32_t)i * 3);
        join(i, "a");
    }
    check_list(part_of("a", 1));
    for (size_t i = 0; i < 19; i += 3) {
        assert_true(hub_part(&members[i], "a", 1));
    }
    check_list(part_of("a", 1));
    const struct fanout_target *t =
        targets_of(part_list(part_of("a", 1), meter));
    assert_int_equal(t[0].slot, 3);
    assert_int_equal(t[0].generation, 1001);
    assert_int_equal(t[2].slot, 12);
    assert_int_equal(t[2].generation, 1004);
}

static void a_list_is_made_once_and_anew_after_each_change(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        enter(i, 1, (uint32_t)i);
    }
    join(0, "a");
    join(1, "a");
    struct part *p = part_of("a", 1);
    struct blob *list = part_list(p, meter);
    assert_ptr_equal(part_list(p, meter), list);
    join(1, "a"); /* is in already: nothing changes */
    assert_ptr_equal(part_list(p, meter), list);
    join(2, "a");
    assert_null(p->list);
    check_list(p);
    assert_true(hub_part(&members[0], "a", 1));
    assert_null(p->list);
    check_list(p);
    hub_leave(&members[1]);
    assert_null(p->list);
    check_list(p);
    assert_int_equal(part_count(p), 1);
}

static void a_change_in_one_part_leaves_the_lists_of_others_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        enter(i, 1 + (uint32_t)i % 2, (uint32_t)i);
    }
    join(0, "a");
    join(1, "a");
    join(0, "b");
    struct blob *far = part_list(part_of("a", 2), meter);
    struct blob *other_room = part_list(part_of("b", 1), meter);
    assert_non_null(part_list(part_of("a", 1), meter));
    join(2, "a");
    assert_null(part_of("a", 1)->list);
    assert_ptr_equal(part_of("a", 2)->list, far);
    assert_ptr_equal(part_of("b", 1)->list, other_room);
}

static void what_a_letter_carries_does_not_change_any_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < 10; i++) {
        enter(i, 1, 20 - (uint32_t)i);
        join(i, "a");
    }
    struct part *p = part_of("a", 1);
    struct blob *sent = blob_ref(part_list(p, meter));
    struct fanout_target before[10];
    memcpy(before, sent->data, sizeof(before));
    for (size_t i = 0; i < 9; i++) {
        hub_leave(&members[i]);
    }
    check_list(p);
    hub_leave(&members[9]);
    assert_null(hub_room(hub, "a", 1));
    assert_int_equal(sent->size, sizeof(before));
    assert_memory_equal(sent->data, before, sizeof(before));
    blob_unref(sent);
    assert_int_equal(meter_used(meter), 0);
}

static void a_list_is_in_the_order_of_a_walk(void **state)
{
    (void)state;
    static const uint32_t slots[] = {50, 10, 40, 70, 20, 60, 30};
    for (size_t i = 0; i < ARRAY_LEN(slots); i++) {
        enter(i, 1, slots[i]);
        join(i, "a");
    }
    const struct fanout_target *t =
        targets_of(part_list(part_of("a", 1), meter));
    for (uint32_t i = 0; i < ARRAY_LEN(slots); i++) {
        assert_int_equal(t[i].slot, (i + 1) * 10);
    }
}

/* One leaves and one comes while the list is made. */
static void change_once(uint32_t steps)
{
    if (steps == 1) {
        hub_leave(&members[1]);
        enter(100, 1, 301);
        join(100, "a");
    }
}

static void a_list_made_while_members_change_is_of_those_before(void **state)
{
    (void)state;
    for (size_t i = 0; i < 100; i++) {
        enter(i, 1, (uint32_t)i * 3);
        join(i, "a");
    }
    struct part *p = part_of("a", 1);
    walks.is_stopped = true;
    walks.between = change_once;
    (void)part_list(p, meter);
    walks.between = NULL;
    assert_true(walks.steps > 1);
    /* It was not kept: the next one has who has come, and not who has left. */
    assert_null(p->list);
    assert_int_equal(p->hidden, 0);
    check_list(p);
    assert_int_equal(part_count(p), 100);
}

static void a_list_is_charged_to_the_meter_until_it_is_let_go(void **state)
{
    (void)state;
    for (size_t i = 0; i < 10; i++) {
        enter(i, 1, (uint32_t)i);
        join(i, "a");
    }
    struct part *p = part_of("a", 1);
    size_t cost = sizeof(struct blob) + 10 * sizeof(struct fanout_target);
    struct meter *small = meter_new(cost - 1);
    assert_null(part_list(p, small));
    assert_null(p->list);
    assert_int_equal(meter_used(small), 0);
    meter_unref(small);
    small = meter_new(cost);
    assert_non_null(part_list(p, small));
    assert_int_equal(meter_used(small), cost);
    hub_leave(&members[9]);
    assert_int_equal(meter_used(small), 0);
    meter_unref(small);
}

static void a_list_that_memory_did_not_allow_is_made_the_next_time(void **state)
{
    (void)state;
    enter(0, 1, 7);
    struct part *p = room_part(&hub->everybody, 1);
    mem_fail_at(1);
    assert_null(part_list(p, meter));
    assert_int_equal(meter_used(meter), 0);
    check_list(p);
}

/* The first of another loop needs a part, a place in it, a membership. */
static void a_join_that_memory_does_not_allow_leaves_no_trace(void **state)
{
    (void)state;
    enter(0, 0, 0);
    join(0, "old");
    for (int is_new = 0; is_new < 2; is_new++) {
        const char *name = is_new ? "new" : "old";
        size_t i = 1 + (size_t)is_new;
        enter(i, 1 + (uint32_t)is_new, 0);
        int rc = ERR_NOMEM;
        for (uint64_t at = 1; rc != 0; at++) {
            assert_true(at < 20);
            mem_fail_at(at);
            rc = hub_join(&members[i], name, 3);
            mem_fail_at(0);
            if (rc != 0) {
                assert_int_equal(rc, ERR_NOMEM);
                assert_false(hub_is_in(&members[i], name, 3));
                assert_int_equal(members[i].room_count, 1);
                assert_int_equal(hub->rooms.count, 1);
                assert_int_equal(room_count(hub_room(hub, "old", 3)), i);
            }
            if (rc != 0 && is_new) {
                assert_null(hub_room(hub, "new", 3));
            }
        }
        assert_true(hub_is_in(&members[i], name, 3));
        check_list(part_of(name, 1 + (uint32_t)is_new));
    }
}

static void entering_that_memory_does_not_allow_leaves_no_trace(void **state)
{
    (void)state;
    struct conn_id conn = {2, 3, 4};
    int rc = ERR_NOMEM;
    for (uint64_t at = 1; rc != 0; at++) {
        assert_true(at < 20);
        mem_fail_at(at);
        rc = hub_enter(hub, &members[0], 1, conn, "u", 1);
        mem_fail_at(0);
        if (rc != 0) {
            assert_int_equal(hub_count(hub), 0);
            assert_null(hub_find(hub, 1));
            assert_int_equal(hub->users.count, 0);
        }
    }
    assert_int_equal(hub_count(hub), 1);
}

/* A slot of each loop is somebody's or nobody's, as with connections. */
static size_t owner[LOOPS][MEMBERS];

static void come_or_go(size_t i)
{
    uint32_t loop = (uint32_t)rand() % LOOPS;
    uint32_t slot = (uint32_t)rand() % MEMBERS;
    if (members[i].hub != NULL) {
        owner[members[i].conn.loop][members[i].conn.slot] = 0;
        hub_leave(&members[i]);
    } else if (owner[loop][slot] == 0) {
        enter(i, loop, slot);
        owner[loop][slot] = i + 1;
    }
}

static void join_or_part(size_t i)
{
    if (members[i].hub != NULL && !hub_part(&members[i], "a", 1)) {
        join(i, "a");
    }
}

static void check_room(struct room *r)
{
    uint32_t count = 0;
    for (struct part *p = r != NULL ? &r->here : NULL; p != NULL; p = p->next) {
        check_list(p);
        count += part_count(p);
    }
    uint32_t expected = 0;
    for (size_t i = 0; i < MEMBERS && r != NULL; i++) {
        expected += members[i].hub != NULL && member_is_in(&members[i], r);
    }
    assert_int_equal(count, expected);
}

static void lists_are_right_after_any_coming_and_going(void **state)
{
    (void)state;
    memset(owner, 0, sizeof(owner));
    for (int step = 0; step < 20000; step++) {
        size_t i = (size_t)rand() % MEMBERS;
        if (rand() % 2 == 0) {
            come_or_go(i);
        } else {
            join_or_part(i);
        }
        if (step % 16 == 0) {
            check_room(&hub->everybody);
            check_room(hub_room(hub, "a", 1));
        }
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(each_loop_has_a_part_of_its_own),
        T(a_room_of_others_only_has_an_empty_part_at_home),
        T(a_part_outlives_its_members_as_long_as_the_room),
        T(ids_are_those_of_all_parts_and_no_more_than_asked_for),
        T(a_bound_on_a_room_counts_members_of_all_loops),
        T(a_list_says_slots_and_generations_of_the_living),
        T(a_list_is_made_once_and_anew_after_each_change),
        T(a_change_in_one_part_leaves_the_lists_of_others_alone),
        T(what_a_letter_carries_does_not_change_any_more),
        T(a_list_is_in_the_order_of_a_walk),
        T(a_list_made_while_members_change_is_of_those_before),
        T(a_list_is_charged_to_the_meter_until_it_is_let_go),
        T(a_list_that_memory_did_not_allow_is_made_the_next_time),
        T(a_join_that_memory_does_not_allow_leaves_no_trace),
        T(entering_that_memory_does_not_allow_leaves_no_trace),
        T(lists_are_right_after_any_coming_and_going),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
