/* What an operator sets against rude peers: limits for an address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/guard.h"
#include <string.h>

static struct ip ip_of(const char *text)
{
    struct ip ip;
    assert_true(ip_parse(&ip, text, strlen(text)));
    return ip;
}

static bool admits(const struct guard *g, const char *text, uint64_t now)
{
    struct ip ip = ip_of(text);
    char why[GUARD_WHY_BYTES] = "";
    bool is_in = guard_admits(g, &ip, now, why);
    assert_int_equal(is_in, why[0] == '\0');
    return is_in;
}

static struct tally_entry *enter(const struct guard *g, const char *text)
{
    struct ip ip = ip_of(text);
    struct ip owner = ip_owner(&ip);
    struct tally_entry *e = tally_enter(g->tally, owner.b);
    assert_non_null(e);
    return e;
}

static void defaults_count_nobody_and_trust_nobody(void **s)
{
    (void)s;
    struct guard g;
    guard_init(&g);
    guard_start(&g);
    assert_null(g.tally);
    struct ip ip = ip_of("127.0.0.1");
    assert_false(guard_trusts(&g, &ip));
    assert_true(admits(&g, "127.0.0.1", 1));
    assert_int_equal(g.head_bytes, guard_default.head_bytes);
    guard_fini(&g);
}

static void an_address_has_so_many_connections(void **s)
{
    (void)s;
    struct guard g;
    guard_init(&g);
    g.address_connections = 2;
    guard_start(&g);
    struct tally_entry *a = enter(&g, "192.0.2.1");
    assert_true(admits(&g, "192.0.2.1", 1));
    struct tally_entry *b = enter(&g, "192.0.2.1");
    assert_false(admits(&g, "192.0.2.1", 1));
    assert_true(admits(&g, "192.0.2.2", 1));
    tally_leave(g.tally, a);
    assert_true(admits(&g, "192.0.2.1", 1));
    tally_leave(g.tally, b);
    guard_fini(&g);
}

static void an_address_has_so_many_new_ones_a_second(void **s)
{
    (void)s;
    struct guard g;
    guard_init(&g);
    g.address_rate = (struct rate){.per_s = 10, .burst = 3};
    guard_start(&g);
    for (int i = 0; i < 3; i++) {
        assert_true(admits(&g, "2001:db8::1", 1000));
    }
    assert_false(admits(&g, "2001:db8::2", 1000)); /* the same network */
    assert_true(admits(&g, "2001:db8:0:1::1", 1000));
    assert_true(admits(&g, "2001:db8::3", 1100));
    assert_false(admits(&g, "2001:db8::4", 1100));
    guard_fini(&g);
}

static void a_trusted_proxy_is_never_turned_away(void **s)
{
    (void)s;
    struct guard g;
    guard_init(&g);
    g.address_connections = 1;
    assert_true(cidr_parse(&g.proxies[g.proxy_count++], "10.0.0.0/8", 10));
    guard_start(&g);
    struct tally_entry *e = enter(&g, "10.0.0.1");
    assert_true(admits(&g, "10.0.0.1", 1));
    tally_leave(g.tally, e);
    guard_fini(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_count_nobody_and_trust_nobody),
        cmocka_unit_test(an_address_has_so_many_connections),
        cmocka_unit_test(an_address_has_so_many_new_ones_a_second),
        cmocka_unit_test(a_trusted_proxy_is_never_turned_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
