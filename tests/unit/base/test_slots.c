#include "base/slots.h"
#include "unit/base/death.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int things[100];

static void fresh_slots_come_lowest_first_and_start_at_one(void **state)
{
    (void)state;
    struct slots s;
    slots_init(&s);
    for (uint32_t i = 0; i < 100; i++) {
        uint32_t generation = 0;
        assert_int_equal(slots_add(&s, &things[i], &generation), i);
        assert_int_equal(generation, 1);
    }
    assert_int_equal(s.used, 100);
    for (uint32_t i = 0; i < 100; i++) {
        assert_ptr_equal(slots_get(&s, i, 1), &things[i]);
    }
    slots_fini(&s);
}

static void an_empty_table_knows_nobody(void **state)
{
    (void)state;
    struct slots s;
    slots_init(&s);
    assert_null(slots_get(&s, 0, 0));
    assert_null(slots_get(&s, SLOT_NONE, 1));
    slots_fini(&s);
    slots_fini(&s);
}

static void an_id_that_was_never_given_finds_nobody(void **state)
{
    (void)state;
    struct slots s;
    uint32_t generation;
    slots_init(&s);
    uint32_t slot = slots_add(&s, &things[0], &generation);
    assert_null(slots_get(&s, slot, 0));
    assert_null(slots_get(&s, slot, 2));
    assert_null(slots_get(&s, slot + 1, 0));
    assert_null(slots_get(&s, s.capacity, 1));
    assert_null(slots_get(&s, SLOT_NONE, 1));
    slots_fini(&s);
}

static void a_stale_id_finds_nobody(void **state)
{
    (void)state;
    struct slots s;
    uint32_t old, new;
    slots_init(&s);
    uint32_t slot = slots_add(&s, &things[0], &old);
    slots_retire(&s, slot);
    assert_int_equal(s.used, 0);
    assert_null(slots_get(&s, slot, old));
    assert_int_equal(slots_add(&s, &things[1], &new), slot);
    assert_int_equal(new, old + 1);
    assert_null(slots_get(&s, slot, old));
    assert_ptr_equal(slots_get(&s, slot, new), &things[1]);
    slots_fini(&s);
}

static void the_last_retired_slot_is_reused_first(void **state)
{
    (void)state;
    struct slots s;
    uint32_t generation;
    slots_init(&s);
    for (int i = 0; i < 20; i++) {
        slots_add(&s, &things[i], &generation);
    }
    slots_retire(&s, 7);
    slots_retire(&s, 3);
    slots_retire(&s, 12);
    assert_int_equal(slots_add(&s, &things[0], &generation), 12);
    assert_int_equal(slots_add(&s, &things[0], &generation), 3);
    assert_int_equal(slots_add(&s, &things[0], &generation), 7);
    assert_int_equal(slots_add(&s, &things[0], &generation), 20);
    slots_fini(&s);
}

static void a_generation_that_wraps_skips_zero(void **state)
{
    (void)state;
    struct slots s;
    uint32_t generation;
    slots_init(&s);
    uint32_t slot = slots_add(&s, &things[0], &generation);
    slots_retire(&s, slot);
    slots_entry(&s, slot)->generation = UINT32_MAX - 1;
    assert_int_equal(slots_add(&s, &things[0], &generation), slot);
    assert_int_equal(generation, UINT32_MAX);
    slots_retire(&s, slot);
    assert_int_equal(slots_add(&s, &things[0], &generation), slot);
    assert_int_equal(generation, 1);
    slots_fini(&s);
}

static void the_table_follows_a_model_through_many_steps(void **state)
{
    (void)state;
    enum { N = 3000 };
    struct slots s;
    uint32_t slot_of[N] = {0}, generation_of[N] = {0};
    bool is_in[N] = {false};
    static int object[N];
    uint32_t seed = 1, used = 0;
    slots_init(&s);
    for (int step = 0; step < 200000; step++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t i = (seed >> 8) % N;
        if (is_in[i]) {
            assert_ptr_equal(
                slots_get(&s, slot_of[i], generation_of[i]), &object[i]);
            slots_retire(&s, slot_of[i]);
            used--;
        } else {
            slot_of[i] = slots_add(&s, &object[i], &generation_of[i]);
            assert_true(slot_of[i] < N);
            used++;
        }
        is_in[i] = !is_in[i];
        assert_int_equal(s.used, used);
        uint32_t other = (seed >> 16) % N;
        if (!is_in[other]) {
            assert_null(slots_get(&s, slot_of[other], generation_of[other]));
        }
    }
    slots_fini(&s);
}

/* It takes long to copy or to clear a large table. */
static void growing_adds_a_row_and_moves_no_other(void **state)
{
    (void)state;
    struct slots s;
    uint32_t generation;
    slots_init(&s);
    for (uint32_t i = 0; i < SLOT_ROW; i++) {
        assert_int_equal(slots_add(&s, &things[0], &generation), i);
    }
    const struct slot_entry *first = slots_entry(&s, 0);
    for (uint32_t i = SLOT_ROW; i < 20 * SLOT_ROW; i++) {
        uint32_t capacity = s.capacity;
        const struct slot_entry *last = slots_entry(&s, i - 1);
        assert_int_equal(slots_add(&s, &things[0], &generation), i);
        assert_true(s.capacity == capacity || i == capacity);
        assert_in_range(s.capacity, capacity, capacity + SLOT_ROW);
        assert_ptr_equal(slots_entry(&s, i - 1), last);
        assert_ptr_equal(slots_entry(&s, 0), first);
    }
    slots_fini(&s);
}

static void retire_twice(void)
{
    struct slots s;
    uint32_t generation;
    slots_init(&s);
    uint32_t slot = slots_add(&s, &things[0], &generation);
    slots_retire(&s, slot);
    slots_retire(&s, slot);
}

static void retire_a_stranger(void)
{
    struct slots s;
    slots_init(&s);
    slots_retire(&s, 0);
}

static void add_nobody(void)
{
    struct slots s;
    uint32_t generation;
    slots_init(&s);
    slots_add(&s, NULL, &generation);
}

static void misuse_is_a_bug(void **state)
{
    (void)state;
    assert_true(dies_saying(retire_twice, "a slot is retired once"));
    assert_true(dies_saying(retire_a_stranger, "a slot of this table"));
    assert_true(dies_saying(add_nobody, "NULL marks a free slot"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fresh_slots_come_lowest_first_and_start_at_one),
        cmocka_unit_test(growing_adds_a_row_and_moves_no_other),
        cmocka_unit_test(an_empty_table_knows_nobody),
        cmocka_unit_test(an_id_that_was_never_given_finds_nobody),
        cmocka_unit_test(a_stale_id_finds_nobody),
        cmocka_unit_test(the_last_retired_slot_is_reused_first),
        cmocka_unit_test(a_generation_that_wraps_skips_zero),
        cmocka_unit_test(the_table_follows_a_model_through_many_steps),
        cmocka_unit_test(misuse_is_a_bug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
