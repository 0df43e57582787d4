/* test_forwarded.c -- whom to believe in a list that everybody may write to. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "proto/forwarded.h"
#include <string.h>

static const char *client_of(const char *first, const char *second)
{
    static char text[IP_TEXT_BYTES];
    struct http_header headers[2] = {
        {"x-forwarded-for", first, 0}, {"x-forwarded-for", second, 0}};
    struct http_request r = {
        .headers = headers, .header_count = second != NULL ? 2 : 1};
    for (size_t i = 0; i < r.header_count; i++) {
        headers[i].value_len = strlen(headers[i].value);
    }
    struct cidr trusted[2];
    struct ip ip;
    assert_true(cidr_parse(&trusted[0], "10.0.0.0/8", 10));
    assert_true(cidr_parse(&trusted[1], "fd00::/8", 8));
    if (!forwarded_for(&r, trusted, 2, &ip)) {
        return NULL;
    }
    ip_write(&ip, text);
    return text;
}

static void the_last_that_is_not_trusted_is_the_client(void **s)
{
    (void)s;
    static const char *const cases[][3] = {
        {"192.0.2.1", NULL, "192.0.2.1"},
        {"1.1.1.1, 192.0.2.1", NULL, "192.0.2.1"},
        {"1.1.1.1, 192.0.2.1, 10.1.2.3, fd00::1", NULL, "192.0.2.1"},
        {"1.1.1.1", "192.0.2.1,10.0.0.1", "192.0.2.1"},
        {"192.0.2.1", "10.0.0.1", "192.0.2.1"},
        {"10.0.0.2,10.0.0.1", NULL, "10.0.0.2"},
        {" 192.0.2.1 , ,\t,", NULL, "192.0.2.1"},
        {"192.0.2.1:443", NULL, "192.0.2.1"},
        {"[2001:db8::1]:443", NULL, "2001:db8::1"},
        {"[2001:db8::1]", NULL, "2001:db8::1"},
        {"2001:db8::1", NULL, "2001:db8::1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *client = client_of(cases[i][0], cases[i][1]);
        assert_non_null(client);
        assert_string_equal(client, cases[i][2]);
    }
}

static void what_is_no_address_ends_the_list(void **s)
{
    (void)s;
    static const char *const nothing[] = {"", " , ", "unknown", "192.0.2.1, x",
        "_hidden", "192.0.2.1 192.0.2.2", "[::1", "[::1]x", "[192.0.2.1",
        "::1]"};
    for (size_t i = 0; i < ARRAY_LEN(nothing); i++) {
        assert_null(client_of(nothing[i], NULL));
    }
    /* What is behind it counts. */
    assert_string_equal(client_of("192.0.2.1, x, 10.0.0.1", NULL), "10.0.0.1");
}

static const char *host_of(const char *first, const char *second)
{
    struct http_header headers[2] = {
        {"x-forwarded-host", first, 0}, {"x-forwarded-host", second, 0}};
    struct http_request r = {
        .headers = headers, .header_count = second != NULL ? 2 : 1};
    return forwarded_host(&r);
}

static void one_host_is_believed_and_no_list(void **s)
{
    (void)s;
    assert_string_equal(host_of("a.example:8443", NULL), "a.example:8443");
    assert_null(host_of("a.example, b.example", NULL));
    assert_null(host_of("a.example", "b.example"));
    assert_null(host_of("", NULL));
    assert_null(host_of("a/b", NULL));
    struct http_request r = {.header_count = 0};
    assert_null(forwarded_host(&r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_that_is_not_trusted_is_the_client),
        cmocka_unit_test(what_is_no_address_ends_the_list),
        cmocka_unit_test(one_host_is_believed_and_no_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
