/* test_watch.c -- a directory in which files come, change and go the ways that
 * people and their editors have. */
#include "loop/loop_priv.h"
#include "loop/watch.h"
#include "loop/watch_priv.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop *loop;
static struct watch *watch;
static char base[64];
static unsigned reports;

static const char *at(const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, PATH_MAX, "%s/%s", base, name);
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(at(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void make_dir(const char *name)
{
    assert_int_equal(mkdir(at(name), 0700), 0);
}

static int unlink_any(
    const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_tree(const char *path)
{
    nftw(path, unlink_any, 8, FTW_DEPTH | FTW_PHYS);
}

static void on_change(void *arg)
{
    assert_ptr_equal(arg, base);
    reports++;
}

static void run_ms(uint64_t ms)
{
    uint64_t end_ns = loop_clock_ns() + ms * 1000000;
    while (loop_clock_ns() < end_ns) {
        loop_turn(loop, 10);
    }
}

/* True if a report comes within a generous time; then waits for silence. */
static bool is_told(void)
{
    uint64_t end_ns = loop_clock_ns() + (2 * WATCH_POLL_MS + 2000) * 1000000ull;
    while (reports == 0 && loop_clock_ns() < end_ns) {
        loop_turn(loop, 50);
    }
    bool was_told = reports > 0;
    run_ms(2 * WATCH_DEBOUNCE_MS);
    reports = 0;
    return was_told;
}

static int open_tree(void **state)
{
    (void)state;
    strcpy(base, "/tmp/moonwire-watch-XXXXXX");
    assert_non_null(mkdtemp(base));
    make_dir("app");
    make_dir("app/lib");
    put("app/main.lua", "return 1\n");
    put("app/lib/util.lua", "return 2\n");
    loop = loop_new(0);
    watch = watch_new(loop, at("app"), on_change, base);
    assert_non_null(watch);
    reports = 0;
    return 0;
}

static int close_tree(void **state)
{
    (void)state;
    if (watch != NULL) {
        watch_free(watch);
    }
    loop_free(loop);
    remove_tree(base);
    return 0;
}

static void watch_by_polling(void)
{
    watch_free(watch);
    loop->has_no_fs_events = true;
    watch = watch_new(loop, at("app"), on_change, base);
    assert_non_null(watch);
}

static void nothing_changes_and_nothing_is_said(void **state)
{
    (void)state;
    run_ms(300);
    assert_int_equal(reports, 0);
    close(open(at("app/main.lua"), O_RDONLY));
    run_ms(300);
    assert_int_equal(reports, 0);
}

static void a_file_written_in_place_is_seen(void **state)
{
    (void)state;
    put("app/main.lua", "return 3\n");
    assert_true(is_told());
    put("app/lib/util.lua", "return 4\n");
    assert_true(is_told());
}

static void a_save_by_rename_is_seen_each_time(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        put("app/main.lua.new", "return 5\n");
        assert_int_equal(rename(at("app/main.lua.new"), at("app/main.lua")), 0);
        assert_true(is_told());
    }
    /* From a hidden name, and after a backup, as editors do. */
    put("app/.main.lua.swp", "return 6\n");
    run_ms(300);
    assert_int_equal(reports, 0);
    assert_int_equal(rename(at("app/main.lua"), at("app/main.lua~")), 0);
    assert_int_equal(rename(at("app/.main.lua.swp"), at("app/main.lua")), 0);
    assert_true(is_told());
}

static void a_file_that_goes_is_seen(void **state)
{
    (void)state;
    assert_int_equal(unlink(at("app/lib/util.lua")), 0);
    assert_true(is_told());
}

static void a_burst_is_one_report(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        put("app/main.lua", "return 7\n");
        put("app/other.lua", "return 8\n");
        run_ms(5);
    }
    run_ms(3 * WATCH_DEBOUNCE_MS);
    assert_int_equal(reports, 1);
}

static void writing_without_end_is_reported_all_the_same(void **state)
{
    (void)state;
    uint64_t end_ns = loop_clock_ns() + 5000000000ull;
    while (reports == 0 && loop_clock_ns() < end_ns) {
        put("app/main.lua", "return 9\n");
        run_ms(20);
    }
    assert_true(reports > 0);
}

static void a_new_directory_is_watched_too(void **state)
{
    (void)state;
    make_dir("app/rooms");
    assert_true(is_told());
    make_dir("app/rooms/deep");
    assert_true(is_told());
    put("app/rooms/deep/lobby.lua", "return 10\n");
    assert_true(is_told());
    put("app/rooms/deep/lobby.lua", "return 11\n");
    assert_true(is_told());
}

static void a_directory_moved_in_brings_its_files(void **state)
{
    (void)state;
    make_dir("pack");
    make_dir("pack/inner");
    put("pack/inner/x.lua", "return 12\n");
    assert_int_equal(rename(at("pack"), at("app/pack")), 0);
    assert_true(is_told());
    put("app/pack/inner/x.lua", "return 13\n");
    assert_true(is_told());
}

static void a_directory_deleted_and_made_again_is_watched_again(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        remove_tree(at("app/lib"));
        make_dir("app/lib"); /* may well get the same inode */
        assert_true(is_told());
        put("app/lib/util.lua", "return 14\n");
        assert_true(is_told());
    }
}

static void a_root_deleted_and_made_again_is_found(void **state)
{
    (void)state;
    remove_tree(at("app"));
    assert_true(is_told());
    make_dir("app");
    put("app/main.lua", "return 15\n");
    assert_true(is_told());
    put("app/main.lua", "return 16\n");
    assert_true(is_told());
}

static void a_root_replaced_by_another_directory_is_noticed(void **state)
{
    (void)state;
    make_dir("next");
    put("next/main.lua", "return 17\n");
    assert_int_equal(rename(at("app"), at("old")), 0);
    assert_int_equal(rename(at("next"), at("app")), 0);
    assert_true(is_told());
    put("app/main.lua", "return 18\n");
    assert_true(is_told());
}

static void a_root_that_is_a_link_may_be_pointed_elsewhere(void **state)
{
    (void)state;
    make_dir("v2");
    put("v2/main.lua", "return 19\n");
    assert_int_equal(symlink("app", at("current")), 0);
    watch_free(watch);
    watch = watch_new(loop, at("current/"), on_change, base);
    assert_non_null(watch);
    assert_int_equal(symlink("v2", at("current.new")), 0);
    assert_int_equal(rename(at("current.new"), at("current")), 0);
    assert_true(is_told());
    put("v2/main.lua", "return 20\n");
    assert_true(is_told());
    put("app/main.lua", "return 21\n");
    run_ms(300);
    assert_int_equal(reports, 0);
}

static void what_lies_above_the_root_may_be_replaced(void **state)
{
    (void)state;
    make_dir("v1");
    make_dir("v1/app");
    make_dir("v2");
    make_dir("v2/app");
    put("v2/app/main.lua", "return 22\n");
    assert_int_equal(symlink("v1", at("current")), 0);
    watch_free(watch);
    watch = watch_new(loop, at("current/app"), on_change, base);
    assert_non_null(watch);
    assert_int_equal(symlink("v2", at("current.new")), 0);
    assert_int_equal(rename(at("current.new"), at("current")), 0);
    assert_true(is_told());
    put("v2/app/main.lua", "return 23\n");
    assert_true(is_told());
    put("v1/app/main.lua", "return 24\n");
    run_ms(300);
    assert_int_equal(reports, 0);
}

/* Thousands of apps lie side by side and do not change. */
static void a_root_that_has_events_is_not_looked_at(void **state)
{
    (void)state;
    make_dir("next");
    struct watch *next = watch_new(loop, at("next"), on_change, base);
    assert_non_null(next);
    assert_false(timer_is_started(&watch->poll));
    assert_false(timer_is_started(&next->poll));
    assert_ptr_equal(watch->ground, next->ground);
    watch_free(next);
    remove_tree(at("app"));
    assert_true(is_told());
    assert_true(timer_is_started(&watch->poll));
    make_dir("app");
    assert_true(is_told());
    assert_false(timer_is_started(&watch->poll));
}

static void hidden_directories_are_left_out(void **state)
{
    (void)state;
    make_dir("app/.git");
    run_ms(300);
    assert_int_equal(reports, 0);
    put("app/.git/index", "x");
    put("app/main.lua", "return 22\n");
    assert_true(is_told()); /* makes it look at the tree anew */
    put("app/.git/index", "y");
    run_ms(300);
    assert_int_equal(reports, 0);
}

static void a_root_with_a_hidden_name_works_as_any(void **state)
{
    (void)state;
    make_dir(".app");
    watch_free(watch);
    watch = watch_new(loop, at(".app"), on_change, base);
    put(".app/main.lua", "return 23\n");
    assert_true(is_told());
    remove_tree(at(".app"));
    assert_true(is_told());
}

static void without_events_time_stamps_tell(void **state)
{
    (void)state;
    watch_by_polling();
    run_ms(300);
    assert_int_equal(reports, 0);
    put("app/lib/util.lua", "return 24 -- longer\n");
    assert_true(is_told());
    make_dir("app/fresh");
    put("app/fresh/x.lua", "return 25\n");
    assert_true(is_told());
    put("app/fresh/x.lua", "return 26\n"); /* the same size */
    assert_true(is_told());
    run_ms(WATCH_POLL_MS + 300);
    assert_int_equal(reports, 0);
}

static void more_directories_than_are_watched_do_no_harm(void **state)
{
    (void)state;
    char name[64];
    for (int i = 0; i < WATCH_DIRS_MAX + 40; i++) {
        snprintf(name, sizeof(name), "app/d%03d", i);
        make_dir(name);
    }
    assert_true(is_told());
    put("app/main.lua", "return 27\n");
    assert_true(is_told());
}

static void free_the_watch(void *arg)
{
    (void)arg;
    reports++;
    watch_free(watch);
    watch = NULL;
}

static void the_report_may_free_the_watch(void **state)
{
    (void)state;
    watch_free(watch);
    watch = watch_new(loop, at("app"), free_the_watch, base);
    put("app/main.lua", "return 28\n");
    assert_true(is_told());
    put("app/main.lua", "return 29\n");
    run_ms(300);
    assert_int_equal(reports, 0);
}

static void freeing_with_an_event_on_its_way_is_safe(void **state)
{
    (void)state;
    put("app/main.lua", "return 30\n");
    watch_free(watch);
    watch = NULL;
    run_ms(200);
    assert_int_equal(reports, 0);
}

static void what_is_no_directory_cannot_be_watched(void **state)
{
    (void)state;
    assert_null(watch_new(loop, at("app/main.lua"), on_change, base));
    assert_null(watch_new(loop, at("nowhere"), on_change, base));
}

#define ON_TREE(test)                                                          \
    cmocka_unit_test_setup_teardown(test, open_tree, close_tree)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_TREE(nothing_changes_and_nothing_is_said),
        ON_TREE(a_file_written_in_place_is_seen),
        ON_TREE(a_save_by_rename_is_seen_each_time),
        ON_TREE(a_file_that_goes_is_seen),
        ON_TREE(a_burst_is_one_report),
        ON_TREE(writing_without_end_is_reported_all_the_same),
        ON_TREE(a_new_directory_is_watched_too),
        ON_TREE(a_directory_moved_in_brings_its_files),
        ON_TREE(a_directory_deleted_and_made_again_is_watched_again),
        ON_TREE(a_root_deleted_and_made_again_is_found),
        ON_TREE(a_root_replaced_by_another_directory_is_noticed),
        ON_TREE(a_root_that_is_a_link_may_be_pointed_elsewhere),
        ON_TREE(what_lies_above_the_root_may_be_replaced),
        ON_TREE(a_root_that_has_events_is_not_looked_at),
        ON_TREE(hidden_directories_are_left_out),
        ON_TREE(a_root_with_a_hidden_name_works_as_any),
        ON_TREE(without_events_time_stamps_tell),
        ON_TREE(more_directories_than_are_watched_do_no_harm),
        ON_TREE(the_report_may_free_the_watch),
        ON_TREE(freeing_with_an_event_on_its_way_is_safe),
        ON_TREE(what_is_no_directory_cannot_be_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
