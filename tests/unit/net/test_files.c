/* test_files.c -- paths, tags and conditions one by one, then whole answers
 * over a socket, from a directory with all that should not be served. */
#include "fetch.h"
#include "net/files.h"
#include "net/files_priv.h"
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/un.h>

static struct world world;
static struct files *files;
static char base[64];
static int base_fd;
static int fds_before;

static int count_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d) != NULL) {
        n++;
    }
    closedir(d);
    return n;
}

static void put_at(int dir_fd, const char *name, const char *text)
{
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static int unlink_any(
    const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int socket_at(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s/public/%s", base, name);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int rc = bind(fd, (struct sockaddr *)&a, sizeof(a));
    close(fd);
    return rc;
}

/* base/secret.txt must never be seen; base/public is served. */
static int make_tree(void **state)
{
    (void)state;
    /* libuv opens a pipe for the whole process with its first loop. */
    loop_free(loop_new(0));
    strcpy(base, "/tmp/moonwire-files-XXXXXX");
    assert_non_null(mkdtemp(base));
    int outer = open(base, O_RDONLY | O_DIRECTORY);
    put_at(outer, "secret.txt", "secret");
    assert_int_equal(mkdirat(outer, "public", 0755), 0);
    base_fd = openat(outer, "public", O_RDONLY | O_DIRECTORY);
    close(outer);
    put_at(base_fd, "index.html", "<p>home</p>");
    put_at(base_fd, "app.js", "let x = 1;");
    put_at(base_fd, "empty.txt", "");
    put_at(base_fd, "two words.txt", "two words");
    put_at(base_fd, ".hidden.txt", "hidden");
    assert_int_equal(mkdirat(base_fd, "sub", 0755), 0);
    put_at(base_fd, "sub/index.html", "<p>sub</p>");
    put_at(base_fd, "sub/page.html", "<p>page</p>");
    assert_int_equal(mkdirat(base_fd, "bare", 0755), 0);
    put_at(base_fd, "bare/x.txt", "x");
    assert_int_equal(mkdirat(base_fd, ".git", 0755), 0);
    put_at(base_fd, ".git/config", "hidden");
    assert_int_equal(mkdirat(base_fd, "odd", 0755), 0);
    assert_int_equal(mkdirat(base_fd, "odd/index.html", 0755), 0);
    assert_int_equal(symlinkat("app.js", base_fd, "link.js"), 0);
    assert_int_equal(symlinkat("../secret.txt", base_fd, "out.txt"), 0);
    assert_int_equal(symlinkat("..", base_fd, "up"), 0);
    assert_int_equal(symlinkat("sub", base_fd, "alias"), 0);
    assert_int_equal(mkfifoat(base_fd, "fifo", 0644), 0);
    assert_int_equal(mkfifoat(base_fd, "fifo.html", 0644), 0);
    assert_int_equal(socket_at("socket"), 0);
    return 0;
}

static int remove_tree(void **state)
{
    (void)state;
    close(base_fd);
    return nftw(base, unlink_any, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- one by one ---- */

static void types_go_by_the_last_extension_in_any_case(void **state)
{
    (void)state;
    static const struct {
        const char *name, *type;
    } cases[] = {
        {"a.html", "text/html; charset=utf-8"},
        {"A.HTML", "text/html; charset=utf-8"},
        {"a.css", "text/css; charset=utf-8"},
        {"a.min.js", "text/javascript; charset=utf-8"},
        {"a.mjs", "text/javascript; charset=utf-8"},
        {"a.js.map", "application/json"},
        {"a.json", "application/json"},
        {"a.svg", "image/svg+xml"},
        {"a.png", "image/png"},
        {"a.jpg", "image/jpeg"},
        {"a.jpeg", "image/jpeg"},
        {"a.woff2", "font/woff2"},
        {"a.wasm", "application/wasm"},
        {"a.webmanifest", "application/manifest+json"},
        {"a.md", "text/markdown; charset=utf-8"},
        {"a.tar.gz", "application/octet-stream"},
        {"html", "application/octet-stream"},
        {"a.", "application/octet-stream"},
        {"", "application/octet-stream"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_string_equal(files_type(cases[i].name), cases[i].type);
    }
}

static void a_list_of_tags_is_searched_by_weak_comparison(void **state)
{
    (void)state;
    static const char tag[] = "\"5-a.b-c\"";
    static const char *const match[] = {"*", " * ", "\"5-a.b-c\"",
        "W/\"5-a.b-c\"", "\"x\", \"5-a.b-c\"", "\"x\",W/\"5-a.b-c\",\"y\"",
        "\"a,b\" , \"5-a.b-c\"", ", ,\"5-a.b-c\"", "\"\",\"5-a.b-c\""};
    static const char *const differ[] = {"", "\"", "\"x\"", "5-a.b-c",
        "\"5-a.b-c", "\"5-a.b-c \"", "\"5-a.b-\"", "\"5-a.b-cc\"", "*x",
        "\"x\", *", "w/\"5-a.b-c\"", "W/", "W/5-a.b-c", "\"x\" junk",
        "\"x,\"5-a.b-c\"\""};
    for (size_t i = 0; i < ARRAY_LEN(match); i++) {
        if (!files_etag_matches(match[i], tag)) {
            fail_msg("%s should match", match[i]);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(differ); i++) {
        if (files_etag_matches(differ[i], tag)) {
            fail_msg("%s should not match", differ[i]);
        }
    }
}

static void a_redirect_stays_on_its_host_whatever_was_asked(void **state)
{
    (void)state;
    static const struct {
        const char *target, *location;
    } cases[] = {
        {"/sub", "./sub/"},
        {"/a/b/sub", "./sub/"},
        {"/sub?x=1&y=/z", "./sub/?x=1&y=/z"},
        {"//evil.example", "./evil.example/"},
        {"/\\evil.example", "./\\evil.example/"},
        {"http://host/sub", "./sub/"},
        {"/javascript:x", "./javascript:x/"},
        {"/a%2Fsub", "./a%2Fsub/"},
        {"/sub#x?y", "./sub/"},
    };
    char out[64];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(
            files_write_location(cases[i].target, out, sizeof(out)), 0);
        assert_string_equal(out, cases[i].location);
        assert_false(files_ends_in_slash(cases[i].target));
    }
    assert_int_equal(files_write_location("/sub", out, 7), 0);
    assert_int_equal(files_write_location("/sub", out, 6), ERR_TOO_BIG);
    assert_true(files_ends_in_slash("/sub/?x"));
    assert_true(files_ends_in_slash("/"));
    assert_false(files_ends_in_slash("/sub?x/"));
    assert_false(files_ends_in_slash(""));
}

static void only_regular_files_inside_are_found(void **state)
{
    (void)state;
    static const char *const there[] = {"/", "", "/index.html", "index.html",
        "/app.js", "/sub", "/sub/", "/sub/page.html", "/two words.txt",
        "/empty.txt", "/bare/x.txt"};
    static const char *const not_there[] = {"/nothing", "/bare", "/bare/",
        "/app.js/", "/app.js/x", "//app.js", "/sub//page.html", "//", "/sub/..",
        "/..", "/../secret.txt", "/sub/../app.js", "/./app.js", "/.", "..",
        "../secret.txt", "/...", "/.hidden.txt", "/.git/config", "/.git/",
        "/link.js", "/out.txt", "/up/secret.txt", "/up/", "/alias/page.html",
        "/alias", "/fifo", "/fifo.html", "/fifo/", "/socket", "/odd", "/odd/",
        "/odd/index.html", "/odd/index.html/", "/index.html\n", " /index.html"};
    int fds = count_fds();
    struct found_file f;
    for (size_t i = 0; i < ARRAY_LEN(there); i++) {
        if (files_find(base_fd, there[i], &f) != 0) {
            fail_msg("'%s' should be found", there[i]);
        }
        close(f.fd);
    }
    for (size_t i = 0; i < ARRAY_LEN(not_there); i++) {
        int rc = files_find(base_fd, not_there[i], &f);
        if (rc != -ENOENT && rc != -ENOTDIR) {
            fail_msg("'%s' should not be there: %d", not_there[i], rc);
        }
    }
    static char path[5000];
    memset(path, 'a', sizeof(path) - 1);
    path[0] = '/';
    assert_true(files_find(base_fd, path, &f) < 0);
    for (size_t i = 0; i + 5 < sizeof(path); i += 4) {
        memcpy(path + i, "/sub", 4);
    }
    assert_true(files_find(base_fd, path, &f) < 0);
    assert_int_equal(count_fds(), fds);
}

static void a_directory_means_its_index(void **state)
{
    (void)state;
    struct found_file f;
    assert_int_equal(files_find(base_fd, "/sub/", &f), 0);
    assert_true(f.is_index);
    assert_int_equal(f.size, 10);
    assert_string_equal(f.type, "text/html; charset=utf-8");
    close(f.fd);
    assert_int_equal(files_find(base_fd, "/sub/index.html", &f), 0);
    assert_false(f.is_index);
    close(f.fd);
}

static void a_tag_changes_with_size_time_and_file(void **state)
{
    (void)state;
    struct found_file f[4];
    struct timespec times[2] = {{1000000000, 5}, {1000000000, 5}};
    put_at(base_fd, "tag.txt", "one");
    utimensat(base_fd, "tag.txt", times, 0);
    assert_int_equal(files_find(base_fd, "/tag.txt", &f[0]), 0);
    times[1].tv_nsec = 6;
    utimensat(base_fd, "tag.txt", times, 0);
    assert_int_equal(files_find(base_fd, "/tag.txt", &f[1]), 0);
    put_at(base_fd, "tag.txt", "four");
    utimensat(base_fd, "tag.txt", times, 0);
    assert_int_equal(files_find(base_fd, "/tag.txt", &f[2]), 0);
    put_at(base_fd, "new.txt", "four");
    utimensat(base_fd, "new.txt", times, 0);
    assert_int_equal(renameat(base_fd, "new.txt", base_fd, "tag.txt"), 0);
    assert_int_equal(files_find(base_fd, "/tag.txt", &f[3]), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(f[i].etag[0], '"');
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(f[i].etag, f[j].etag);
        }
        close(f[i].fd);
    }
    unlinkat(base_fd, "tag.txt", 0);
}

/* ---- over a socket ---- */

static void on_request(void *user, struct conn *c, const struct http_request *r)
{
    (void)user;
    files_serve(files, c, r, r->path);
}

static int open_world(void **state)
{
    (void)state;
    char dir[80];
    fds_before = count_fds();
    world_init(&world);
    world.router = (struct conn_router){.on_request = on_request};
    snprintf(dir, sizeof(dir), "%s/public", base);
    files = files_new(dir);
    assert_non_null(files);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    files_free(files);
    world_fini(&world);
    assert_int_equal(count_fds(), fds_before);
    return 0;
}

static void ask(const char *method, const char *target, const char *headers,
    struct answer *a)
{
    char request[2048];
    snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n",
        method, target, headers);
    fetch(&world, request, a);
}

static void a_file_comes_with_all_that_is_known_of_it(void **state)
{
    (void)state;
    struct answer a;
    ask("GET", "/app.js", "", &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "let x = 1;");
    expect_header(&a, "Content-Type", "text/javascript; charset=utf-8");
    expect_header(&a, "Content-Length", "10");
    expect_header(&a, "Cache-Control", "no-cache");
    expect_header(&a, "X-Content-Type-Options", "nosniff");
    expect_header(&a, "Connection", "keep-alive");
    assert_non_null(answer_header(&a, "ETag"));
    assert_non_null(answer_header(&a, "Date"));
    assert_false(a.is_over);
    answer_fini(&a);
    assert_int_equal(world_metric(&world, METRIC_HTTP_SERVED), 1);

    ask("GET", "/two%20words.txt?x=y", "Connection: close\r\n", &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "two words");
    assert_true(a.is_over);
    answer_fini(&a);

    ask("GET", "/empty.txt", "", &a);
    assert_int_equal(a.status, 200);
    expect_header(&a, "Content-Length", "0");
    assert_int_equal(a.body_len, 0);
    answer_fini(&a);
}

static void head_is_get_without_the_body(void **state)
{
    (void)state;
    struct answer get;
    struct answer head;
    char tag[FILES_ETAG_BYTES];
    ask("GET", "/sub/page.html", "", &get);
    strcpy(tag, answer_header(&get, "ETag"));
    ask("HEAD", "/sub/page.html", "", &head);
    assert_int_equal(head.status, 200);
    assert_int_equal(head.body_len, 0);
    expect_header(&head, "Content-Length", "11");
    expect_header(&head, "ETag", tag);
    answer_fini(&get);
    answer_fini(&head);
    ask("HEAD", "/nothing", "", &head);
    assert_int_equal(head.status, 404);
    assert_int_equal(head.body_len, 0);
    answer_fini(&head);
}

static void what_the_client_has_is_not_sent_again(void **state)
{
    (void)state;
    struct answer a;
    char header[256];
    char tag[FILES_ETAG_BYTES];
    ask("GET", "/app.js", "", &a);
    strcpy(tag, answer_header(&a, "ETag"));
    answer_fini(&a);

    snprintf(header, sizeof(header), "If-None-Match: \"old\", %s\r\n", tag);
    ask("GET", "/app.js", header, &a);
    assert_int_equal(a.status, 304);
    assert_int_equal(a.body_len, 0);
    expect_header(&a, "ETag", tag);
    expect_header(&a, "Cache-Control", "no-cache");
    expect_header(&a, "Content-Length", NULL);
    expect_header(&a, "Content-Type", NULL);
    answer_fini(&a);

    snprintf(header, sizeof(header),
        "If-None-Match: \"old\"\r\nif-none-match: W/%s\r\n", tag);
    ask("HEAD", "/app.js", header, &a);
    assert_int_equal(a.status, 304);
    answer_fini(&a);

    ask("GET", "/app.js", "If-None-Match: \"old\"\r\n", &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body_len, 10);
    answer_fini(&a);

    ask("GET", "/nothing", "If-None-Match: *\r\n", &a);
    assert_int_equal(a.status, 404);
    answer_fini(&a);
}

static void a_directory_redirects_to_its_slash(void **state)
{
    (void)state;
    struct answer a;
    ask("GET", "/sub?a=b", "", &a);
    assert_int_equal(a.status, 301);
    expect_header(&a, "Location", "./sub/?a=b");
    answer_fini(&a);
    ask("GET", "/sub/", "", &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "<p>sub</p>");
    answer_fini(&a);
    ask("GET", "/", "", &a);
    assert_string_equal(a.body, "<p>home</p>");
    answer_fini(&a);
    ask("GET", "/bare", "", &a);
    assert_int_equal(a.status, 404);
    answer_fini(&a);
}

static void what_must_not_be_seen_is_not_found(void **state)
{
    (void)state;
    static const char *const targets[] = {"/../secret.txt",
        "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/sub/%2E%2E/app.js",
        "/.hidden.txt", "/%2ehidden.txt", "/.git/config", "/up/secret.txt",
        "/out.txt", "/fifo", "/fifo.html", "/socket", "//app.js", "/%2fapp.js"};
    struct answer a;
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        ask("GET", targets[i], "", &a);
        if (a.status != 404) {
            fail_msg("%s: %d", targets[i], a.status);
        }
        answer_fini(&a);
    }
}

static void other_methods_are_told_which_there_are(void **state)
{
    (void)state;
    static const char *const methods[] = {"POST", "PUT", "DELETE", "OPTIONS"};
    struct answer a;
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        ask(methods[i], "/app.js", "", &a);
        assert_int_equal(a.status, 405);
        expect_header(&a, "Allow", "GET, HEAD");
        answer_fini(&a);
    }
    ask("POST", "/app.js", "Content-Length: 30\r\n", &a);
    assert_int_equal(a.status, 405);
    expect_header(&a, "Connection", "close");
    assert_true(a.is_over);
    answer_fini(&a);
}

static void a_directory_that_comes_and_goes_is_served_while_it_is_there(
    void **state)
{
    (void)state;
    struct answer a;
    char dir[80], away[80];
    snprintf(dir, sizeof(dir), "%s/public", base);
    snprintf(away, sizeof(away), "%s/away", base);
    assert_int_equal(rename(dir, away), 0);
    ask("GET", "/index.html", "", &a);
    assert_int_equal(a.status, 404);
    answer_fini(&a);
    assert_int_equal(rename(away, dir), 0);
    ask("GET", "/index.html", "", &a);
    assert_int_equal(a.status, 200);
    answer_fini(&a);
}

#define LARGE (3 * 1024 * 1024)

static void make_large(void)
{
    int fd = openat(base_fd, "large.bin", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    static uint8_t part[65536];
    for (size_t at = 0; at < LARGE; at += sizeof(part)) {
        for (size_t i = 0; i < sizeof(part); i++) {
            part[i] = (uint8_t)((at + i) * 2654435761u >> 13);
        }
        assert_int_equal(write(fd, part, sizeof(part)), sizeof(part));
    }
    close(fd);
}

static void start_large(struct client *c)
{
    client_connect(c, &world, PAIR_UNIX);
    client_narrow(c);
    client_ask(c, "GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        loop_turn(world.loop, 1);
    }
    client_read(c, 20000);
    assert_true(c->in_len > 0);
}

/* Until the end, or until nothing has come for a while. */
static void read_all(struct client *c)
{
    uint64_t quiet_ns = loop_clock_ns();
    while (!c->eof && c->error == 0 &&
           loop_clock_ns() - quiet_ns < 300 * 1000000) {
        size_t before = c->in_len;
        loop_turn(world.loop, 2);
        client_read(c, SIZE_MAX);
        if (c->in_len > before) {
            quiet_ns = loop_clock_ns();
        }
    }
}

static void a_large_file_arrives_whole_though_the_directory_is_closed(
    void **state)
{
    (void)state;
    struct client c;
    struct answer a;
    make_large();
    start_large(&c);
    files_free(files);
    files = NULL;
    unlinkat(base_fd, "large.bin", 0);
    read_all(&c);
    answer_take(&a, &c);
    assert_int_equal(a.body_len, LARGE);
    for (size_t i = 0; i < LARGE; i++) {
        if ((uint8_t)a.body[i] != (uint8_t)(i * 2654435761u >> 13)) {
            fail_msg("byte %zu is wrong", i);
        }
    }
    assert_false(a.is_over);
    answer_fini(&a);
    client_fini(&c);
    loop_turn(world.loop, 0);
}

static void a_file_cut_on_its_way_cuts_the_connection(void **state)
{
    (void)state;
    struct client c;
    make_large();
    start_large(&c);
    int fd = openat(base_fd, "large.bin", O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    close(fd);
    read_all(&c);
    assert_true(c.eof || c.error != 0);
    assert_true(c.in_len < LARGE);
    client_fini(&c);
    unlinkat(base_fd, "large.bin", 0);
}

static void a_file_that_grows_ends_where_it_was_promised(void **state)
{
    (void)state;
    struct client c;
    struct answer a;
    make_large();
    start_large(&c);
    int fd = openat(base_fd, "large.bin", O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "more", 4), 4);
    close(fd);
    read_all(&c);
    answer_take(&a, &c);
    assert_int_equal(a.body_len, LARGE);
    answer_fini(&a);
    client_fini(&c);
    unlinkat(base_fd, "large.bin", 0);
    loop_turn(world.loop, 0);
}

static void a_client_that_leaves_takes_no_descriptor_along(void **state)
{
    (void)state;
    struct client c;
    make_large();
    for (int i = 0; i < 5; i++) {
        start_large(&c);
        client_fini(&c);
        for (int k = 0; k < 20; k++) {
            loop_turn(world.loop, 1);
        }
    }
    assert_int_equal(world_metric(&world, METRIC_CONNS), 0);
    unlinkat(base_fd, "large.bin", 0);
}

#define IN_WORLD(test)                                                         \
    cmocka_unit_test_setup_teardown(test, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_go_by_the_last_extension_in_any_case),
        cmocka_unit_test(a_list_of_tags_is_searched_by_weak_comparison),
        cmocka_unit_test(a_redirect_stays_on_its_host_whatever_was_asked),
        cmocka_unit_test(only_regular_files_inside_are_found),
        cmocka_unit_test(a_directory_means_its_index),
        cmocka_unit_test(a_tag_changes_with_size_time_and_file),
        IN_WORLD(a_file_comes_with_all_that_is_known_of_it),
        IN_WORLD(head_is_get_without_the_body),
        IN_WORLD(what_the_client_has_is_not_sent_again),
        IN_WORLD(a_directory_redirects_to_its_slash),
        IN_WORLD(what_must_not_be_seen_is_not_found),
        IN_WORLD(other_methods_are_told_which_there_are),
        IN_WORLD(a_directory_that_comes_and_goes_is_served_while_it_is_there),
        IN_WORLD(a_large_file_arrives_whole_though_the_directory_is_closed),
        IN_WORLD(a_file_cut_on_its_way_cuts_the_connection),
        IN_WORLD(a_file_that_grows_ends_where_it_was_promised),
        IN_WORLD(a_client_that_leaves_takes_no_descriptor_along),
    };
    return cmocka_run_group_tests(tests, make_tree, remove_tree);
}
