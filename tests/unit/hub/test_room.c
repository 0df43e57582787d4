/* test_room.c -- the places of a room: their order, and their rows. No
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
#include "support/walks.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMBERS 3000

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

/* Slots ascend over all rows, each in the row it belongs to, and the counts are
 * right. */
static void check(const struct room *r)
{
    const struct part *p = &r->here;
    uint32_t count = 0;
    uint32_t hidden = 0;
    int64_t last = -1;
    assert_int_equal(p->rows[0].low, 0);
    for (uint32_t k = 0; k < p->row_count; k++) {
        const struct row *w = &p->rows[k];
        uint32_t hidden_here = 0;
        assert_true(w->len <= w->cap);
        assert_true(w->len > 0 || p->row_count == 1);
        for (uint32_t i = 0; i < w->len; i++) {
            uint32_t slot = w->slots[i] & ~ROOM_HIDDEN;
            assert_true((int64_t)slot > last && slot >= w->low);
            assert_true(k + 1 == p->row_count || slot < p->rows[k + 1].low);
            assert_int_equal(w->members[i]->conn.slot, slot);
            assert_true(member_is_in(w->members[i], r));
            hidden_here += (w->slots[i] & ROOM_HIDDEN) != 0;
            last = slot;
        }
        assert_int_equal(w->hidden, hidden_here);
        hidden += hidden_here;
        count += w->len;
    }
    assert_int_equal(p->hidden, hidden);
    assert_int_equal(room_count(r), count);
}

static void check_ids(const char *room, const char *want)
{
    static uint64_t ids[MEMBERS];
    size_t n = room_ids(hub, room, ids, MEMBERS);
    char got[2048] = "";
    for (size_t i = 0; i < n; i++) {
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
    check_ids("a", "1 2 3 4 5 6");
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
    check_ids("a", "2 5 7 3 1 6 4");
}

/* So many places, and no more than twice as many, with a row to spare. */
static void check_size(const struct part *p)
{
    uint32_t places = 0;
    for (uint32_t k = 0; k < p->row_count; k++) {
        places += p->rows[k].cap;
    }
    assert_true(places <= 4 * p->count + 1024);
}

static void a_full_row_is_split_wherever_somebody_comes(void **state)
{
    (void)state;
    for (size_t i = 0; i < MEMBERS; i++) {
        enter(
            i, (uint32_t)(i * 7919 % MEMBERS)); /* it is no multiple of 7919 */
    }
    check(&hub->everybody);
    check_size(&hub->everybody.here);
    assert_true(hub->everybody.here.row_count > 2);
    for (uint32_t slot = 0; slot < MEMBERS; slot++) {
        struct places s;
        assert_true(part_next(&hub->everybody.here, slot, &s));
        assert_int_equal(s.slots[0], slot);
    }
}

static void slots_that_come_in_order_fill_their_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < MEMBERS; i++) {
        enter(i, (uint32_t)i);
    }
    const struct part *p = &hub->everybody.here;
    check(&hub->everybody);
    for (uint32_t k = 0; k + 1 < p->row_count; k++) {
        assert_int_equal(p->rows[k].len, p->rows[k].cap);
    }
}

static void rows_that_are_nearly_empty_become_one(void **state)
{
    (void)state;
    for (size_t i = 0; i < MEMBERS; i++) {
        enter(i, (uint32_t)i);
    }
    for (size_t i = 0; i < MEMBERS; i++) {
        if (i % 100 != 0) {
            hub_leave(&members[i]);
        }
    }
    check(&hub->everybody);
    assert_int_equal(hub_count(hub), MEMBERS / 100);
    check_size(&hub->everybody.here);
    for (size_t i = 0; i < MEMBERS; i += 100) {
        hub_leave(&members[i]);
    }
    check(&hub->everybody);
    assert_int_equal(hub->everybody.here.row_count, 1);
    assert_true(hub->everybody.here.rows[0].cap <= 128);
}

static void the_hidden_are_shown_again_wherever_they_have_moved(void **state)
{
    (void)state;
    for (size_t i = 0; i < MEMBERS / 2; i++) {
        enter(i, (uint32_t)i * 2);
    }
    struct part *p = &hub->everybody.here;
    for (uint32_t i = 0; i < MEMBERS / 2; i += 3) {
        assert_true(part_hide(p, i * 2));
        assert_false(part_hide(p, i * 2));
    }
    for (size_t i = 0; i < MEMBERS / 2; i++) {
        enter(MEMBERS / 2 + i, (uint32_t)i * 2 + 1);
    }
    check(&hub->everybody);
    assert_int_equal(p->hidden, MEMBERS / 6);
    for (size_t i = 0; i < MEMBERS; i++) {
        if (i % 50 != 0) {
            hub_leave(&members[i]);
        }
    }
    check(&hub->everybody);
    assert_int_equal(p->hidden, MEMBERS / 300);
    uint32_t from = 0;
    while (part_show_some(p, &from)) {
        check(&hub->everybody);
    }
    check(&hub->everybody);
    assert_int_equal(p->hidden, 0);
}

static void churn_does_not_grow_a_room(void **state)
{
    (void)state;
    for (size_t i = 0; i < 8; i++) {
        enter(i, (uint32_t)i + 1000);
    }
    for (uint32_t turn = 0; turn < 900; turn++) {
        size_t i = turn % 8;
        hub_leave(&members[i]);
        enter(i, 999 - turn);
        check(&hub->everybody);
    }
    assert_true(hub->everybody.here.rows[0].cap <= 32);
    assert_true(hub->everybody.here.row_count <= 4);
}

static void who_finds_no_memory_for_a_row_is_not_there(void **state)
{
    (void)state;
    uint32_t refused = 0;
    for (size_t i = 0; i < MEMBERS; i++) {
        struct conn_id conn = {0, (uint32_t)(i * 7919 % MEMBERS), 1};
        mem_fail_at(1);
        int rc = hub_enter(hub, &members[i], i + 1, conn, NULL, 0);
        mem_fail_at(0);
        if (rc != 0) {
            refused++;
            assert_int_equal(hub_count(hub), i);
            check(&hub->everybody);
            enter(i, conn.slot);
        }
    }
    assert_true(refused > 3);
    check(&hub->everybody);
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
        if (n % 500 == 0) {
            compare(model);
        }
    }
}

static void a_list_has_no_more_than_it_has_room_for(void **state)
{
    (void)state;
    uint64_t ids[4] = {0, 0, 77, 77};
    for (size_t i = 0; i < 5; i++) {
        enter(i, (uint32_t)i);
    }
    hub_leave(&members[0]);
    assert_int_equal(room_ids(hub, NULL, ids, 2), 2);
    assert_int_equal(ids[0], 2);
    assert_int_equal(ids[1], 3);
    assert_int_equal(ids[2], 77);
    assert_int_equal(room_ids(hub, NULL, NULL, 0), 0);
    assert_int_equal(hub_count_room(hub, NULL), 4);
    assert_int_equal(hub_count_room(hub, &(struct hub_name){"no", 2}), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(members_that_come_in_slot_order_stand_in_it_at_once),
        T(a_walk_finds_late_comers_of_low_slots_in_order),
        T(a_full_row_is_split_wherever_somebody_comes),
        T(slots_that_come_in_order_fill_their_rows),
        T(rows_that_are_nearly_empty_become_one),
        T(the_hidden_are_shown_again_wherever_they_have_moved),
        T(churn_does_not_grow_a_room),
        T(who_finds_no_memory_for_a_row_is_not_there),
        T(random_joins_and_leaves_equal_a_naive_model),
        T(a_list_has_no_more_than_it_has_room_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
