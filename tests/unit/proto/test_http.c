/* test_http.c -- the vectors at every split, and what vectors cannot say. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "base/mem.h"
#include "support/feed_vector.h"
#include "support/http_feed.h"

static void try_vector(const struct vector *v, void *arg)
{
    (void)arg;
    struct http_feed_config config = {
        .head_bytes = (size_t)vector_setting(v, "head", 16384),
        .headers = (size_t)vector_setting(v, "headers", 100),
    };
    feed_vector(v, &http_feed_target, &config);
}

static void every_vector_gives_its_events_at_every_split(void **s)
{
    (void)s;
    int count = vectors_read(TESTS_DIR "/vectors/http.txt", try_vector, NULL);
    assert_true(count > 60);
}

static enum http_result feed(struct http_parser *p, const char *text)
{
    size_t used;
    return http_parser_feed(p, (const uint8_t *)text, strlen(text), &used);
}

static int status_of(struct http_parser *p)
{
    const char *detail = NULL;
    int status = http_parser_status(p, &detail);
    assert_non_null(detail);
    return status;
}

/* Each byte in turn at each place of a head: a byte that passes must come out
 * as it went in, or be one that may stand there. */
static void no_control_byte_gets_through_anywhere(void **s)
{
    (void)s;
    static const char head[] =
        "GET /a?b HTTP/1.1\r\nHost: a\r\nX-Y: z w\r\n\r\n";
    struct http_parser *p = http_parser_new(1000, 10);
    for (size_t at = 0; at + 1 < sizeof(head); at++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            char t[sizeof(head)];
            memcpy(t, head, sizeof(head));
            t[at] = (char)byte;
            size_t used;
            enum http_result result =
                http_parser_feed(p, (const uint8_t *)t, sizeof(t) - 1, &used);
            bool is_control = byte < 0x20 || byte == 0x7f;
            if (result == HTTP_REQUEST && t[at] != head[at] && is_control) {
                const struct http_request *r = http_parser_request(p);
                assert_int_equal(byte, '\t'); /* only in or before a value */
                assert_string_equal(r->target, "/a?b");
            }
            if (result == HTTP_REQUEST) {
                assert_int_equal(used, sizeof(t) - 1);
            }
            http_parser_reset(p);
        }
    }
    http_parser_free(p);
}

static void a_parser_that_refused_goes_on_refusing_until_reset(void **s)
{
    (void)s;
    struct http_parser *p = http_parser_new(1000, 10);
    assert_int_equal(feed(p, "GET / HTTP/3.0\r\n"), HTTP_BAD);
    assert_int_equal(status_of(p), 505);
    assert_int_equal(feed(p, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_BAD);
    assert_int_equal(status_of(p), 505);
    http_parser_reset(p);
    assert_int_equal(
        feed(p, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP_REQUEST);
    http_parser_free(p);
    http_parser_free(NULL);
}

/* RFC 9110 7.8: what is not spoken here is not heard. */
static void only_a_websocket_is_an_upgrade(void **s)
{
    (void)s;
    static const struct {
        const char *lines;
        bool is_upgrade;
    } cases[] = {
        {"Connection: Upgrade\r\nUpgrade: websocket\r\n", true},
        {"Connection: Upgrade\r\nUpgrade: h2c, WebSocket\r\n", true},
        {"Connection: Upgrade\r\nUpgrade: h2c\r\n", false},
        {"Connection: Upgrade\r\n", false},
        {"Upgrade: websocket\r\n", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[256];
        (void)snprintf(text, sizeof(text),
            "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", cases[i].lines);
        struct http_parser *p = http_parser_new(1000, 10);
        assert_int_equal(feed(p, text), HTTP_REQUEST);
        assert_int_equal(http_parser_request(p)->upgrade, cases[i].is_upgrade);
        http_parser_free(p);
    }
}

static void nothing_of_one_request_is_left_in_the_next(void **s)
{
    (void)s;
    struct http_parser *p = http_parser_new(1000, 10);
    assert_int_equal(
        feed(p, "POST /x?y HTTP/1.1\r\nHost: a\r\n"
                "Connection: close, upgrade\r\nUpgrade: websocket\r\n"
                "Content-Length: 9\r\n\r\n"),
        HTTP_REQUEST);
    const struct http_request *r = http_parser_request(p);
    assert_true(r->upgrade && r->has_body && !r->keep_alive);
    http_parser_reset(p);
    assert_int_equal(feed(p, "POST / HTTP/1.1\r\nHost: a\r\n"
                             "Transfer-Encoding: chunked\r\n\r\n"),
        HTTP_REQUEST);
    assert_true(http_parser_request(p)->has_body);
    /* A feed behind a request begins the next one by itself. */
    assert_int_equal(
        feed(p, "GET / HTTP/1.1\r\nHost: b\r\n\r\n"), HTTP_REQUEST);
    r = http_parser_request(p);
    assert_string_equal(r->method, "GET");
    assert_string_equal(r->path, "/");
    assert_string_equal(r->query, "");
    assert_true(r->keep_alive && !r->upgrade && !r->has_body);
    assert_int_equal(r->header_count, 1);
    http_parser_free(p);
}

static void headers_are_found_by_name_and_their_tokens_without_case(void **s)
{
    (void)s;
    struct http_parser *p = http_parser_new(1000, 10);
    assert_int_equal(
        feed(p, "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n"
                "connection:,, Foo ,\tUPGRADE ,\r\nX: a\r\nX: b\r\n\r\n"),
        HTTP_REQUEST);
    const struct http_request *r = http_parser_request(p);
    assert_string_equal(http_header_find(r, "x"), "a");
    assert_null(http_header_find(r, "y"));
    assert_int_equal(http_header_count(r, "x"), 2);
    assert_int_equal(http_header_count(r, "y"), 0);
    assert_true(http_header_has_token(r, "connection", "upgrade"));
    assert_true(http_header_has_token(r, "connection", "Keep-Alive"));
    assert_true(http_header_has_token(r, "connection", "foo"));
    assert_false(http_header_has_token(r, "connection", "upgrad"));
    assert_false(http_header_has_token(r, "connection", "upgrades"));
    assert_false(http_header_has_token(r, "connection", ""));
    assert_false(http_header_has_token(r, "y", "upgrade"));
    http_parser_free(p);
}

/* Each quota_* call in turn says no: 503, and after a reset all is well. */
static void without_memory_a_head_is_refused_cleanly(void **s)
{
    (void)s;
    static const char head[] =
        "GET /a%20path HTTP/1.1\r\nHost: a\r\n"
        "X-Long: 0123456789012345678901234567890123456789"
        "012345678901234567890123456789\r\n\r\n";
    struct http_parser *p = http_parser_new(1000, 10);
    int failures = 0;
    for (uint64_t n = 1;; n++) {
        mem_fail_at(n);
        enum http_result result = feed(p, head);
        mem_fail_at(0);
        if (result == HTTP_REQUEST) {
            break;
        }
        assert_int_equal(result, HTTP_BAD);
        assert_int_equal(status_of(p), 503);
        failures++;
        http_parser_reset(p);
    }
    assert_in_range(failures, 2, 20);
    http_parser_free(p);
}

static void a_waiting_connection_holds_no_text(void **s)
{
    (void)s;
    struct http_parser *p = http_parser_new(1000, 10);
    uint64_t calls = mem_quota_calls();
    assert_int_equal(feed(p, "\r\n\r\n"), HTTP_MORE);
    assert_int_equal(mem_quota_calls(), calls);
    http_parser_free(p);
}

static void every_status_we_send_has_a_phrase(void **s)
{
    (void)s;
    static const int sent[] = {101, 200, 304, 400, 403, 404, 405, 408, 413, 414,
        426, 429, 431, 500, 501, 503, 505};
    for (size_t i = 0; i < sizeof(sent) / sizeof(sent[0]); i++) {
        assert_string_not_equal(http_reason(sent[i]), "Unknown");
    }
    assert_string_equal(http_reason(404), "Not Found");
    assert_string_equal(http_reason(299), "Unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_gives_its_events_at_every_split),
        cmocka_unit_test(no_control_byte_gets_through_anywhere),
        cmocka_unit_test(a_parser_that_refused_goes_on_refusing_until_reset),
        cmocka_unit_test(only_a_websocket_is_an_upgrade),
        cmocka_unit_test(nothing_of_one_request_is_left_in_the_next),
        cmocka_unit_test(
            headers_are_found_by_name_and_their_tokens_without_case),
        cmocka_unit_test(without_memory_a_head_is_refused_cleanly),
        cmocka_unit_test(a_waiting_connection_holds_no_text),
        cmocka_unit_test(every_status_we_send_has_a_phrase),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
