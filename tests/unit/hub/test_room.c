/* test_room.c -- the places of a room: order, dead places, indexes. No
 * connections are needed for that: members get slots out of thin air. */
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
#include <stdlib.h>
#include <string.h>

#define MEMBERS 300

static struct hub *hub;
static struct member members[MEMBERS];

static int set_up(void **state)
{
    (void)state;
    struct hub_config config = {.rooms_max = 100, .rooms_per_client = 100};
    hub = hub_new(&config);
    memset(members, 0, sizeof(members));
    srand(11);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < MEMBERS; i++) {
        hub_leave(&members[i]);
    }
    hub_free(hub);
    return 0;
}

/* Member i of the test, with id i + 1, in this slot. */
static void enter(size_t i, uint32_t slot)
{
    struct conn_id conn = {0, slot, 1};
    assert_int_equal(hub_enter(hub, &members[i], i + 1, conn, NULL, 0), 0);
}

static void join(size_t i, const char *room)
{
    assert_int_equal(hub_join(&members[i], room, strlen(room)), 0);
}

static void part(size_t i, const char *room)
{
    assert_true(hub_part(&members[i], room, strlen(room)));
}

static struct room *the_room(const char *name)
{
    return hub_room(hub, name, strlen(name));
}

/* Places and members point at each other, the counts are right, and what is
 * called sorted is so. */
static void check(const struct room *r)
{
    uint32_t dead = 0;
    assert_true(r->here.sorted <= r->here.len && r->here.len <= r->here.cap);
    for (uint32_t i = 0; i < r->here.len; i++) {
        if (i > 0 && i < r->here.sorted) {
            assert_true((r->here.slots[i - 1] & ~ROOM_DEAD) <
                        (r->here.slots[i] & ~ROOM_DEAD));
        }
        if (r->here.slots[i] & ROOM_DEAD) {
            assert_null(r->here.members[i]);
            dead++;
            continue;
        }
        assert_int_equal(r->here.members[i]->conn.slot, r->here.slots[i]);
        assert_int_equal(member_in(r->here.members[i], r)->index, i);
    }
    assert_int_equal(r->here.dead, dead);
    assert_int_equal(room_count(r), r->here.len - dead);
}

static void check_ids(const struct room *r, const char *want)
{
    uint64_t ids[MEMBERS];
    uint32_t n = room_ids(hub, r, ids, MEMBERS);
    char got[2048] = "";
    for (uint32_t i = 0; i < n; i++) {
        size_t used = strlen(got);
        snprintf(got + used, sizeof(got) - used, "%s%u", i ? " " : "",
            (unsigned)ids[i]);
    }
    assert_string_equal(got, want);
}

static void members_that_come_in_slot_order_stand_in_it_at_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        enter(i, (uint32_t)i * 3);
        join(i, "a");
    }
    check(the_room("a"));
    assert_int_equal(the_room("a")->here.sorted, 6);
    check_ids(the_room("a"), "1 2 3 4 5 6");
}

static void a_walk_finds_late_comers_of_low_slots_in_order(void **state)
{
    (void)state;
    static const uint32_t slots[] = {50, 10, 40, 70, 20, 60, 30};
    for (size_t i = 0; i < ARRAY_LEN(slots); i++) {
        enter(i, slots[i]);
        join(i, "a");
    }
    check(the_room("a"));
    part_tidy(&the_room("a")->here);
    check(the_room("a"));
    check_ids(the_room("a"), "2 5 7 3 1 6 4");
    assert_int_equal(the_room("a")->here.sorted, 7);
}

static void a_client_in_the_slot_of_one_who_left_takes_his_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < 100; i++) {
        enter(i, (uint32_t)i);
    }
    hub_leave(&members[40]);
    enter(100, 40);
    check(&hub->everybody);
    assert_int_equal(hub->everybody.here.len, 100);
    assert_int_equal(hub->everybody.here.sorted, 100);
    assert_int_equal(hub->everybody.here.dead, 0);
    assert_int_equal(members[100].rooms[0].index, 40);
}

static void a_dead_neighbour_makes_room_for_a_slot_between(void **state)
{
    (void)state;
    for (size_t i = 0; i < 10; i++) {
        enter(i, (uint32_t)i * 10);
    }
    hub_leave(&members[5]);
    enter(20, 47);
    check(&hub->everybody);
    assert_int_equal(hub->everybody.here.sorted, 10);
    hub_leave(&members[3]);
    enter(21, 33);
    check(&hub->everybody);
    assert_int_equal(hub->everybody.here.sorted, 10);
    assert_int_equal(hub->everybody.here.dead, 0);
    check_ids(NULL, "1 2 3 22 5 21 7 8 9 10");
    hub_leave(&members[0]);
    enter(22, 3);
    assert_int_equal(hub->everybody.here.sorted, 10);
    check_ids(NULL, "23 2 3 22 5 21 7 8 9 10");
}

static void a_walk_meets_at_most_a_quarter_of_dead_places(void **state)
{
    (void)state;
    for (size_t i = 0; i < 200; i++) {
        enter(i, (uint32_t)i);
    }
    for (size_t i = 0; i < 50; i++) {
        hub_leave(&members[i * 2]);
    }
    part_tidy(&hub->everybody.here);
    assert_int_equal(hub->everybody.here.dead, 50);
    hub_leave(&members[101]);
    part_tidy(&hub->everybody.here);
    assert_int_equal(hub->everybody.here.dead, 0);
    check(&hub->everybody);
    assert_int_equal(hub_count(hub), 149);
}

static void a_room_gives_memory_back_when_most_have_left(void **state)
{
    (void)state;
    for (size_t i = 0; i < MEMBERS; i++) {
        enter(i, (uint32_t)i);
    }
    uint32_t most = hub->everybody.here.cap;
    for (size_t i = 0; i < MEMBERS - 5; i++) {
        hub_leave(&members[i]);
    }
    part_tidy(&hub->everybody.here);
    check(&hub->everybody);
    assert_true(hub->everybody.here.cap < most);
    check_ids(NULL, "296 297 298 299 300");
}

static void churn_without_a_walk_does_not_grow_a_room(void **state)
{
    (void)state;
    for (size_t i = 0; i < 8; i++) {
        enter(i, (uint32_t)i + 1000);
    }
    /* Each newcomer is below all others, so no dead place fits him. */
    for (uint32_t turn = 0; turn < 900; turn++) {
        size_t i = turn % 8;
        hub_leave(&members[i]);
        enter(i, 999 - turn);
        check(&hub->everybody);
    }
    assert_true(hub->everybody.here.cap <= 32);
}

struct model {
    bool is_here;
    bool is_in[3];
    uint32_t slot;
};

static const char *const room_names[] = {"a", "b", "c"};

static void compare(const struct model *model)
{
    uint32_t count[3] = {0};
    uint32_t here = 0;
    for (size_t i = 0; i < MEMBERS; i++) {
        here += model[i].is_here;
        assert_ptr_equal(
            hub_find(hub, i + 1), model[i].is_here ? &members[i] : NULL);
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(
                hub_is_in(&members[i], room_names[k], 1), model[i].is_in[k]);
            count[k] += model[i].is_in[k];
        }
    }
    assert_int_equal(hub_count(hub), here);
    check(&hub->everybody);
    for (size_t k = 0; k < 3; k++) {
        struct room *r = the_room(room_names[k]);
        assert_int_equal(r == NULL, count[k] == 0);
        if (r != NULL) {
            check(r);
            assert_int_equal(room_count(r), count[k]);
        }
    }
}

static void step(struct model *model, uint32_t *free_slots, uint32_t *free_n)
{
    size_t i = (size_t)rand() % MEMBERS;
    struct model *it = &model[i];
    int what = rand() % 8;
    if (!it->is_here) {
        /* Mostly last in, first out, as slots are; sometimes any. */
        uint32_t pick = rand() % 3 ? *free_n - 1 : (uint32_t)rand() % *free_n;
        it->slot = free_slots[pick];
        free_slots[pick] = free_slots[--*free_n];
        enter(i, it->slot);
        it->is_here = true;
    } else if (what == 0) {
        hub_leave(&members[i]);
        free_slots[(*free_n)++] = it->slot;
        memset(it, 0, sizeof(*it));
    } else {
        size_t k = (size_t)rand() % 3;
        if (it->is_in[k]) {
            part(i, room_names[k]);
        } else {
            join(i, room_names[k]);
        }
        it->is_in[k] = !it->is_in[k];
    }
}

static void random_joins_and_leaves_equal_a_naive_model(void **state)
{
    (void)state;
    static struct model model[MEMBERS];
    uint32_t free_slots[MEMBERS];
    uint32_t free_n = MEMBERS;
    for (uint32_t i = 0; i < MEMBERS; i++) {
        free_slots[i] = MEMBERS - 1 - i;
    }
    for (int n = 0; n < 20000; n++) {
        step(model, free_slots, &free_n);
        if (n % 50 == 0) {
            struct room *r = rand() % 4 ? the_room("a") : &hub->everybody;
            if (r != NULL) {
                part_tidy(&r->here);
                assert_true(r->here.len - r->here.sorted <= r->here.len / 16);
                assert_true(r->here.dead <= r->here.len / 4);
            }
            compare(model);
        }
    }
}

static void without_memory_to_sort_a_walk_goes_on_unsorted(void **state)
{
    (void)state;
    for (size_t i = 0; i < 20; i++) {
        enter(i, 100 - (uint32_t)i);
    }
    mem_fail_at(1);
    part_tidy(&hub->everybody.here);
    mem_fail_at(0);
    check(&hub->everybody);
    assert_int_equal(hub_count(hub), 20);
    part_tidy(&hub->everybody.here);
    check(&hub->everybody);
    assert_int_equal(hub->everybody.here.sorted, 20);
}

static void room_ids_says_how_many_there_are_but_fills_no_more_than_asked(
    void **state)
{
    (void)state;
    uint64_t ids[4] = {0, 0, 77, 77};
    for (size_t i = 0; i < 5; i++) {
        enter(i, (uint32_t)i);
    }
    hub_leave(&members[0]);
    assert_int_equal(room_ids(hub, NULL, ids, 2), 4);
    assert_int_equal(ids[0], 2);
    assert_int_equal(ids[1], 3);
    assert_int_equal(ids[2], 77);
    assert_int_equal(room_ids(hub, NULL, NULL, 0), 4);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(members_that_come_in_slot_order_stand_in_it_at_once),
        T(a_walk_finds_late_comers_of_low_slots_in_order),
        T(a_client_in_the_slot_of_one_who_left_takes_his_place),
        T(a_dead_neighbour_makes_room_for_a_slot_between),
        T(a_walk_meets_at_most_a_quarter_of_dead_places),
        T(a_room_gives_memory_back_when_most_have_left),
        T(churn_without_a_walk_does_not_grow_a_room),
        T(random_joins_and_leaves_equal_a_naive_model),
        T(without_memory_to_sort_a_walk_goes_on_unsorted),
        T(room_ids_says_how_many_there_are_but_fills_no_more_than_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
