/* test_deflate.c -- there and back in every window; bounds, bombs, memory. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/deflate.h"
#include <string.h>

#define TEXT_BYTES 100000

static uint8_t text[TEXT_BYTES];
static uint8_t noise[TEXT_BYTES];

/* Words that come again at every distance, and bytes that never do. */
static int make_input(void **s)
{
    (void)s;
    uint32_t seed = 1;
    for (size_t i = 0; i < TEXT_BYTES; i++) {
        seed = seed * 1664525 + 1013904223;
        noise[i] = (uint8_t)(seed >> 24);
        bool is_new = i < 300 || (seed >> 8 & 7) == 0;
        size_t back = 1 + (seed >> 11) % (i == 0 ? 1 : i < 40000 ? i : 40000);
        text[i] = is_new ? (uint8_t)('a' + (seed >> 16) % 26) : text[i - back];
        for (int k = 0; !is_new && k < 8 && i + 1 < TEXT_BYTES; k++) {
            i++;
            text[i] = text[i - back];
        }
    }
    return 0;
}

static void pack(
    struct deflater *d, bool keeps, const void *p, size_t n, struct buf *out)
{
    out->len = 0;
    assert_int_equal(deflater_run(d, 6, keeps, p, n, out), 0);
}

/* A byte at a time: so there is nothing to refer to but the window. */
static void unpack_slowly(
    struct inflater *z, const struct buf *packed, struct buf *out)
{
    out->len = 0;
    for (size_t i = 0; i < packed->len; i++) {
        assert_int_equal(
            inflater_feed(z, packed->p + i, 1, out, out->max - 1), 0);
    }
    assert_int_equal(inflater_end(z, out, out->max - 1), 0);
}

/* 7.1.2: a peer with a window of N bits can read what was made for N. That
 * holds for 8 as well, which zlib does not know. */
static void what_is_made_for_a_window_is_read_with_that_window(void **s)
{
    (void)s;
    static const size_t sizes[] = {0, 1, 2, 100, 257, 5000, TEXT_BYTES};
    for (unsigned bits = 8; bits <= 15; bits++) {
        for (int keeps = 0; keeps < 2; keeps++) {
            struct deflater *d = deflater_new(bits);
            struct inflater *z = inflater_new(bits);
            struct buf packed;
            struct buf out;
            buf_init(&packed, 2 * TEXT_BYTES);
            buf_init(&out, TEXT_BYTES + 1);
            for (size_t i = 0; i < 2 * ARRAY_LEN(sizes); i++) {
                size_t n = sizes[i / 2];
                const uint8_t *p = i % 2 == 0 ? text : noise;
                pack(d, keeps, p, n, &packed);
                unpack_slowly(z, &packed, &out);
                assert_int_equal(out.len, n);
                assert_true(n == 0 || memcmp(out.p, p, n) == 0);
                if (!keeps) {
                    inflater_reset(z);
                }
            }
            buf_fini(&packed);
            buf_fini(&out);
            deflater_free(d);
            inflater_free(z);
        }
    }
}

static void a_context_makes_the_second_message_shorter(void **s)
{
    (void)s;
    struct buf a;
    struct buf b;
    buf_init(&a, 4096);
    buf_init(&b, 4096);
    struct deflater *d = deflater_new(15);
    pack(d, true, text, 1000, &a);
    pack(d, true, text, 1000, &b);
    assert_true(b.len < a.len / 10);
    /* Without it both are the same, to the byte: one serves all. */
    pack(d, false, text, 1000, &a);
    pack(d, false, text, 1000, &b);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.p, b.p, a.len);
    deflater_free(d);
    buf_fini(&a);
    buf_fini(&b);
}

static void an_empty_message_is_the_byte_0(void **s)
{
    (void)s;
    struct buf b;
    buf_init(&b, 100);
    struct deflater *d = deflater_new(15);
    for (int i = 0; i < 4; i++) {
        pack(d, i % 2 == 0, "", 0, &b);
        assert_int_equal(b.len, 1);
        assert_int_equal(b.p[0], 0);
    }
    deflater_free(d);
    buf_fini(&b);
}

static void the_level_may_change_between_messages(void **s)
{
    (void)s;
    struct deflater *d = deflater_new(15);
    struct inflater *z = inflater_new(15);
    struct buf packed;
    struct buf out;
    buf_init(&packed, 2 * TEXT_BYTES);
    buf_init(&out, TEXT_BYTES + 1);
    for (int i = 0; i < 20; i++) {
        packed.len = 0;
        int level = 1 + i * 4 % 9;
        assert_int_equal(deflater_run(d, level, i % 3 != 0, text + i,
                             (size_t)(4000 + i), &packed),
            0);
        unpack_slowly(z, &packed, &out);
        assert_int_equal(out.len, 4000 + i);
        assert_memory_equal(out.p, text + i, out.len);
    }
    deflater_free(d);
    inflater_free(z);
    buf_fini(&packed);
    buf_fini(&out);
}

/* The bomb: 64 MiB of zeros, in some 64 KiB. */
/* A block is closed in one go, so it must not be long: it is counted in
 * symbols, and of what has no matches each byte is one. */
static void a_block_ends_after_2048_symbols(void **s)
{
    (void)s;
    struct deflater *d = deflater_new(DEFLATE_BITS_MAX);
    struct buf out;
    buf_init(&out, 2 * TEXT_BYTES);
    size_t begun = 0;
    uint32_t seed = 1;
    deflater_begin(d, 3, false);
    for (size_t at = 0; at < TEXT_BYTES; at += 100) {
        uint8_t some[100];
        for (size_t i = 0; i < sizeof(some); i++) {
            seed = seed * 1664525 + 1013904223;
            some[i] = (uint8_t)(seed >> 24);
        }
        size_t before = out.len;
        assert_int_equal(deflater_feed(d, some, sizeof(some), &out), 0);
        if (out.len > before) {
            assert_in_range(at - begun, 1800, 2500);
            begun = at;
        }
    }
    assert_true(begun > TEXT_BYTES - 2500);
    deflater_free(d);
    buf_fini(&out);
}

/* What 9 would find among all of them costs more than it saves. */
static void the_highest_levels_look_at_a_bounded_number_of_candidates(void **s)
{
    (void)s;
    static uint8_t alike[TEXT_BYTES];
    struct buf out;
    size_t len[2];
    buf_init(&out, TEXT_BYTES);
    for (size_t i = 0; i < TEXT_BYTES; i++) {
        alike[i] = (uint8_t)('a' + (noise[i] & 1));
    }
    for (int i = 0; i < 2; i++) {
        struct deflater *d = deflater_new(DEFLATE_BITS_MAX);
        for (int again = 0; again < 2; again++) {
            out.len = 0;
            assert_int_equal(
                deflater_run(d, 8 + i, false, alike, TEXT_BYTES, &out), 0);
            assert_true(again == 0 || out.len == len[i]);
            len[i] = out.len;
        }
        deflater_free(d);
    }
    assert_int_equal(len[0], len[1]);
    buf_fini(&out);
}

static void a_bomb_costs_no_more_than_the_bound(void **s)
{
    (void)s;
    enum { BOMB_BYTES = 64 * 1024 * 1024, BOUND = 100000 };
    uint8_t *zeros = mem_zalloc(BOMB_BYTES);
    struct deflater *d = deflater_new(15);
    struct buf packed;
    buf_init(&packed, 1024 * 1024);
    pack(d, false, zeros, BOMB_BYTES, &packed);
    mem_free(zeros);
    deflater_free(d);
    assert_in_range(packed.len, 10000, 200000);
    struct inflater *z = inflater_new(15);
    struct buf out;
    buf_init(&out, BOUND + 1);
    assert_int_equal(
        inflater_feed(z, packed.p, packed.len, &out, BOUND), ERR_TOO_BIG);
    assert_in_range(out.cap, BOUND, BOUND + 1);
    inflater_free(z);
    buf_fini(&packed);
    buf_fini(&out);
}

/* Two bytes make a stream of their own: a megabyte of them may not cost what
 * half a million new windows would. */
static void many_final_blocks_are_no_attack(void **s)
{
    (void)s;
    static uint8_t b[200000];
    for (size_t i = 0; i < sizeof(b); i += 2) {
        b[i] = 0x03;
        b[i + 1] = 0x00;
    }
    struct inflater *z = inflater_new(15);
    struct buf out;
    buf_init(&out, 101);
    uint64_t calls = mem_quota_calls();
    assert_int_equal(inflater_feed(z, b, sizeof(b), &out, 100), 0);
    assert_int_equal(inflater_end(z, &out, 100), 0);
    assert_in_range(mem_quota_calls() - calls, 0, 10);
    assert_int_equal(out.len, 0);
    inflater_free(z);
    buf_fini(&out);
}

static void a_reset_forgets_a_message_under_way(void **s)
{
    (void)s;
    static const uint8_t hello[] = {0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00};
    struct inflater *z = inflater_new(15);
    struct buf out;
    buf_init(&out, 101);
    for (size_t n = 0; n < sizeof(hello); n++) {
        out.len = 0;
        assert_int_equal(inflater_feed(z, hello, n, &out, 100), 0);
        inflater_reset(z);
        out.len = 0;
        assert_int_equal(inflater_feed(z, hello, sizeof(hello), &out, 100), 0);
        assert_int_equal(inflater_end(z, &out, 100), 0);
        assert_int_equal(out.len, 5);
        assert_memory_equal(out.p, "Hello", 5);
    }
    inflater_free(z);
    buf_fini(&out);
}

/* Each quota_* call in turn says no. */
static void without_memory_both_ways_fail_cleanly(void **s)
{
    (void)s;
    bool is_through = false;
    uint64_t fail_at = 0;
    while (!is_through) {
        struct buf packed;
        struct buf out;
        buf_init(&packed, 2 * TEXT_BYTES);
        buf_init(&out, TEXT_BYTES + 1);
        mem_fail_at(++fail_at);
        struct deflater *d = deflater_new(15);
        struct inflater *z = inflater_new(15);
        if (d != NULL && z != NULL) {
            int rc = deflater_run(d, 6, true, text, 50000, &packed);
            for (size_t i = 0; rc == 0 && i < packed.len; i++) {
                rc = inflater_feed(z, packed.p + i, 1, &out, TEXT_BYTES);
            }
            if (rc == 0) {
                rc = inflater_end(z, &out, TEXT_BYTES);
            }
            assert_true(rc == 0 || rc == ERR_NOMEM);
            is_through = rc == 0;
        }
        mem_fail_at(0);
        deflater_free(d);
        inflater_free(z);
        buf_fini(&packed);
        buf_fini(&out);
    }
    assert_in_range(fail_at, 8, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_made_for_a_window_is_read_with_that_window),
        cmocka_unit_test(a_context_makes_the_second_message_shorter),
        cmocka_unit_test(an_empty_message_is_the_byte_0),
        cmocka_unit_test(the_level_may_change_between_messages),
        cmocka_unit_test(a_block_ends_after_2048_symbols),
        cmocka_unit_test(
            the_highest_levels_look_at_a_bounded_number_of_candidates),
        cmocka_unit_test(a_bomb_costs_no_more_than_the_bound),
        cmocka_unit_test(many_final_blocks_are_no_attack),
        cmocka_unit_test(a_reset_forgets_a_message_under_way),
        cmocka_unit_test(without_memory_both_ways_fail_cleanly),
    };
    return cmocka_run_group_tests(tests, make_input, NULL);
}
