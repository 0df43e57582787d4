#include "base/base.h"
#include "server/cli.h"
#include "server/embedded.h"
#include "server/new.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static int enter_empty_directory(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/moonwire-new-XXXXXX");
    return mkdtemp(dir) != NULL && chdir(dir) == 0 ? 0 : -1;
}

static int leave_directory(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

static char *read_text(const char *path)
{
    static char text[65536];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = '\0';
    return text;
}

static void every_template_file_is_written_and_knows_its_name(void **state)
{
    (void)state;
    assert_int_equal(new_app("first-app"), EXIT_OK);
    size_t count;
    const struct embedded *files = new_templates(&count);
    assert_in_range(count, 3, 100);
    for (size_t i = 0; i < count; i++) {
        char path[256];
        snprintf(path, sizeof(path), "first-app/%s", files[i].path);
        char *text = read_text(path);
        assert_null(strstr(text, "@NAME@"));
        assert_non_null(strstr(text, "first-app"));
    }
    assert_non_null(strstr(read_text("first-app/main.lua"), "on_message"));
}

static void an_existing_directory_is_left_alone(void **state)
{
    (void)state;
    assert_int_equal(mkdir("mine", 0777), 0);
    assert_int_equal(new_app("mine"), EXIT_FAILED);
    assert_int_equal(access("mine/main.lua", F_OK), -1);
    FILE *f = fopen("file", "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(new_app("file"), EXIT_FAILED);
}

static void names_that_are_paths_or_flags_are_refused(void **state)
{
    (void)state;
    char longest[66];
    memset(longest, 'a', sizeof(longest));
    longest[65] = '\0';
    const char *const bad[] = {"", "a/b", "..", ".", "/tmp/x", "-x", "a b",
        "a\n", "b\xc3\xa4r", longest};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(new_app(bad[i]), EXIT_USAGE);
    }
    longest[64] = '\0';
    assert_int_equal(new_app(longest), EXIT_OK);
}

static void a_failure_leaves_nothing_behind(void **state)
{
    (void)state;
    struct rlimit old;
    struct rlimit small = {.rlim_cur = 100};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int code = new_app("blocked");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(code, EXIT_FAILED);
    assert_int_equal(access("blocked", F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name)                                                                \
    cmocka_unit_test_setup_teardown(                                           \
        name, enter_empty_directory, leave_directory)
        T(every_template_file_is_written_and_knows_its_name),
        T(an_existing_directory_is_left_alone),
        T(names_that_are_paths_or_flags_are_refused),
        T(a_failure_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
