/* test_ids.c -- the table of client numbers against a plain array. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "base/mem.h"
#include "hub/hub_priv.h"
#include <stdlib.h>
#include <string.h>

#define MEMBERS 500

static void an_empty_table_finds_nobody(void **state)
{
    (void)state;
    struct ids t = {0};
    assert_null(ids_get(&t, 0));
    assert_null(ids_get(&t, 1));
    assert_null(ids_get(&t, UINT64_MAX));
    ids_fini(&t);
}

static void put(struct ids *t, struct member *m, uint64_t id)
{
    m->id = id;
    assert_int_equal(ids_reserve(t), 0);
    ids_put(t, m);
}

static void check_all(const struct ids *t, struct member *m, const bool *is_in)
{
    uint32_t count = 0;
    for (size_t i = 0; i < MEMBERS; i++) {
        assert_ptr_equal(ids_get(t, m[i].id), is_in[i] ? &m[i] : NULL);
        count += is_in[i];
    }
    assert_int_equal(t->count, count);
}

/* The numbers are dense, sparse, and all of one home in turn: the last makes
 * long chains, whose gaps removing has to close. */
static uint64_t number(int kind, size_t i)
{
    switch (kind) {
    case 0: return 1 + i;
    case 1: return (uint64_t)i << 40 | i;
    default: return ((uint64_t)i << 32) * UINT64_C(0xf1de83e19937733d);
    }
}

static void any_order_of_puts_and_removes_equals_a_plain_array(void **state)
{
    (void)state;
    static struct member m[MEMBERS];
    static bool is_in[MEMBERS];
    for (int kind = 0; kind < 3; kind++) {
        struct ids t = {0};
        memset(is_in, 0, sizeof(is_in));
        for (size_t i = 0; i < MEMBERS; i++) {
            m[i].id = number(kind, i);
        }
        srand(7);
        for (int step = 0; step < 6000; step++) {
            size_t i = (size_t)rand() % MEMBERS;
            if (is_in[i]) {
                ids_remove(&t, &m[i]);
            } else {
                put(&t, &m[i], m[i].id);
            }
            is_in[i] = !is_in[i];
            if (step % 100 == 0) {
                check_all(&t, m, is_in);
            }
        }
        check_all(&t, m, is_in);
        ids_fini(&t);
    }
}

static void the_table_is_small_and_never_full(void **state)
{
    (void)state;
    static struct member m[MEMBERS];
    struct ids t = {0};
    for (size_t i = 0; i < MEMBERS; i++) {
        put(&t, &m[i], i + 1);
        assert_true(t.count < t.capacity);
    }
    assert_true(t.capacity <= MEMBERS * 3);
    ids_fini(&t);
}

static void without_memory_to_grow_nothing_changes(void **state)
{
    (void)state;
    static struct member m[MEMBERS];
    struct ids t = {0};
    size_t refused = 0;
    for (size_t i = 0; i < 200; i++) {
        m[i].id = i + 1;
        mem_fail_at(1);
        if (ids_reserve(&t) != 0) {
            refused++;
            for (size_t j = 0; j < i; j++) {
                assert_ptr_equal(ids_get(&t, j + 1), &m[j]);
            }
        }
        mem_fail_at(0);
        put(&t, &m[i], i + 1);
    }
    assert_true(refused >= 4);
    ids_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_table_finds_nobody),
        cmocka_unit_test(any_order_of_puts_and_removes_equals_a_plain_array),
        cmocka_unit_test(the_table_is_small_and_never_full),
        cmocka_unit_test(without_memory_to_grow_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
