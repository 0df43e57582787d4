#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void bytes_are_kept_in_order_while_it_grows(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100000);
    for (int i = 0; i < 10000; i++) {
        uint8_t two[] = {(uint8_t)i, (uint8_t)(i >> 8)};
        assert_int_equal(buf_add(&b, two, 2), 0);
    }
    assert_int_equal(b.len, 20000);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(b.p[2 * i] | b.p[2 * i + 1] << 8, i);
    }
    buf_fini(&b);
    assert_null(b.p);
    assert_int_equal(b.len, 0);
    assert_int_equal(buf_add(&b, "x", 1), 0);
    buf_fini(&b);
}

static void it_fills_to_its_bound_and_no_further(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    assert_int_equal(buf_add(&b, "0123456", 7), 0);
    assert_int_equal(buf_add(&b, "abcd", 4), ERR_TOO_BIG);
    assert_int_equal(buf_add(&b, "abc", 3), 0);
    assert_int_equal(buf_add(&b, "x", 1), ERR_TOO_BIG);
    assert_int_equal(buf_reserve(&b, 0), 0);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), ERR_TOO_BIG);
    assert_int_equal(b.len, 10);
    assert_true(b.cap <= 10);
    assert_memory_equal(b.p, "0123456abc", 10);
    buf_fini(&b);
}

static void a_bound_of_zero_holds_nothing_but_that(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    assert_int_equal(buf_add(&b, NULL, 0), 0);
    assert_int_equal(buf_printf(&b, "%s", ""), 0);
    assert_int_equal(buf_add(&b, "x", 1), ERR_TOO_BIG);
    assert_int_equal(buf_printf(&b, "x"), ERR_TOO_BIG);
    buf_fini(&b);
}

static void no_bound_at_all_is_still_safe(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, SIZE_MAX);
    assert_int_equal(buf_add(&b, "x", 1), 0);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), ERR_TOO_BIG);
    assert_int_equal(b.len, 1);
    buf_fini(&b);
}

static void reserved_room_can_be_written_behind_len(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    assert_int_equal(buf_reserve(&b, 777), 0);
    assert_int_equal(b.len, 0);
    assert_true(b.cap >= 777);
    memset(b.p, 'x', 777);
    b.len = 777;
    assert_int_equal(buf_add(&b, "y", 1), 0);
    assert_int_equal(b.p[777], 'y');
    buf_fini(&b);
}

static void printed_text_is_appended_without_its_nul(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    assert_int_equal(buf_printf(&b, "%d-%s", 12, "ab"), 0);
    assert_int_equal(buf_printf(&b, "%c", '!'), 0);
    assert_int_equal(b.len, 6);
    assert_memory_equal(b.p, "12-ab!", 6);
    assert_int_equal(buf_printf(&b, "%0300d", 7), 0);
    assert_int_equal(b.len, 306);
    assert_memory_equal(b.p, "12-ab!000", 9);
    assert_int_equal(b.p[305], '7');
    buf_fini(&b);
}

static void printed_text_may_fill_the_last_byte(void **state)
{
    (void)state;
    for (size_t max = 1; max < 200; max++) {
        struct buf b;
        buf_init(&b, max);
        assert_int_equal(buf_printf(&b, "%0*d", (int)max, 1), 0);
        assert_int_equal(b.len, max);
        assert_int_equal(b.p[max - 1], '1');
        buf_fini(&b);
        assert_int_equal(buf_printf(&b, "%0*d", (int)max + 1, 1), ERR_TOO_BIG);
        assert_int_equal(b.len, 0);
        buf_fini(&b);
    }
}

static void whatever_allocation_fails_nothing_is_changed(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 20; n++) {
        struct buf b;
        size_t len = 0;
        buf_init(&b, 5000);
        mem_fail_at(n);
        for (int i = 0; i < 40; i++) {
            int err = i % 2 == 0 ? buf_add(&b, "0123456789", 10)
                                 : buf_printf(&b, "%0100d", i);
            assert_true(err == 0 || err == ERR_NOMEM);
            len += err != 0 ? 0 : i % 2 == 0 ? 10 : 100;
            assert_int_equal(b.len, len);
        }
        mem_fail_at(0);
        assert_true(b.len >= 40 * 55 - 100);
        assert_int_equal(buf_add(&b, "z", 1), 0);
        buf_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_kept_in_order_while_it_grows),
        cmocka_unit_test(it_fills_to_its_bound_and_no_further),
        cmocka_unit_test(a_bound_of_zero_holds_nothing_but_that),
        cmocka_unit_test(no_bound_at_all_is_still_safe),
        cmocka_unit_test(reserved_room_can_be_written_behind_len),
        cmocka_unit_test(printed_text_is_appended_without_its_nul),
        cmocka_unit_test(printed_text_may_fill_the_last_byte),
        cmocka_unit_test(whatever_allocation_fails_nothing_is_changed),
    };
    mem_fail_at(0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
