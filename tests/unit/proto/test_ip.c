/* test_ip.c -- addresses, their text, their ranges. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "proto/ip.h"
#include <string.h>

static struct ip ip_of(const char *text)
{
    struct ip ip;
    assert_true(ip_parse(&ip, text, strlen(text)));
    return ip;
}

static void an_address_is_written_as_it_is_read(void **s)
{
    (void)s;
    static const char *const pairs[][2] = {{"192.0.2.1", "192.0.2.1"},
        {"0.0.0.0", "0.0.0.0"}, {"2001:DB8:0:0::1", "2001:db8::1"},
        {"::1", "::1"}, {"::ffff:10.1.2.3", "10.1.2.3"}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        struct ip ip = ip_of(pairs[i][0]);
        char text[IP_TEXT_BYTES];
        ip_write(&ip, text);
        assert_string_equal(text, pairs[i][1]);
    }
    struct ip none = {{0}};
    char text[IP_TEXT_BYTES];
    ip_write(&none, text);
    assert_true(ip_is_none(&none));
    assert_string_equal(text, "");
}

static void what_is_no_address_is_refused(void **s)
{
    (void)s;
    static const char *const wrong[] = {"", "1", "1.2.3", "1.2.3.4.5",
        "1.2.3.256", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4:80", ":",
        ":::", "[::1]", "::1%eth0", "g::", "localhost",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct ip ip;
        assert_false(ip_parse(&ip, wrong[i], strlen(wrong[i])));
    }
    struct ip ip;
    assert_false(ip_parse(&ip, "1.2.3.4\0", 8));
}

static void a_range_has_what_begins_like_it(void **s)
{
    (void)s;
    static const struct {
        const char *range;
        const char *ip;
        bool has;
    } cases[] = {
        {"10.0.0.0/8", "10.255.1.2", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},
        {"192.0.2.128/25", "192.0.2.255", true},
        {"192.0.2.128/25", "192.0.2.127", false},
        {"0.0.0.0/0", "255.1.2.3", true},
        {"0.0.0.0/0", "::1", false},
        {"fd00::/8", "fdff::1", true},
        {"fd00::/8", "fe00::1", false},
        {"2001:db8::/33", "2001:db8:7fff::", true},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"::1", "::1", true},
        {"::/0", "::1", true},
        {"10.0.0.0/8", "::ffff:10.1.1.1", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cidr range;
        const char *text = cases[i].range;
        assert_true(cidr_parse(&range, text, strlen(text)));
        struct ip ip = ip_of(cases[i].ip);
        assert_int_equal(cidr_has(&range, 1, &ip), cases[i].has);
    }
    struct ip ip = ip_of("::1");
    assert_false(cidr_has(NULL, 0, &ip));
}

static void what_is_no_range_is_refused(void **s)
{
    (void)s;
    static const char *const wrong[] = {"", "/8", "10.0.0.0/", "10.0.0.0/33",
        "10.0.0.0/08", "10.0.0.0/-1", "10.0.0.0/8x", "10.0.0.1/8", "::1/64",
        "::/129", "10.0.0.0/1234", "a/8"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct cidr range;
        assert_false(cidr_parse(&range, wrong[i], strlen(wrong[i])));
    }
}

static void of_version_6_a_network_is_the_owner(void **s)
{
    (void)s;
    struct ip a = ip_of("2001:db8:1:2:3::4");
    struct ip b = ip_of("2001:db8:1:2::");
    struct ip owner = ip_owner(&a);
    assert_memory_equal(&owner, &b, sizeof(b));
    a = ip_of("192.0.2.1");
    owner = ip_owner(&a);
    assert_memory_equal(&owner, &a, sizeof(a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_written_as_it_is_read),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(a_range_has_what_begins_like_it),
        cmocka_unit_test(what_is_no_range_is_refused),
        cmocka_unit_test(of_version_6_a_network_is_the_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
