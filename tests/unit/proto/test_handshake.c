/* test_handshake.c -- the vectors, and the origin rules one by one. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "proto/handshake.h"
#include "support/feed.h"
#include "support/feed_vector.h"

/* The parser and the check behind it, as one target. */
static void *start(const void *config)
{
    (void)config;
    return http_parser_new(16384, 100);
}

static bool feed(void *state, uint8_t *p, size_t n, struct feed_log *log)
{
    struct http_parser *parser = state;
    size_t used;
    enum http_result result = http_parser_feed(parser, p, n, &used);
    const char *detail = "";
    if (result == HTTP_MORE) {
        return true;
    }
    if (result == HTTP_BAD) {
        int status = http_parser_status(parser, &detail);
        feed_printf(log, "http %d %s\n", status, detail);
        return false;
    }
    const struct http_request *r = http_parser_request(parser);
    if (!handshake_is_wanted(r)) {
        feed_printf(log, "plain\n");
        return false;
    }
    int status = handshake_check(r, &detail);
    if (status != 0) {
        feed_printf(log, "%d %s\n", status, detail);
        return false;
    }
    char accept[HANDSHAKE_ACCEPT_BYTES + 1];
    handshake_accept(r, accept);
    feed_printf(log, "101 %s\n", accept);
    return false;
}

static void finish(void *state, struct feed_log *log)
{
    (void)log;
    http_parser_free(state);
}

static void try_vector(const struct vector *v, void *arg)
{
    (void)arg;
    static const struct feed_target target = {start, feed, finish};
    feed_vector(v, &target, NULL);
}

static void every_vector_gets_its_answer(void **s)
{
    (void)s;
    int count =
        vectors_read(TESTS_DIR "/vectors/handshake.txt", try_vector, NULL);
    assert_true(count > 20);
}

/* A request made by hand of name, value, name, value, ..., NULL. */
static const struct http_request *request(const char *const *words)
{
    static struct http_header headers[16];
    static struct http_request r;
    r = (struct http_request){
        .method = "GET", .target = "/", .path = "/", .minor = 1};
    for (size_t i = 0; words[i] != NULL; i += 2) {
        headers[r.header_count++] =
            (struct http_header){words[i], words[i + 1], strlen(words[i + 1])};
    }
    r.headers = headers;
    return &r;
}

static bool may_connect(const char *origin, const char *host, const char *rule)
{
    const char *words[] = {"host", host, "origin", origin, NULL};
    const char *rules[] = {"https://never.example", rule, NULL};
    return handshake_origin_is_allowed(request(words), rules);
}

static void a_client_without_origin_is_no_browser_and_may_connect(void **s)
{
    (void)s;
    const char *words[] = {"host", "a", NULL};
    assert_true(handshake_origin_is_allowed(request(words), NULL));
}

static void two_origins_are_refused(void **s)
{
    (void)s;
    const char *words[] = {
        "host", "a", "origin", "http://a", "origin", "http://a", NULL};
    const char *rules[] = {"*", NULL};
    assert_false(handshake_origin_is_allowed(request(words), rules));
}

static void a_page_may_connect_to_its_own_host(void **s)
{
    (void)s;
    static const struct {
        const char *origin;
        const char *host;
        bool may;
    } cases[] = {
        {"http://a.example", "a.example", true},
        {"https://a.example", "a.example", true},
        {"https://A.Example", "a.eXample", true},
        {"https://a.example", "a.example:443", true},
        {"http://a.example:80", "a.example", true},
        {"http://a.example:8080", "a.example:8080", true},
        {"http://[::1]:8080", "[::1]:8080", true},
        {"http://[::1]", "[::1]", true},
        {"http://a.example:8080", "a.example", false},
        {"http://a.example", "a.example:8080", false},
        {"https://a.example", "a.example:80", false},
        {"http://a.example", "b.example", false},
        {"http://a.example.evil", "a.example", false},
        {"http://evil-a.example", "a.example", false},
        {"http://a.example@evil", "evil", false},
        {"http://a.example/", "a.example", false},
        {"http://a.example:", "a.example", false},
        {"http://a.example:99999", "a.example:99999", false},
        {"http://[::1", "[::1", false},
        {"a.example", "a.example", false},
        {"null", "null", false},
        {"http://a.example", "http://a.example", false},
        {"", "a.example", false},
        {"http://", "a.example", false},
        {"x-app://a.example", "a.example", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *words[] = {
            "host", cases[i].host, "origin", cases[i].origin, NULL};
        bool may = handshake_origin_is_allowed(request(words), NULL);
        if (may != cases[i].may) {
            print_message("%s at %s\n", cases[i].origin, cases[i].host);
        }
        assert_int_equal(may, cases[i].may);
    }
}

static void a_rule_lets_in_what_it_names_and_nothing_else(void **s)
{
    (void)s;
    static const struct {
        const char *origin;
        const char *rule;
        bool may;
    } cases[] = {
        {"https://x", "*", true},
        {"null", "*", true},
        {"null", "null", true},
        {"https://chat.example", "https://chat.example", true},
        {"https://CHAT.example", "https://chat.example", true},
        {"https://chat.example", "https://chat.example:443", true},
        {"http://chat.example", "https://chat.example", false},
        {"https://chat.example:8443", "https://chat.example", false},
        {"https://chat.example:8443", "https://chat.example:8443", true},
        {"https://chat.example.evil", "https://chat.example", false},
        {"https://a.chat.example", "https://*.chat.example", true},
        {"https://a.b.chat.example", "https://*.chat.example", true},
        {"https://chat.example", "https://*.chat.example", false},
        {"https://.chat.example", "https://*.chat.example", false},
        {"https://evilchat.example", "https://*.chat.example", false},
        {"http://a.chat.example", "https://*.chat.example", false},
        {"https://a.chat.example:8443", "https://*.chat.example", false},
        {"http://localhost:3000", "http://localhost:3000", true},
        {"http://localhost:3001", "http://localhost:3000", false},
        {"https://chat.example", "chat.example", true},
        {"http://chat.example", "chat.example", true},
        {"http://chat.example:81", "chat.example", false},
        {"http://chat.example:81", "chat.example:81", true},
        {"http://a.chat.example", "*.chat.example", true},
        {"x-app://main", "x-app://main", true},
        {"null", "*.chat.example", false},
        {"a.chat.example", "*.chat.example", false},
        {"https://*.chat.example", "https://b.chat.example", false},
        {"https://x", "", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool may = may_connect(cases[i].origin, "other.host", cases[i].rule);
        if (may != cases[i].may) {
            print_message("%s by %s\n", cases[i].origin, cases[i].rule);
        }
        assert_int_equal(may, cases[i].may);
    }
}

static void a_subprotocol_is_offered_by_exact_name_in_any_header(void **s)
{
    (void)s;
    const char *words[] = {"host", "a", "sec-websocket-protocol", "chat, v2",
        "sec-websocket-protocol", "V3", NULL};
    const struct http_request *r = request(words);
    assert_true(handshake_offers(r, "chat"));
    assert_true(handshake_offers(r, "v2"));
    assert_true(handshake_offers(r, "V3"));
    assert_false(handshake_offers(r, "v3"));
    assert_false(handshake_offers(r, "cha"));
    assert_false(handshake_offers(r, "chat, v2"));
    assert_false(handshake_offers(r, ""));
}

static void the_response_is_written_whole_or_not_at_all(void **s)
{
    (void)s;
    static const char plain[] = "HTTP/1.1 101 Switching Protocols\r\n"
                                "Upgrade: websocket\r\n"
                                "Connection: Upgrade\r\n"
                                "Sec-WebSocket-Accept: KEY\r\n\r\n";
    static const char full[] = "HTTP/1.1 101 Switching Protocols\r\n"
                               "Upgrade: websocket\r\n"
                               "Connection: Upgrade\r\n"
                               "Sec-WebSocket-Accept: KEY\r\n"
                               "Sec-WebSocket-Protocol: chat\r\n"
                               "Set-Cookie: a=b\r\nX: y\r\n\r\n";
    char out[512];
    size_t n = handshake_response(out, sizeof(out), "KEY", NULL, NULL);
    assert_int_equal(n, sizeof(plain) - 1);
    assert_string_equal(out, plain);
    n = handshake_response(
        out, sizeof(out), "KEY", "chat", "Set-Cookie: a=b\r\nX: y\r\n");
    assert_int_equal(n, sizeof(full) - 1);
    assert_string_equal(out, full);
    for (size_t cap = 0; cap < sizeof(plain); cap++) {
        assert_int_equal(handshake_response(out, cap, "KEY", NULL, NULL), 0);
    }
    assert_int_equal(handshake_response(out, sizeof(plain), "KEY", NULL, NULL),
        sizeof(plain) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_gets_its_answer),
        cmocka_unit_test(a_client_without_origin_is_no_browser_and_may_connect),
        cmocka_unit_test(two_origins_are_refused),
        cmocka_unit_test(a_page_may_connect_to_its_own_host),
        cmocka_unit_test(a_rule_lets_in_what_it_names_and_nothing_else),
        cmocka_unit_test(a_subprotocol_is_offered_by_exact_name_in_any_header),
        cmocka_unit_test(the_response_is_written_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
