/* test_reply.c -- heads as text, and replies as a peer receives them. */
#include "fetch.h"
#include "net/reply.h"
#include <time.h>

static const char GET[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
static const char HEAD[] = "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n";

/* What the next request is answered with. */
static struct {
    int status;
    const char *text;
    const char *extra;
    bool keep_alive;
} script;

static void on_request(void *user, struct conn *c, const struct http_request *r)
{
    (void)user;
    reply_text(c, script.status, script.text, script.extra,
        strcmp(r->method, "HEAD") == 0, script.keep_alive && r->keep_alive);
}

static struct world world;

static int open_world(void **state)
{
    (void)state;
    world_init(&world);
    world.router = (struct conn_router){.on_request = on_request};
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    world_fini(&world);
    return 0;
}

static void a_head_says_what_follows_and_whether_it_goes_on(void **state)
{
    (void)state;
    char head[512];
    size_t n = reply_head(
        head, sizeof(head), 200, "text/css", 1234567890123, "A: b\r\n", true);
    assert_int_equal(n, strlen(head));
    assert_memory_equal(head, "HTTP/1.1 200 OK\r\nDate: ", 23);
    assert_non_null(strstr(head, "\r\nContent-Type: text/css\r\n"));
    assert_non_null(strstr(head, "\r\nContent-Length: 1234567890123\r\n"));
    assert_non_null(strstr(head, "\r\nA: b\r\n"));
    assert_non_null(strstr(head, "\r\nConnection: keep-alive\r\n"));
    assert_string_equal(head + n - 4, "\r\n\r\n");

    n = reply_head(head, sizeof(head), 404, NULL, 0, NULL, false);
    assert_non_null(strstr(head, "404 Not Found\r\n"));
    assert_non_null(strstr(head, "\r\nConnection: close\r\n"));
    assert_null(strstr(head, "Content-Type"));
    assert_non_null(strstr(head, "Content-Length: 0\r\n"));
}

static void what_has_no_content_has_no_length(void **state)
{
    (void)state;
    static const int statuses[] = {101, 204, 304};
    char head[512];
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        assert_true(reply_head(head, sizeof(head), statuses[i], NULL, 5, NULL,
                        true) > 0);
        assert_null(strstr(head, "Content-Length"));
    }
}

static void a_head_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    char head[512];
    size_t n = reply_head(head, sizeof(head), 200, "a/b", 1, NULL, true);
    assert_true(n > 0);
    assert_int_equal(reply_head(head, n, 200, "a/b", 1, NULL, true), 0);
    assert_int_equal(reply_head(head, n + 1, 200, "a/b", 1, NULL, true), n);
    assert_int_equal(reply_head(head, 1, 200, "a/b", 1, NULL, true), 0);
}

static void the_date_is_the_present_in_http_form(void **state)
{
    (void)state;
    char head[512];
    struct tm t = {0};
    reply_head(head, sizeof(head), 200, NULL, 0, NULL, true);
    const char *date = strstr(head, "\r\nDate: ");
    assert_non_null(date);
    const char *end = strptime(date + 8, "%a, %d %b %Y %H:%M:%S GMT", &t);
    assert_non_null(end);
    assert_int_equal(*end, '\r');
    assert_int_equal(end - (date + 8), 29);
    long off = (long)(time(NULL) - timegm(&t));
    assert_true(off >= 0 && off < 10);
}

static void a_text_arrives_as_one_line_of_plain_text(void **state)
{
    (void)state;
    struct answer a;
    script.status = 404;
    script.text = "nothing <b>here</b>";
    script.extra = "X-Why: because\r\n";
    script.keep_alive = false;
    fetch(&world, GET, &a);
    assert_int_equal(a.status, 404);
    assert_string_equal(a.body, "nothing <b>here</b>\n");
    expect_header(&a, "Content-Type", "text/plain; charset=utf-8");
    expect_header(&a, "X-Content-Type-Options", "nosniff");
    expect_header(&a, "Content-Length", "20");
    expect_header(&a, "X-Why", "because");
    expect_header(&a, "Connection", "close");
    assert_true(a.is_over);
    assert_int_equal(world_metric(&world, METRIC_HANDSHAKE_REFUSED), 1);
    answer_fini(&a);
}

static void a_head_request_gets_the_same_head_alone(void **state)
{
    (void)state;
    struct answer a;
    script.status = 200;
    script.text = "four";
    script.extra = NULL;
    script.keep_alive = true;
    fetch(&world, HEAD, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body_len, 0);
    expect_header(&a, "Content-Length", "5");
    expect_header(&a, "Connection", "keep-alive");
    assert_false(a.is_over);
    assert_int_equal(world_metric(&world, METRIC_HANDSHAKE_REFUSED), 0);
    answer_fini(&a);
}

static void no_content_means_none(void **state)
{
    (void)state;
    struct answer a;
    script.status = 204;
    script.text = "not shown";
    script.extra = NULL;
    script.keep_alive = true;
    fetch(&world, GET, &a);
    assert_int_equal(a.status, 204);
    assert_int_equal(a.body_len, 0);
    expect_header(&a, "Content-Type", NULL);
    answer_fini(&a);
}

static void replies_of_every_size_arrive_whole(void **state)
{
    (void)state;
    static char text[20001];
    memset(text, 'x', sizeof(text) - 1);
    script.status = 400;
    script.text = text;
    script.extra = NULL;
    script.keep_alive = true;
    for (size_t n = 0; n < sizeof(text); n += n < 1500 || n > 1900 ? 500 : 7) {
        struct answer a;
        text[n] = '\0';
        fetch(&world, GET, &a);
        assert_int_equal(a.body_len, n + 1);
        assert_memory_equal(a.body, text, n);
        answer_fini(&a);
        text[n] = 'x';
    }
}

static void without_memory_for_a_long_reply_the_connection_ends(void **state)
{
    (void)state;
    static char text[5000];
    struct client c;
    memset(text, 'x', sizeof(text) - 1);
    script.status = 400;
    script.text = text;
    script.extra = NULL;
    script.keep_alive = true;
    /* The parser's memory and the reply's own: each in its turn fails, and
     * the peer has the whole answer or an end, never half of one. */
    for (uint64_t n = 1; n <= 4; n++) {
        client_connect(&c, &world, PAIR_TCP);
        client_ask(&c, GET);
        mem_fail_at(n);
        client_settle(&c);
        mem_fail_at(0);
        assert_true(c.eof || c.error != 0 ||
                    (c.in_len > sizeof(text) && c.in[c.in_len - 1] == '\n'));
        client_fini(&c);
        loop_turn(world.loop, 0);
    }
}

#define IN_WORLD(test)                                                         \
    cmocka_unit_test_setup_teardown(test, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_says_what_follows_and_whether_it_goes_on),
        cmocka_unit_test(what_has_no_content_has_no_length),
        cmocka_unit_test(a_head_that_does_not_fit_is_refused),
        cmocka_unit_test(the_date_is_the_present_in_http_form),
        IN_WORLD(a_text_arrives_as_one_line_of_plain_text),
        IN_WORLD(a_head_request_gets_the_same_head_alone),
        IN_WORLD(no_content_means_none),
        IN_WORLD(replies_of_every_size_arrive_whole),
        IN_WORLD(without_memory_for_a_long_reply_the_connection_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
