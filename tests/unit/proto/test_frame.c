/* test_frame.c -- the frame header against every rule of RFC 6455 5.2. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "base/err.h"
#include "proto/frame.h"
#include <stdlib.h>
#include <string.h>

/* A client's header for this first byte and length, of the shortest form. */
static size_t client_header(uint8_t *out, uint8_t first, uint64_t length)
{
    size_t n = frame_encode(out, FRAME_TEXT, true, false, length);
    out[0] = first;
    out[1] |= 0x80;
    memcpy(out + n, "\x11\x22\x33\x44", 4);
    return n + 4;
}

static int decode(const uint8_t *p, size_t n, struct frame_header *h)
{
    const char *detail = NULL;
    int rc = frame_decode(p, n, h, &detail);
    if (rc < 0) {
        assert_int_equal(rc, ERR_PROTOCOL);
        assert_non_null(detail);
    }
    return rc;
}

static void a_clients_header_survives_the_round_trip_for_every_length(void **s)
{
    (void)s;
    static const uint64_t lengths[] = {0, 1, 125, 126, 127, 65535, 65536,
        UINT32_MAX, UINT64_C(1) << 32, INT64_MAX};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        uint8_t b[FRAME_HEADER_MAX];
        size_t n = client_header(b, 0x82, lengths[i]);
        struct frame_header h;
        for (size_t have = 0; have < n; have++) {
            assert_int_equal(decode(b, have, &h), FRAME_MORE);
        }
        assert_int_equal(decode(b, n, &h), 0);
        assert_true(h.length == lengths[i]);
        assert_int_equal(h.bytes, n);
        assert_int_equal(h.opcode, FRAME_BINARY);
        assert_true(h.fin && h.masked && !h.rsv1);
        assert_memory_equal(h.mask, "\x11\x22\x33\x44", 4);
        assert_int_equal(frame_header_bytes(lengths[i]) + 4, n);
    }
}

static void of_all_first_bytes_exactly_the_right_ones_pass(void **s)
{
    (void)s;
    for (unsigned v = 0; v < 256; v++) {
        unsigned op = v & 15;
        bool is_data = op <= 2;
        bool is_control = op >= 8 && op <= 10;
        bool right =
            (v & 0x30) == 0 && (is_data || (is_control && (v & 0x80) != 0));
        uint8_t b[FRAME_HEADER_MAX];
        struct frame_header h;
        size_t n = client_header(b, (uint8_t)v, 5);
        assert_int_equal(decode(b, n, &h), right ? 0 : ERR_PROTOCOL);
        /* ... and a wrong one is told without waiting for the second. */
        assert_int_equal(decode(b, 1, &h), right ? FRAME_MORE : ERR_PROTOCOL);
        if (right) {
            assert_int_equal(h.opcode, op);
            assert_int_equal(h.fin, v >> 7);
            assert_int_equal(h.rsv1, v >> 6 & 1);
        }
    }
}

static void an_unmasked_frame_of_a_client_is_refused(void **s)
{
    (void)s;
    struct frame_header h;
    assert_int_equal(decode((const uint8_t *)"\x81\x05", 2, &h), ERR_PROTOCOL);
    assert_int_equal(decode((const uint8_t *)"\x81\x7e", 2, &h), ERR_PROTOCOL);
}

static void a_length_that_is_not_minimal_is_refused(void **s)
{
    (void)s;
    struct frame_header h;
    assert_int_equal(
        decode((const uint8_t *)"\x82\xfe\x00\x7d", 4, &h), ERR_PROTOCOL);
    assert_int_equal(
        decode((const uint8_t *)"\x82\xfe\x00\x7e", 4, &h), FRAME_MORE);
    assert_int_equal(
        decode((const uint8_t *)"\x82\xff\0\0\0\0\0\0\xff\xff", 10, &h),
        ERR_PROTOCOL);
    assert_int_equal(
        decode((const uint8_t *)"\x82\xff\0\0\0\0\0\1\0\0", 10, &h),
        FRAME_MORE);
}

static void a_length_with_its_top_bit_set_is_refused(void **s)
{
    (void)s;
    struct frame_header h;
    assert_int_equal(
        decode((const uint8_t *)"\x82\xff\x80\0\0\0\0\0\0\0", 10, &h),
        ERR_PROTOCOL);
}

static void a_control_frame_is_at_most_125_bytes_long(void **s)
{
    (void)s;
    struct frame_header h;
    uint8_t b[FRAME_HEADER_MAX];
    assert_int_equal(decode(b, client_header(b, 0x89, 125), &h), 0);
    assert_int_equal(decode(b, client_header(b, 0x89, 126), &h), ERR_PROTOCOL);
    assert_int_equal(
        decode(b, client_header(b, 0x88, 1 << 20), &h), ERR_PROTOCOL);
    assert_int_equal(decode(b, 2, &h), ERR_PROTOCOL);
}

static void a_range_of_our_frames_can_be_walked(void **s)
{
    (void)s;
    static const size_t lengths[] = {0, 1, 125, 126, 65535, 65536, 70000};
    uint8_t *range = calloc(1, 300000);
    assert_non_null(range);
    size_t end = 0;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        size_t head =
            frame_encode(range + end, FRAME_TEXT, true, i % 2 == 0, lengths[i]);
        assert_int_equal(head, frame_header_bytes(lengths[i]));
        assert_int_equal(range[end], i % 2 == 0 ? 0xc1 : 0x81);
        assert_int_equal(range[end + 1] & 0x80, 0);
        end += head + lengths[i];
    }
    size_t at = 0;
    size_t frames = 0;
    while (at < end) {
        at += frame_bytes(range + at);
        frames++;
    }
    assert_int_equal(at, end);
    assert_int_equal(frames, sizeof(lengths) / sizeof(lengths[0]));
    free(range);
}

static void masking_equals_the_byte_loop_at_every_alignment(void **s)
{
    (void)s;
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    for (size_t n = 0; n <= 70; n++) {
        for (size_t align = 0; align < 8; align++) {
            for (uint64_t offset = 0; offset < 8; offset++) {
                uint8_t got[96];
                uint8_t want[96];
                for (size_t i = 0; i < sizeof(got); i++) {
                    got[i] = want[i] = (uint8_t)(i * 7 + n);
                }
                for (size_t i = 0; i < n; i++) {
                    want[align + i] ^= mask[(offset + i) % 4];
                }
                frame_mask(got + align, n, mask, offset);
                assert_memory_equal(got, want, sizeof(got));
            }
        }
    }
}

static void masking_goes_on_behind_four_gigabytes(void **s)
{
    (void)s;
    static const uint8_t mask[4] = {1, 2, 3, 4};
    uint8_t b[5] = {0};
    frame_mask(b, sizeof(b), mask, (UINT64_C(1) << 32) + 3);
    assert_memory_equal(b, "\4\1\2\3\4", 5);
}

static void close_codes_are_those_of_section_7_4(void **s)
{
    (void)s;
    for (unsigned code = 0; code <= 70000; code++) {
        bool right = (code >= 1000 && code <= 1003) ||
                     (code >= 1007 && code <= 1014) ||
                     (code >= 3000 && code <= 4999);
        assert_int_equal(frame_close_code_is_valid(code), right);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            a_clients_header_survives_the_round_trip_for_every_length),
        cmocka_unit_test(of_all_first_bytes_exactly_the_right_ones_pass),
        cmocka_unit_test(an_unmasked_frame_of_a_client_is_refused),
        cmocka_unit_test(a_length_that_is_not_minimal_is_refused),
        cmocka_unit_test(a_length_with_its_top_bit_set_is_refused),
        cmocka_unit_test(a_control_frame_is_at_most_125_bytes_long),
        cmocka_unit_test(a_range_of_our_frames_can_be_walked),
        cmocka_unit_test(masking_equals_the_byte_loop_at_every_alignment),
        cmocka_unit_test(masking_goes_on_behind_four_gigabytes),
        cmocka_unit_test(close_codes_are_those_of_section_7_4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
