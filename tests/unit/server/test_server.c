#include "server/server.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void expect_name(const char *dir, const char *name)
{
    char out[SERVER_NAME_BYTES];
    memset(out, 'x', sizeof(out));
    server_app_name(dir, out);
    assert_string_equal(out, name);
}

static void an_app_is_named_after_its_directory(void **state)
{
    (void)state;
    expect_name("/srv/no-such-place/chat", "chat");
    expect_name("no-such-place/chat///", "chat");
}

static void a_dot_is_named_after_where_it_is(void **state)
{
    (void)state;
    assert_int_equal(chdir("/usr"), 0);
    expect_name(".", "usr");
    expect_name("./bin/..", "usr");
}

static void what_a_name_may_not_hold_becomes_a_dash(void **state)
{
    (void)state;
    expect_name("/no/my chat.v2", "my-chat-v2");
    expect_name("/no/\xc3\xa4", "--");
}

static void a_long_name_is_cut_and_no_name_is_app(void **state)
{
    (void)state;
    char dir[200];
    char name[65];
    memset(dir, 'a', sizeof(dir));
    dir[199] = '\0';
    memset(name, 'a', sizeof(name));
    name[64] = '\0';
    expect_name(dir, name);
    expect_name("/", "app");
    expect_name("", "app");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_app_is_named_after_its_directory),
        cmocka_unit_test(a_dot_is_named_after_where_it_is),
        cmocka_unit_test(what_a_name_may_not_hold_becomes_a_dash),
        cmocka_unit_test(a_long_name_is_cut_and_no_name_is_app),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
