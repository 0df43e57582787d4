/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "app/snapshot.h"
#include "base/limits.h"
#include "base/mem.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static char why[512];

static void write_bytes(const char *name, const void *p, size_t n)
{
    char path[1024];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    for (char *s = path + strlen(dir) + 1; (s = strchr(s, '/')) != NULL; s++) {
        *s = '\0';
        mkdir(path, 0755);
        *s = '/';
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), n);
    close(fd);
}

static void write_text(const char *name, const char *text)
{
    write_bytes(name, text, strlen(text));
}

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/moonwire-snapshot-XXXXXX");
    why[0] = '\0';
    return mkdtemp(dir) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command);
}

static struct snapshot *take(void)
{
    struct snapshot *s = NULL;
    int rc = snapshot_read(dir, &s, why, sizeof(why));
    assert_string_equal(why, "");
    assert_int_equal(rc, 0);
    return s;
}

static int take_fails(void)
{
    struct snapshot *s = (struct snapshot *)(uintptr_t)1;
    int rc = snapshot_read(dir, &s, why, sizeof(why));
    assert_true(rc < 0);
    assert_null(s);
    assert_true(why[0] != '\0');
    return rc;
}

static void it_holds_every_lua_file_below_the_directory(void **state)
{
    (void)state;
    write_text("main.lua", "return 1");
    write_text("lib/words.lua", "return {}");
    write_text("lib/deep/er.lua", "");
    write_text("app.conf.lua", "return {}");
    write_text("readme.md", "no");
    write_text(".lua", "no");
    write_text(".hidden.lua", "no");
    write_text(".git/hook.lua", "no");
    write_text("public/script.lua", "no");
    write_text("lib/public/yes.lua", "only the one at the top is public");
    struct snapshot *s = take();
    assert_int_equal(s->count, 5);
    assert_string_equal(snapshot_find(s, "main.lua")->data, "return 1");
    assert_int_equal(snapshot_find(s, "main.lua")->len, 8);
    assert_non_null(snapshot_find(s, "lib/words.lua"));
    assert_int_equal(snapshot_find(s, "lib/deep/er.lua")->len, 0);
    assert_string_equal(snapshot_find(s, "lib/deep/er.lua")->data, "");
    assert_non_null(snapshot_find(s, "lib/public/yes.lua"));
    assert_null(snapshot_find(s, "public/script.lua"));
    assert_null(snapshot_find(s, "lib/words"));
    assert_null(snapshot_find(s, ""));
    snapshot_unref(s);
}

static void a_directory_without_main_is_no_app(void **state)
{
    (void)state;
    write_text("lib/deep/main.lua", "");
    assert_int_equal(take_fails(), ERR_NOT_FOUND);
    assert_string_equal(why, "there is no main.lua in this directory");
    write_text("lib/main.lua", "");
    assert_int_equal(take_fails(), ERR_NOT_FOUND);
    assert_string_equal(why,
        "there is no main.lua in this directory, but in lib/: "
        "`moonwire serve` is for a directory of apps");
}

static void what_is_no_directory_is_told_so(void **state)
{
    (void)state;
    struct snapshot *s;
    write_text("main.lua", "");
    char path[128];
    snprintf(path, sizeof(path), "%s/nowhere", dir);
    assert_int_equal(snapshot_read(path, &s, why, sizeof(why)), ERR_NOT_FOUND);
    assert_non_null(strstr(why, "there is no such directory"));
    snprintf(path, sizeof(path), "%s/main.lua", dir);
    assert_true(snapshot_read(path, &s, why, sizeof(why)) < 0);
    assert_non_null(strstr(why, "is not a directory"));
}

static void links_to_files_are_refused_and_to_directories_not_followed(
    void **state)
{
    (void)state;
    char path[128];
    write_text("main.lua", "");
    snprintf(path, sizeof(path), "%s/away", dir);
    assert_int_equal(symlink("/etc", path), 0);
    struct snapshot *s = take();
    assert_int_equal(s->count, 1);
    snapshot_unref(s);
    snprintf(path, sizeof(path), "%s/secret.lua", dir);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(take_fails(), ERR_DENIED);
    assert_string_equal(why, "secret.lua: is a symbolic link; an app's files "
                             "lie in its directory");
}

static void a_pipe_of_that_name_is_not_waited_for(void **state)
{
    (void)state;
    char path[128];
    write_text("main.lua", "");
    snprintf(path, sizeof(path), "%s/pipe.lua", dir);
    assert_int_equal(mkfifo(path, 0644), 0);
    struct snapshot *s = take();
    assert_int_equal(s->count, 1);
    snapshot_unref(s);
}

static void bytes_are_kept_as_they_are(void **state)
{
    (void)state;
    char bytes[256];
    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)i;
    }
    write_text("main.lua", "");
    write_bytes("odd.lua", bytes, sizeof(bytes));
    struct snapshot *s = take();
    assert_int_equal(snapshot_find(s, "odd.lua")->len, 256);
    assert_memory_equal(snapshot_find(s, "odd.lua")->data, bytes, 256);
    assert_int_equal(s->bytes, 256);
    snapshot_unref(s);
}

static void the_hash_tells_names_and_contents_apart(void **state)
{
    (void)state;
    uint8_t first[32];
    write_text("main.lua", "a");
    write_text("x.lua", "b");
    struct snapshot *s = take();
    memcpy(first, s->hash, 32);
    snapshot_unref(s);

    s = take();
    assert_memory_equal(first, s->hash, 32);
    snapshot_unref(s);

    write_text("x.lua", "c");
    s = take();
    assert_memory_not_equal(first, s->hash, 32);
    snapshot_unref(s);

    char from[128];
    char to[128];
    write_text("x.lua", "b");
    snprintf(from, sizeof(from), "%s/x.lua", dir);
    snprintf(to, sizeof(to), "%s/y.lua", dir);
    assert_int_equal(rename(from, to), 0);
    s = take();
    assert_memory_not_equal(first, s->hash, 32);
    snapshot_unref(s);

    /* What is not Lua does not count. */
    assert_int_equal(rename(to, from), 0);
    write_text("notes.txt", "z");
    s = take();
    assert_memory_equal(first, s->hash, 32);
    snapshot_unref(s);
}

static void too_many_bytes_are_not_read(void **state)
{
    (void)state;
    char path[128];
    write_text("main.lua", "");
    write_text("big.lua", "");
    snprintf(path, sizeof(path), "%s/big.lua", dir);
    assert_int_equal(truncate(path, LIMIT_SNAPSHOT_BYTES), 0);
    struct snapshot *s = take();
    assert_int_equal(s->bytes, LIMIT_SNAPSHOT_BYTES);
    snapshot_unref(s);
    /* Sparse: far more than the machine has. */
    assert_int_equal(truncate(path, (off_t)1 << 40), 0);
    assert_int_equal(take_fails(), ERR_TOO_BIG);
    assert_string_equal(why, "more than 8 MiB of Lua files");
}

static void too_many_files_are_refused(void **state)
{
    (void)state;
    char name[32];
    write_text("main.lua", "");
    for (int i = 0; i < LIMIT_SNAPSHOT_FILES - 1; i++) {
        snprintf(name, sizeof(name), "f%d.lua", i);
        write_text(name, "");
    }
    struct snapshot *s = take();
    assert_int_equal(s->count, LIMIT_SNAPSHOT_FILES);
    snapshot_unref(s);
    write_text("one_more.lua", "");
    assert_int_equal(take_fails(), ERR_TOO_BIG);
    assert_string_equal(why, "more than 1024 Lua files");
}

static void deep_directories_and_long_paths_are_refused_by_name(void **state)
{
    (void)state;
    char name[1024] = "";
    write_text("main.lua", "");
    for (int i = 0; i < 16; i++) {
        strcat(name, "d/");
    }
    strcat(name, "ok.lua");
    write_text(name, "");
    struct snapshot *s = take();
    assert_non_null(snapshot_find(s, name));
    snapshot_unref(s);
    memcpy(name + 32, "d/no.lua", 9);
    write_text(name, "");
    assert_int_equal(take_fails(), ERR_TOO_BIG);
    assert_non_null(strstr(why, "is too deep"));

    tear_down(NULL);
    set_up(NULL);
    write_text("main.lua", "");
    name[0] = '\0';
    for (int i = 0; i < 5; i++) {
        strcat(name, "a_name_of_a_hundred_bytes_a_name_of_a_hundred_bytes_"
                     "a_name_of_a_hundred_bytes_a_name_of_a_hundred_b/");
    }
    strcat(name, "picture.png");
    write_text(name, "a path as long as this troubles nobody");
    snapshot_unref(take());
    strcpy(strrchr(name, '/'), "/code_of_mine.lua");
    write_text(name, "");
    assert_int_equal(take_fails(), ERR_TOO_BIG);
    assert_string_equal(why, "code_of_mine.lua: the path is too long");
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
    (void)state;
    char path[128];
    write_text("main.lua", "");
    write_text("locked.lua", "");
    if (geteuid() == 0) {
        skip(); /* root may read everything */
    }
    snprintf(path, sizeof(path), "%s/locked.lua", dir);
    assert_int_equal(chmod(path, 0), 0);
    (void)take_fails();
    assert_string_equal(why, "locked.lua: Permission denied");
}

static void a_reference_keeps_it(void **state)
{
    (void)state;
    write_text("main.lua", "still here");
    struct snapshot *s = take();
    assert_ptr_equal(snapshot_ref(s), s);
    snapshot_unref(s);
    assert_string_equal(snapshot_find(s, "main.lua")->data, "still here");
    snapshot_unref(s);
    snapshot_unref(NULL);
}

static void when_memory_fails_nothing_is_left_behind(void **state)
{
    (void)state;
    write_text("main.lua", "1");
    write_text("x.lua", "2");
    for (uint64_t n = 1; n <= 2; n++) {
        mem_fail_at(n);
        assert_int_equal(take_fails(), ERR_NOMEM);
        mem_fail_at(0);
        assert_non_null(strstr(why, ".lua: no memory"));
    }
    mem_fail_at(3);
    struct snapshot *s = NULL;
    assert_int_equal(snapshot_read(dir, &s, why, sizeof(why)), 0);
    mem_fail_at(0);
    snapshot_unref(s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_holds_every_lua_file_below_the_directory),
        TEST(a_directory_without_main_is_no_app),
        TEST(what_is_no_directory_is_told_so),
        TEST(links_to_files_are_refused_and_to_directories_not_followed),
        TEST(a_pipe_of_that_name_is_not_waited_for),
        TEST(bytes_are_kept_as_they_are),
        TEST(the_hash_tells_names_and_contents_apart),
        TEST(too_many_bytes_are_not_read),
        TEST(too_many_files_are_refused),
        TEST(deep_directories_and_long_paths_are_refused_by_name),
        TEST(a_file_that_cannot_be_read_is_named),
        TEST(a_reference_keeps_it),
        TEST(when_memory_fails_nothing_is_left_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
