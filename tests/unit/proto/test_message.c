/* test_message.c -- the vectors at every split, and what vectors cannot say:
 * where the bytes lie, what memory is held, what happens when there is none.
 */
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
#include "proto/frame.h"
#include "support/feed_vector.h"
#include "support/message_feed.h"

static const uint8_t key[4] = {0x9a, 0x01, 0x7f, 0xe3};

/* A client's frame behind out; returns its end. */
static uint8_t *put_frame(
    uint8_t *out, unsigned first, const void *payload, size_t n)
{
    size_t head = frame_encode(out, FRAME_TEXT, true, false, n);
    out[0] = (uint8_t)first;
    out[1] |= 0x80;
    memcpy(out + head, key, 4);
    out += head + 4;
    if (n != 0) {
        memcpy(out, payload, n);
        frame_mask(out, n, key, 0);
    }
    return out + n;
}

static void try_vector(const struct vector *v, void *arg)
{
    (void)arg;
    struct message_feed_config config = {
        .max = (uint32_t)vector_setting(v, "max", 1000),
        .allow_rsv1 = vector_setting(v, "rsv1", 0) != 0,
        .skips = vector_setting(v, "skips", 0) != 0,
    };
    feed_vector(v, &message_feed_target, &config);
}

static void every_vector_gives_its_events_at_every_split(void **s)
{
    (void)s;
    int count =
        vectors_read(TESTS_DIR "/vectors/message.txt", try_vector, NULL);
    assert_true(count > 50);
}

static void try_deflate_vector(const struct vector *v, void *arg)
{
    (void)arg;
    struct message_feed_config config = {
        .max = (uint32_t)vector_setting(v, "max", 1000),
        .inflates = true,
        .keeps = vector_setting(v, "keeps", 0) != 0,
        .skips = vector_setting(v, "skips", 0) != 0,
    };
    feed_vector(v, &message_feed_target, &config);
}

static void every_compressed_vector_gives_its_events_at_every_split(void **s)
{
    (void)s;
    int count = vectors_read(
        TESTS_DIR "/vectors/deflate.txt", try_deflate_vector, NULL);
    assert_true(count > 30);
}

static void a_whole_message_is_lent_from_the_callers_buffer(void **s)
{
    (void)s;
    uint8_t b[64];
    size_t n = (size_t)(put_frame(b, 0x81, "Hello", 5) - b);
    struct message_reader r;
    message_reader_init(&r, 100);
    uint64_t calls = mem_quota_calls();
    uint8_t *p = b;
    struct message m;
    assert_int_equal(message_read(&r, &p, &n, &m), 0);
    assert_int_equal(m.kind, MESSAGE_TEXT);
    assert_ptr_equal(m.data, b + 6);
    assert_memory_equal(m.data, "Hello", 5);
    assert_ptr_equal(p, b + 11);
    assert_int_equal(n, 0);
    assert_int_equal(mem_quota_calls(), calls);
    message_reader_fini(&r);
}

static void no_heap_is_held_between_messages(void **s)
{
    (void)s;
    uint8_t b[64];
    size_t all = (size_t)(put_frame(b, 0x81, "Hello", 5) - b);
    struct message_reader r;
    message_reader_init(&r, 100);
    struct message m;
    uint8_t *p = b;
    size_t n = 8;
    assert_int_equal(message_read(&r, &p, &n, &m), 0);
    assert_int_equal(m.kind, MESSAGE_MORE);
    assert_true(message_is_partial(&r));
    n = all - 8;
    assert_int_equal(message_read(&r, &p, &n, &m), 0);
    assert_int_equal(m.kind, MESSAGE_TEXT);
    assert_false(message_is_partial(&r));
    assert_memory_equal(m.data, "Hello", 5);
    assert_non_null(r.part);
    message_reader_rest(&r);
    assert_null(r.part);
    assert_int_equal(message_read(&r, &p, &n, &m), 0);
    assert_int_equal(m.kind, MESSAGE_MORE);
    assert_null(r.part);
    message_reader_fini(&r);
}

/* A header may announce 64 MiB; until the bytes come it costs next to
 * nothing, and then at most twice what came. */
static void memory_grows_with_what_arrived_not_with_what_was_announced(void **s)
{
    (void)s;
    static uint8_t b[1024 * 1024];
    uint8_t head[14] = {0x82, 0xff, 0, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4};
    struct message_reader r;
    message_reader_init(&r, LIMIT_MAX_MESSAGE_BYTES);
    struct message m;
    uint8_t *p = head;
    size_t n = sizeof(head);
    uint64_t calls = mem_quota_calls();
    assert_int_equal(message_read(&r, &p, &n, &m), 0);
    assert_int_equal(mem_quota_calls() - calls, 1);
    /* Doubling: a megabyte in pieces of 1 KiB takes about ten blocks. */
    for (size_t at = 0; at < sizeof(b); at += 1024) {
        p = b + at;
        n = 1024;
        assert_int_equal(message_read(&r, &p, &n, &m), 0);
        assert_int_equal(m.kind, MESSAGE_MORE);
    }
    assert_in_range(mem_quota_calls() - calls, 5, 14);
    message_reader_fini(&r);
}

/* Else 4 MiB in fragments of 64 bytes would be moved 65,536 times. */
static void memory_of_many_fragments_doubles_too(void **s)
{
    (void)s;
    struct message_reader r;
    message_reader_init(&r, 1 << 20);
    static const uint8_t full[64];
    struct message m;
    uint64_t calls = mem_quota_calls();
    for (int i = 0; i < 4096; i++) {
        uint8_t b[128];
        uint8_t *p = b;
        size_t n = (size_t)(put_frame(b, i == 0 ? 0x02 : 0x00, full, 64) - b);
        assert_int_equal(message_read(&r, &p, &n, &m), 0);
    }
    assert_in_range(mem_quota_calls() - calls, 5, 20);
    message_reader_fini(&r);
}

/* In the midst of a fragmented message, too: what was kept goes at once, the
 * rest of it is not judged, and what is behind it is read as ever. */
static void who_skips_a_message_keeps_nothing_of_it(void **s)
{
    (void)s;
    static uint8_t b[4096];
    static const uint8_t bad[1000] = {0xff, 0xfe};
    struct message_reader r;
    struct message m;
    message_reader_init(&r, 1 << 20);
    uint8_t *p = b;
    size_t n = (size_t)(put_frame(b, 0x01, "Hello", 5) - b);
    assert_int_equal(message_read(&r, &p, &n, &m), 0);
    message_reader_skip(&r);
    uint64_t calls = mem_quota_calls();
    for (int i = 0; i < 100; i++) {
        p = b;
        n = (size_t)(put_frame(b, 0x00, bad, sizeof(bad)) - b);
        assert_int_equal(message_read(&r, &p, &n, &m), 0);
        assert_int_equal(m.kind, MESSAGE_MORE);
    }
    p = b;
    n = (size_t)(put_frame(put_frame(b, 0x80, bad, 2), 0x89, "x", 1) - b);
    assert_int_equal(message_read(&r, &p, &n, &m), 0);
    assert_int_equal(m.kind, MESSAGE_TEXT);
    assert_int_equal(m.len, 0);
    assert_int_equal(message_read(&r, &p, &n, &m), 0);
    assert_int_equal(m.kind, MESSAGE_PING);
    assert_memory_equal(m.data, "x", 1);
    assert_int_equal(mem_quota_calls(), calls);
    message_reader_fini(&r);
}

/* Who is held to a rate is so while the message has no end yet. */
static void each_frame_counts_in_the_call_that_it_begins_in(void **s)
{
    (void)s;
    uint8_t b[200];
    uint8_t *end = put_frame(b, 0x01, "a", 1);
    end = put_frame(end, 0x00, "b", 1);
    end = put_frame(end, 0x89, "ping", 4);
    uint8_t *third = end;
    end = put_frame(end, 0x00, "c", 1);
    end = put_frame(end, 0x80, "d", 1);
    end = put_frame(end, 0x82, "whole", 5);
    struct message_reader r;
    message_reader_init(&r, 100);
    struct message m;
    uint8_t *p = b;
    size_t n = (size_t)(third - b) + 7; /* and the third, whole */
    assert_int_equal(message_read(&r, &p, &n, &m), 0);
    assert_int_equal(m.kind, MESSAGE_PING);
    assert_int_equal(m.frames, 3);
    assert_int_equal(message_read(&r, &p, &n, &m), 0);
    assert_int_equal(m.kind, MESSAGE_MORE);
    assert_int_equal(m.frames, 1);
    n = (size_t)(end - p);
    assert_int_equal(message_read(&r, &p, &n, &m), 0);
    assert_int_equal(m.kind, MESSAGE_TEXT);
    assert_int_equal(m.frames, 1);
    assert_int_equal(message_read(&r, &p, &n, &m), 0);
    assert_int_equal(m.kind, MESSAGE_BINARY);
    assert_int_equal(m.frames, 1);
    assert_int_equal(n, 0);
    message_reader_fini(&r);
}

static void the_number_of_fragments_is_bounded(void **s)
{
    (void)s;
    static uint8_t b[(LIMIT_DEFAULT_FRAGMENTS + 2) * 6];
    for (unsigned extra = 0; extra < 2; extra++) {
        uint8_t *end = put_frame(b, 0x01, NULL, 0);
        for (unsigned i = 2; i < LIMIT_DEFAULT_FRAGMENTS + extra; i++) {
            end = put_frame(end, 0x00, NULL, 0);
        }
        end = put_frame(end, 0x80, NULL, 0);
        struct message_reader r;
        message_reader_init(&r, 100);
        struct message m;
        uint8_t *p = b;
        size_t n = (size_t)(end - b);
        int rc = message_read(&r, &p, &n, &m);
        assert_int_equal(rc, extra == 0 ? 0 : ERR_TOO_BIG);
        if (extra == 0) {
            assert_int_equal(m.kind, MESSAGE_TEXT);
            assert_int_equal(m.len, 0);
            assert_non_null(m.data);
        }
        message_reader_fini(&r);
    }
}

/* Autobahn's 9.3.1 sends 4 MiB in 65,536 of them. */
static void fragments_that_bring_enough_are_not_bounded(void **s)
{
    (void)s;
    static const uint8_t full[LIMIT_FRAGMENT_BYTES];
    for (size_t bytes = LIMIT_FRAGMENT_BYTES - 1; bytes <= LIMIT_FRAGMENT_BYTES;
         bytes++) {
        struct message_reader r;
        message_reader_init(&r, 1 << 20);
        struct message m;
        int rc = 0;
        for (int i = 0; i < 4 * LIMIT_DEFAULT_FRAGMENTS && rc == 0; i++) {
            uint8_t b[64];
            uint8_t *p = b;
            size_t n =
                (size_t)(put_frame(b, i == 0 ? 0x02 : 0x00, full, bytes) - b);
            rc = message_read(&r, &p, &n, &m);
        }
        assert_int_equal(rc, bytes < LIMIT_FRAGMENT_BYTES ? ERR_TOO_BIG : 0);
        message_reader_fini(&r);
    }
}

static void pings_do_not_count_as_fragments(void **s)
{
    (void)s;
    struct message_reader r;
    message_reader_init(&r, 100);
    struct message m;
    uint8_t b[64];
    uint8_t *p = b;
    size_t n = (size_t)(put_frame(b, 0x01, "a", 1) - b);
    assert_int_equal(message_read(&r, &p, &n, &m), 0);
    for (int i = 0; i < 2 * LIMIT_DEFAULT_FRAGMENTS; i++) {
        p = b;
        n = (size_t)(put_frame(b, 0x89, "x", 1) - b);
        assert_int_equal(message_read(&r, &p, &n, &m), 0);
        assert_int_equal(m.kind, MESSAGE_PING);
    }
    message_reader_fini(&r);
}

/* A long stream of everything legal, at pseudo-random cuts. */
static void a_long_mixed_stream_comes_out_the_same_at_random_cuts(void **s)
{
    (void)s;
    static uint8_t b[400000];
    static uint8_t payload[40000];
    for (size_t i = 0; i < sizeof(payload); i++) {
        payload[i] = (uint8_t)('a' + i % 26);
    }
    uint8_t *end = b;
    uint32_t seed = 7;
    while (end < b + 300000) {
        seed = seed * 1664525 + 1013904223;
        size_t n = (seed >> 8) % ((seed >> 28) == 0 ? sizeof(payload) : 200);
        end = put_frame(end, 0x01 + (seed >> 5) % 2, payload, n);
        if ((seed & 16) != 0) {
            end = put_frame(end, 0x89, payload, n % 126);
        }
        end = put_frame(end, 0x80, payload + 3, n / 2);
        end = put_frame(end, 0x81, payload + 1, n % 130);
    }
    struct message_feed_config config = {.max = 100000};
    size_t len = (size_t)(end - b);
    static struct feed_log whole;
    feed_cut(&message_feed_target, &config, b, len, NULL, 0, &whole);
    assert_null(strstr(whole.text, "error"));
    for (int round = 0; round < 50; round++) {
        size_t cuts[FEED_CUTS_MAX];
        size_t count = 0;
        size_t most = (size_t)1 << (3 + round % 12);
        for (size_t at = 0; count < FEED_CUTS_MAX && at < len; count++) {
            seed = seed * 1664525 + 1013904223;
            at += 1 + (seed >> 8) % most;
            cuts[count] = at < len ? at : len;
        }
        assert_true(feed_try_cuts(
            &message_feed_target, &config, b, len, cuts, count, &whole));
    }
}

/* Each quota_* call in turn says no: ERR_NOMEM, nothing lost but the message,
 * and with memory back a fresh reader is unharmed. */
static void without_memory_a_split_message_fails_cleanly(void **s)
{
    (void)s;
    uint8_t b[2048];
    uint8_t payload[300];
    memset(payload, 'x', sizeof(payload));
    uint8_t *end = put_frame(b, 0x01, payload, 300);
    end = put_frame(end, 0x89, "hi", 2);
    end = put_frame(end, 0x80, payload, 300);
    bool done = false;
    uint64_t fail_at = 0;
    while (!done) {
        mem_fail_at(++fail_at);
        struct message_reader r;
        message_reader_init(&r, 1000);
        int rc = 0;
        uint8_t copy[2048];
        memcpy(copy, b, sizeof(b));
        for (uint8_t *p = copy; p < copy + (end - b) && rc == 0;) {
            size_t n = 1;
            struct message m;
            rc = message_read(&r, &p, &n, &m);
            done = rc == 0 && m.kind == MESSAGE_TEXT;
            if (rc != 0) {
                assert_int_equal(rc, ERR_NOMEM);
                assert_non_null(m.detail);
            }
        }
        message_reader_fini(&r);
        assert_null(r.part);
    }
    mem_fail_at(0);
    assert_in_range(fail_at, 4, 100);
}

static void no_bytes_are_no_message(void **s)
{
    (void)s;
    struct message_reader r;
    message_reader_init(&r, 100);
    struct message m;
    uint8_t b[1];
    uint8_t *p = b;
    size_t n = 0;
    assert_int_equal(message_read(&r, &p, &n, &m), 0);
    assert_int_equal(m.kind, MESSAGE_MORE);
    assert_non_null(m.data);
    assert_false(message_is_partial(&r));
    message_reader_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_gives_its_events_at_every_split),
        cmocka_unit_test(
            every_compressed_vector_gives_its_events_at_every_split),
        cmocka_unit_test(a_whole_message_is_lent_from_the_callers_buffer),
        cmocka_unit_test(no_heap_is_held_between_messages),
        cmocka_unit_test(
            memory_grows_with_what_arrived_not_with_what_was_announced),
        cmocka_unit_test(memory_of_many_fragments_doubles_too),
        cmocka_unit_test(each_frame_counts_in_the_call_that_it_begins_in),
        cmocka_unit_test(the_number_of_fragments_is_bounded),
        cmocka_unit_test(who_skips_a_message_keeps_nothing_of_it),
        cmocka_unit_test(fragments_that_bring_enough_are_not_bounded),
        cmocka_unit_test(pings_do_not_count_as_fragments),
        cmocka_unit_test(a_long_mixed_stream_comes_out_the_same_at_random_cuts),
        cmocka_unit_test(without_memory_a_split_message_fails_cleanly),
        cmocka_unit_test(no_bytes_are_no_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
