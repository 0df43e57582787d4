/* test_sites.c -- which directories are apps, and which path is whose. */
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/server.h"
#include "server/sites.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];
static char log_path[96];
static struct sites sites;
static char why[256];

static int enter_empty_directory(void **state)
{
    (void)state;
    log_init(-1, LOG_ERROR, LOG_JSON);
    memset(&sites, 0, sizeof(sites));
    why[0] = '\0';
    strcpy(dir, "/tmp/moonwire-sites-XXXXXX");
    return mkdtemp(dir) != NULL && chdir(dir) == 0 ? 0 : -1;
}

static int leave_directory(void **state)
{
    (void)state;
    char command[256];
    mem_fail_at(0);
    sites_fini(&sites);
    snprintf(command, sizeof(command), "rm -rf '%s' '%s.log'", dir, dir);
    return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

static void make_dir(const char *path)
{
    assert_int_equal(mkdir(path, 0700), 0);
}

static void make_file(const char *path)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
}

static void make_app(const char *name)
{
    char path[512];
    make_dir(name);
    snprintf(path, sizeof(path), "%s/main.lua", name);
    make_file(path);
}

static int look_below(const char *path)
{
    return sites_init_below(&sites, path, why, sizeof(why));
}

/* The names in the table, each with a blank behind. */
static const char *names(void)
{
    static char out[4096];
    out[0] = '\0';
    for (size_t i = 0; i < sites.count; i++) {
        strcat(out, sites.list[i].name);
        strcat(out, " ");
    }
    return out;
}

static void expect_site(const char *path, const char *name, const char *rest)
{
    const char *got = NULL;
    const struct site *site = sites_find(&sites, path, &got);
    if (name == NULL) {
        assert_null(site);
    } else {
        assert_non_null(site);
        assert_string_equal(site->name, name);
    }
    assert_string_equal(got, rest);
}

/* ---- one ---- */

static void one_site_has_every_path(void **state)
{
    (void)state;
    make_app("chat");
    sites_init_one(&sites, "chat");
    assert_int_equal(sites.count, 1);
    assert_false(sites.is_mounted);
    assert_string_equal(sites.list[0].name, "chat");
    assert_string_equal(sites.list[0].dir, "chat");
    assert_int_equal(site_get_state(&sites.list[0]), SITE_LOADING);
    assert_null(sites.list[0].app);
    static const char *const paths[] = {
        "/", "", "/chat", "/chat/", "/other/x", "//"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        expect_site(paths[i], "chat", paths[i]);
    }
}

static void one_site_needs_no_directory_to_be_there_yet(void **state)
{
    (void)state;
    sites_init_one(&sites, "/no-such-place/my chat.v2");
    assert_string_equal(sites.list[0].name, "my-chat-v2");
    assert_string_equal(sites.list[0].dir, "/no-such-place/my chat.v2");
}

/* ---- those below ---- */

static void sites_are_in_the_order_of_their_names(void **state)
{
    (void)state;
    static const char *const apps[] = {
        "zeta", "alpha", "Beta", "a-b", "a_b", "0", "beta"};
    for (size_t i = 0; i < ARRAY_LEN(apps); i++) {
        make_app(apps[i]);
    }
    assert_int_equal(look_below("."), 0);
    assert_true(sites.is_mounted);
    assert_string_equal(names(), "0 Beta a-b a_b alpha beta zeta ");
    assert_string_equal(sites.list[6].dir, "./zeta");
    for (size_t i = 0; i < sites.count; i++) {
        assert_int_equal(site_get_state(&sites.list[i]), SITE_LOADING);
    }
}

static void only_directories_with_a_main_lua_are_apps(void **state)
{
    (void)state;
    make_app("app");
    make_dir("empty");
    make_file("file");
    make_file("main.lua"); /* of no app: it lies beside them */
    make_dir("odd");
    make_dir("odd/main.lua");
    make_dir("outer");
    make_app("outer/inner");
    make_app(".hidden");
    make_dir("dangling");
    assert_int_equal(symlink("nowhere", "dangling/main.lua"), 0);
    assert_int_equal(look_below("."), 0);
    assert_string_equal(names(), "app ");
}

static void the_main_lua_of_another_is_no_app(void **state)
{
    (void)state;
    make_app("app");
    make_dir("thief");
    assert_int_equal(symlink("../app/main.lua", "thief/main.lua"), 0);
    assert_int_equal(look_below("."), 0);
    assert_string_equal(names(), "app ");
}

static void a_link_to_a_directory_is_an_app_under_its_own_name(void **state)
{
    (void)state;
    make_dir("elsewhere");
    make_app("elsewhere/app");
    make_dir("apps");
    assert_int_equal(symlink("../elsewhere/app", "apps/linked"), 0);
    assert_int_equal(look_below("apps"), 0);
    assert_string_equal(names(), "linked ");
}

static void read_log(char *out, size_t cap)
{
    FILE *f = fopen(log_path, "r");
    assert_non_null(f);
    size_t n = fread(out, 1, cap - 1, f);
    fclose(f);
    out[n] = '\0';
}

static void what_cannot_be_part_of_a_path_is_passed_over_with_a_word(
    void **state)
{
    (void)state;
    static const char *const bad[] = {
        "with blank", "dot.ted", "caf\xc3\xa9", "a%20b", "q?", "tab\there"};
    char text[8192];
    snprintf(log_path, sizeof(log_path), "%s.log", dir);
    FILE *f = fopen(log_path, "w");
    assert_non_null(f);
    make_app("good");
    make_dir("no app"); /* nobody asked for these */
    make_app(".hidden");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        make_app(bad[i]);
    }
    log_init(fileno(f), LOG_INFO, LOG_TEXT);
    assert_int_equal(look_below("."), 0);
    log_init(-1, LOG_ERROR, LOG_JSON);
    fclose(f);
    assert_string_equal(names(), "good ");
    read_log(text, sizeof(text));
    size_t lines = 0;
    for (const char *p = text; (p = strstr(p, "is not served")) != NULL; p++) {
        lines++;
    }
    assert_int_equal(lines, ARRAY_LEN(bad));
    assert_non_null(strstr(text, "./dot.ted"));
    assert_null(strstr(text, "./no app"));
}

static void a_name_has_64_bytes_at_most(void **state)
{
    (void)state;
    char name[SERVER_NAME_BYTES + 1];
    memset(name, 'n', sizeof(name) - 1);
    name[SERVER_NAME_BYTES] = '\0';
    make_app(name); /* one too many */
    name[SERVER_NAME_BYTES - 1] = '\0';
    make_app(name);
    assert_int_equal(look_below("."), 0);
    assert_int_equal(sites.count, 1);
    assert_string_equal(sites.list[0].name, name);
    char path[128];
    snprintf(path, sizeof(path), "/%s/x", name);
    expect_site(path, name, "/x");
}

static void a_directory_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(look_below("nowhere"), -ENOENT);
    assert_string_equal(why, err_text(-ENOENT));
    sites_fini(&sites);
    make_file("file");
    assert_int_equal(look_below("file"), -ENOTDIR);
    assert_string_equal(why, err_text(-ENOTDIR));
}

static void a_directory_without_an_app_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(look_below("."), -ENOENT);
    assert_string_equal(why, "no directory below it has a main.lua");
    sites_fini(&sites);
    make_app("bad name");
    assert_int_equal(look_below("."), -ENOENT);
    assert_int_equal(sites.count, 0);
}

#define MANY 300

static void many_are_all_found(void **state)
{
    (void)state;
    char name[32];
    char path[64];
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "app%d", i);
        make_app(name);
    }
    assert_int_equal(look_below(dir), 0);
    assert_int_equal(sites.count, MANY);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "app%d", i);
        snprintf(path, sizeof(path), "/%s/x/y", name);
        expect_site(path, name, "/x/y");
    }
    for (size_t i = 1; i < MANY; i++) {
        assert_true(strcmp(sites.list[i - 1].name, sites.list[i].name) < 0);
    }
}

/* ---- paths ---- */

static void the_first_part_of_a_path_says_whose_it_is(void **state)
{
    (void)state;
    make_app("chat");
    make_app("chat2");
    make_app("c");
    assert_int_equal(look_below("."), 0);
    expect_site("/chat", "chat", "");
    expect_site("/chat/", "chat", "/");
    expect_site("/chat/a/b", "chat", "/a/b");
    expect_site("/chat//a", "chat", "//a");
    expect_site("/chat2/ws", "chat2", "/ws");
    expect_site("/c", "c", "");
    expect_site("chat/a", "chat", "/a");
}

static void other_paths_are_nobodys(void **state)
{
    (void)state;
    make_app("chat");
    assert_int_equal(look_below("."), 0);
    expect_site("/", NULL, "");
    expect_site("", NULL, "");
    expect_site("//chat", NULL, "/chat");
    expect_site("/cha", NULL, "");
    expect_site("/chat3/x", NULL, "/x");
    expect_site("/Chat/x", NULL, "/x");
    expect_site("/./chat/x", NULL, "/chat/x");
    expect_site("/../chat", NULL, "/chat");
    expect_site("/chat ", NULL, "");
    expect_site("/chat.lua", NULL, "");
}

/* ---- torture ---- */

static void memory_that_is_denied_is_said_and_nothing_is_left(void **state)
{
    (void)state;
    char name[32];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "app%d", i);
        make_app(name);
    }
    int rc = ERR_NOMEM;
    uint64_t at = 1;
    for (; rc != 0; at++) {
        assert_true(at < 200);
        mem_fail_at(at);
        rc = look_below(".");
        mem_fail_at(0);
        if (rc != 0) {
            assert_int_equal(rc, ERR_NOMEM);
            assert_string_equal(why, err_text(ERR_NOMEM));
            sites_fini(&sites);
        }
    }
    assert_true(at > 20);
    assert_int_equal(sites.count, 20);
}

int main(void)
{
#define T(name)                                                                \
    cmocka_unit_test_setup_teardown(                                           \
        name, enter_empty_directory, leave_directory)
    const struct CMUnitTest tests[] = {
        T(one_site_has_every_path),
        T(one_site_needs_no_directory_to_be_there_yet),
        T(sites_are_in_the_order_of_their_names),
        T(only_directories_with_a_main_lua_are_apps),
        T(the_main_lua_of_another_is_no_app),
        T(a_link_to_a_directory_is_an_app_under_its_own_name),
        T(what_cannot_be_part_of_a_path_is_passed_over_with_a_word),
        T(a_name_has_64_bytes_at_most),
        T(a_directory_that_is_not_there_is_an_error),
        T(a_directory_without_an_app_is_an_error),
        T(many_are_all_found),
        T(the_first_part_of_a_path_says_whose_it_is),
        T(other_paths_are_nobodys),
        T(memory_that_is_denied_is_said_and_nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
