/* test_listener.c -- addresses as text, and clients at a real port. */
#include "fetch.h"
#include "net/listener.h"
#include "net/listener_priv.h"
#include "net/reply.h"
#include <fcntl.h>
#include <sys/resource.h>

static struct world world;
static struct listener *ln;
static bool closes_listener;

static void on_request(void *user, struct conn *c, const struct http_request *r)
{
    (void)user;
    if (closes_listener) {
        listener_close(ln);
        ln = NULL;
    }
    reply_text(c, 200, "welcome", NULL, false, r->keep_alive);
}

static int open_world(void **state)
{
    (void)state;
    world_init(&world);
    world.router = (struct conn_router){.on_request = on_request};
    closes_listener = false;
    ln = NULL;
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    if (ln != NULL) {
        listener_close(ln);
    }
    world_fini(&world);
    return 0;
}

static int open_at(const char *address)
{
    return listener_open(
        &ln, world.net, address, &world.router, &world.settings);
}

static unsigned port_of(const struct listener *l)
{
    return (unsigned)atoi(strrchr(listener_address(l), ':') + 1);
}

static void connect_to(int fd, unsigned port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
}

static int open_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    return fd;
}

static void turns(int n)
{
    while (n-- > 0) {
        loop_turn(world.loop, 0);
    }
}

/* ---- addresses ---- */

static void addresses_are_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host, *port;
        bool is_literal;
    } good[] = {
        {"127.0.0.1:8080", "127.0.0.1", "8080", false},
        {":8080", "", "8080", false},
        {"[::1]:0", "::1", "0", true},
        {"[::]:65535", "::", "65535", true},
        {"localhost:80", "localhost", "80", false},
        {"a-b.example_1.test:00080", "a-b.example_1.test", "00080", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct address a;
        assert_int_equal(address_parse(&a, good[i].text), 0);
        assert_string_equal(a.host, good[i].host);
        assert_string_equal(a.port, good[i].port);
        assert_int_equal(a.is_literal, good[i].is_literal);
    }
}

static void what_is_no_address_is_a_syntax_error(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "8080", "localhost",
        "localhost:", ":", ":65536", ":99999", ":100000", ":-1", ":+1", ": 80",
        ":80 ", ":8o", "::1:80", "[::1]", "[::1]80", "[::1]:", "[::1:80",
        "[]:80", "[localhost]:80", "[127.0.0.1]:80", "a b:80", "a/b:80",
        "a\n:80", "http://localhost:80", "*:80", "[::1]:80:80"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct address a;
        if (address_parse(&a, bad[i]) != ERR_SYNTAX) {
            fail_msg("'%s' was taken for an address", bad[i]);
        }
    }
    char text[400];
    struct address a;
    memset(text, 'a', sizeof(text));
    strcpy(text + 255, ":80");
    assert_int_equal(address_parse(&a, text), 0);
    memset(text, 'a', sizeof(text));
    strcpy(text + 256, ":80");
    assert_int_equal(address_parse(&a, text), ERR_SYNTAX);
}

static void the_bound_address_is_told(void **state)
{
    (void)state;
    assert_int_equal(open_at("127.0.0.1:0"), 0);
    assert_memory_equal(listener_address(ln), "127.0.0.1:", 10);
    assert_true(port_of(ln) > 0);
    listener_close(ln);

    assert_int_equal(open_at("localhost:0"), 0);
    assert_true(port_of(ln) > 0);
    listener_close(ln);
    ln = NULL;

    int rc = open_at("[::1]:0");
    if (rc == 0) {
        assert_memory_equal(listener_address(ln), "[::1]:", 6);
        listener_close(ln);
        ln = NULL;
    } else {
        assert_true(rc == -EADDRNOTAVAIL || rc == -EAFNOSUPPORT);
    }
    assert_int_equal(open_at("nonsense"), ERR_SYNTAX);
}

static void an_empty_host_takes_clients_of_both_families(void **state)
{
    (void)state;
    assert_int_equal(open_at(":0"), 0);
    int v4 = open_socket();
    connect_to(v4, port_of(ln));
    uint64_t expected = 1;
    int v6 = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 a = {.sin6_family = AF_INET6,
        .sin6_port = htons((uint16_t)port_of(ln)),
        .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    if (v6 >= 0 && connect(v6, (struct sockaddr *)&a, sizeof(a)) == 0) {
        expected++;
    }
    turns(3);
    assert_int_equal(world_metric(&world, METRIC_ACCEPTED), expected);
    close(v4);
    close(v6);
}

static void a_port_in_use_is_noticed(void **state)
{
    (void)state;
    struct listener *first;
    assert_int_equal(open_at("127.0.0.1:0"), 0);
    first = ln;
    assert_int_equal(open_at(listener_address(first)), -EADDRINUSE);
    char any[32];
    snprintf(any, sizeof(any), ":%u", port_of(first));
    assert_int_equal(open_at(any), -EADDRINUSE);
    ln = first;
}

static void a_port_is_free_again_though_connections_of_it_live_on(void **state)
{
    (void)state;
    char address[64];
    assert_int_equal(open_at("127.0.0.1:0"), 0);
    strcpy(address, listener_address(ln));
    int fd = open_socket();
    connect_to(fd, port_of(ln));
    turns(2);
    assert_int_equal(world_metric(&world, METRIC_CONNS), 1);
    listener_close(ln);
    turns(2);
    assert_int_equal(world_metric(&world, METRIC_CONNS), 1);
    assert_int_equal(open_at(address), 0);
    close(fd);
}

static void an_address_that_is_not_ours_is_an_error(void **state)
{
    (void)state;
    /* TEST-NET-1, RFC 5737 */
    assert_int_equal(open_at("192.0.2.1:0"), -EADDRNOTAVAIL);
}

/* ---- clients ---- */

static void a_client_is_answered(void **state)
{
    (void)state;
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    struct client c = {.world = &world, .take = -1};
    assert_int_equal(open_at("127.0.0.1:0"), 0);
    c.fd = open_socket();
    connect_to(c.fd, port_of(ln));
    client_write(&c, request, strlen(request));
    client_settle(&c);
    struct answer a;
    answer_take(&a, &c);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "welcome\n");
    answer_fini(&a);
    client_fini(&c);
}

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static void connections_inherit_their_options(void **state)
{
    (void)state;
    assert_int_equal(open_at("127.0.0.1:0"), 0);
    assert_int_equal(listener_set_send_buffer(ln, 20000), 0);
    int fd = open_socket();
    connect_to(fd, port_of(ln));
    turns(2);
    uint32_t slot = 0;
    while (slots_at(&world.net->conns, slot) == NULL) {
        slot++;
        assert_true(slot < world.net->conns.capacity);
    }
    struct conn *c = slots_at(&world.net->conns, slot);
    int ours = conn_lane(c)->fd;
    assert_int_equal(option_of(ours, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(
        option_of(ours, IPPROTO_TCP, TCP_NOTSENT_LOWAT), LIMIT_NOTSENT_BYTES);
    /* The kernel doubles it. */
    assert_int_equal(option_of(ours, SOL_SOCKET, SO_SNDBUF), 40000);
    assert_true(fcntl(ours, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(ours, F_GETFD) & FD_CLOEXEC);
    close(fd);
}

#define STORM 150

static void a_storm_is_taken_in_bounded_portions(void **state)
{
    (void)state;
    int fds[STORM];
    assert_int_equal(open_at("127.0.0.1:0"), 0);
    for (int i = 0; i < STORM; i++) {
        fds[i] = open_socket();
        connect_to(fds[i], port_of(ln));
    }
    turns(1);
    assert_int_equal(world_metric(&world, METRIC_ACCEPTED), 64);
    turns(1);
    assert_int_equal(world_metric(&world, METRIC_ACCEPTED), 128);
    turns(2);
    assert_int_equal(world_metric(&world, METRIC_ACCEPTED), STORM);
    for (int i = 0; i < STORM; i++) {
        close(fds[i]);
    }
}

static void a_client_that_is_gone_before_it_is_accepted_does_no_harm(
    void **state)
{
    (void)state;
    assert_int_equal(open_at("127.0.0.1:0"), 0);
    for (int i = 0; i < 10; i++) {
        int fd = open_socket();
        struct linger hard = {1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        connect_to(fd, port_of(ln));
        close(fd);
    }
    turns(5);
    int fd = open_socket();
    connect_to(fd, port_of(ln));
    turns(5);
    assert_int_equal(world_metric(&world, METRIC_CONNS), 1);
    close(fd);
}

static void the_listener_may_be_closed_by_what_it_let_in(void **state)
{
    (void)state;
    struct client c = {.world = &world, .take = -1};
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_int_equal(open_at("127.0.0.1:0"), 0);
    closes_listener = true;
    c.fd = open_socket();
    int late = open_socket();
    connect_to(c.fd, port_of(ln));
    turns(2);
    client_write(&c, request, strlen(request));
    connect_to(late, port_of(ln)); /* ready in the same turn */
    client_settle(&c);
    assert_null(ln);
    assert_true(c.in_len > 0);
    client_fini(&c);
    close(late);
}

/* ---- one port for two loops ---- */

/* A second loop with its own net, beside the world's. */
static struct {
    struct loop *loop;
    struct net *net;
    struct listener *ln;
} second;

static int open_two_loops(void **state)
{
    second.loop = loop_new(1);
    second.net = net_new(second.loop);
    second.ln = NULL;
    return open_world(state);
}

static int close_two_loops(void **state)
{
    if (second.ln != NULL) {
        listener_close(second.ln);
    }
    net_kill_all(second.net, false);
    loop_turn(second.loop, 0);
    net_free(second.net);
    loop_free(second.loop);
    return close_world(state);
}

static int share(const struct listener *first)
{
    return listener_share(
        &second.ln, second.net, first, &world.router, &world.settings);
}

static uint64_t accepted_by_second(void)
{
    return metric_get(loop_metrics(second.loop), METRIC_ACCEPTED);
}

static void turns_of_both(int n)
{
    while (n-- > 0) {
        loop_turn(world.loop, 0);
        loop_turn(second.loop, 0);
    }
}

#define DEALT 200

/* Whom the kernel gives one to is a matter of its hash: all to one side comes
 * once in 2 to the 199th. */
static void both_loops_of_a_port_get_connections(void **state)
{
    (void)state;
    int fds[DEALT];
    assert_int_equal(open_at("127.0.0.1:0"), 0);
    assert_int_equal(share(ln), 0);
    assert_string_equal(listener_address(second.ln), listener_address(ln));
    for (int i = 0; i < DEALT; i++) {
        fds[i] = open_socket();
        connect_to(fds[i], port_of(ln));
    }
    turns_of_both(8);
    uint64_t here = world_metric(&world, METRIC_ACCEPTED);
    assert_in_range(here, 1, DEALT - 1);
    assert_int_equal(here + accepted_by_second(), DEALT);
    assert_int_equal(second.net->conn_count, accepted_by_second());
    for (int i = 0; i < DEALT; i++) {
        close(fds[i]);
    }
}

static void a_shared_port_is_in_use_for_all_who_did_not_share_it(void **state)
{
    (void)state;
    struct listener *none = NULL;
    char any[32];
    assert_int_equal(open_at("127.0.0.1:0"), 0);
    snprintf(any, sizeof(any), ":%u", port_of(ln));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(listener_open(&none, second.net, listener_address(ln),
                             &world.router, &world.settings),
            -EADDRINUSE);
        assert_int_equal(listener_open(&none, second.net, any, &world.router,
                             &world.settings),
            -EADDRINUSE);
        assert_null(none);
        if (i == 0) {
            assert_int_equal(share(ln), 0);
        }
    }
    /* As long as one of them listens. */
    char address[64];
    strcpy(address, listener_address(ln));
    listener_close(ln);
    ln = NULL;
    assert_int_equal(open_at(address), -EADDRINUSE);
    listener_close(second.ln);
    second.ln = NULL;
    assert_int_equal(open_at(address), 0);
}

static void a_port_is_not_to_be_had_for_who_does_not_ask_to_share_it(
    void **state)
{
    (void)state;
    assert_int_equal(open_at("127.0.0.1:0"), 0);
    int fd = open_socket();
    struct sockaddr_in a = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port_of(ln)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    assert_int_equal(share(ln), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), -1);
    assert_int_equal(errno, EADDRINUSE);
    close(fd);
}

static void a_shared_port_has_the_options_of_the_first(void **state)
{
    (void)state;
    assert_int_equal(open_at("127.0.0.1:0"), 0);
    assert_int_equal(share(ln), 0);
    listener_close(ln); /* now all come to the second */
    ln = NULL;
    int fd = open_socket();
    connect_to(fd, port_of(second.ln));
    turns_of_both(3);
    assert_int_equal(accepted_by_second(), 1);
    struct conn *c = NULL;
    for (uint32_t i = 0; i < second.net->conns.capacity && c == NULL; i++) {
        c = slots_at(&second.net->conns, i);
    }
    assert_non_null(c);
    int ours = conn_lane(c)->fd;
    assert_int_equal(option_of(ours, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(
        option_of(ours, IPPROTO_TCP, TCP_NOTSENT_LOWAT), LIMIT_NOTSENT_BYTES);
    assert_true(fcntl(ours, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(ours, F_GETFD) & FD_CLOEXEC);
    close(fd);
}

static bool connect_v6(int fd, unsigned port)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6,
        .sin6_port = htons((uint16_t)port),
        .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    return fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
}

/* Those of either family come to the loop that is left. */
static void a_shared_port_takes_both_families_as_the_first_did(void **state)
{
    (void)state;
    assert_int_equal(open_at(":0"), 0);
    assert_int_equal(share(ln), 0);
    assert_string_equal(listener_address(second.ln), listener_address(ln));
    listener_close(ln);
    ln = NULL;
    int v4 = open_socket();
    int v6 = socket(AF_INET6, SOCK_STREAM, 0);
    connect_to(v4, port_of(second.ln));
    uint64_t expected = 1;
    if (listener_address(second.ln)[0] == '[') {
        assert_true(connect_v6(v6, port_of(second.ln)));
        expected++;
    }
    turns_of_both(3);
    assert_int_equal(accepted_by_second(), expected);
    close(v4);
    if (v6 >= 0) {
        close(v6);
    }
}

/* [::1] and [::] by name are of one family only, and so is what shares. */
static void a_shared_port_of_one_family_stays_of_one(void **state)
{
    (void)state;
    int rc = open_at("[::]:0");
    if (rc == -EADDRNOTAVAIL || rc == -EAFNOSUPPORT) {
        skip();
    }
    assert_int_equal(rc, 0);
    assert_int_equal(share(ln), 0);
    unsigned port = port_of(ln);
    for (int i = 0; i < 2; i++) {
        int v4 = open_socket();
        struct sockaddr_in a = {.sin_family = AF_INET,
            .sin_port = htons((uint16_t)port),
            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        assert_int_equal(connect(v4, (struct sockaddr *)&a, sizeof(a)), -1);
        assert_int_equal(errno, ECONNREFUSED);
        close(v4);
        if (ln != NULL) {
            listener_close(ln);
            ln = NULL;
        }
    }
    int v6 = socket(AF_INET6, SOCK_STREAM, 0);
    assert_true(connect_v6(v6, port));
    turns_of_both(3);
    assert_int_equal(accepted_by_second(), 1);
    close(v6);
}

static void closing_one_of_them_leaves_the_other_the_port(void **state)
{
    (void)state;
    assert_int_equal(open_at("127.0.0.1:0"), 0);
    assert_int_equal(share(ln), 0);
    listener_close(second.ln);
    second.ln = NULL;
    int fds[20];
    for (int i = 0; i < 20; i++) {
        fds[i] = open_socket();
        connect_to(fds[i], port_of(ln));
    }
    turns_of_both(3);
    assert_int_equal(world_metric(&world, METRIC_ACCEPTED), 20);
    assert_int_equal(share(ln), 0); /* and it can be shared again */
    for (int i = 0; i < 20; i++) {
        close(fds[i]);
    }
}

/* ---- out of descriptors ---- */

#define CROWD 5

static int fillers[4096];
static int filler_count;
static struct rlimit limit_before;

static void use_up_descriptors(void)
{
    getrlimit(RLIMIT_NOFILE, &limit_before);
    struct rlimit low = {ARRAY_LEN(fillers), limit_before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (filler_count = 0;; filler_count++) {
        int fd = dup(0);
        if (fd < 0) {
            assert_int_equal(errno, EMFILE);
            return;
        }
        fillers[filler_count] = fd;
    }
}

static void give_descriptors_back(void)
{
    while (filler_count > 0) {
        close(fillers[--filler_count]);
    }
    setrlimit(RLIMIT_NOFILE, &limit_before);
}

static bool is_ended(int fd)
{
    char c;
    ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

static size_t count_lines(int fd)
{
    char text[4096];
    size_t lines = 0;
    ssize_t n = pread(fd, text, sizeof(text), 0);
    for (ssize_t i = 0; i < n; i++) {
        lines += text[i] == '\n';
    }
    return lines;
}

static void out_of_descriptors_clients_are_shed_and_the_loop_rests(void **state)
{
    (void)state;
    int fds[CROWD + 1];
    assert_int_equal(open_at("127.0.0.1:0"), 0);
    for (int i = 0; i <= CROWD; i++) {
        fds[i] = open_socket();
    }
    FILE *log = tmpfile();
    log_init(fileno(log), LOG_INFO, LOG_TEXT);
    turns(1);
    use_up_descriptors();
    for (int i = 0; i < CROWD; i++) {
        connect_to(fds[i], port_of(ln));
    }
    turns(3);
    assert_int_equal(world_metric(&world, METRIC_SHED), CROWD);
    assert_int_equal(world_metric(&world, METRIC_ACCEPTED), 0);
    for (int i = 0; i < CROWD; i++) {
        assert_true(is_ended(fds[i]));
    }
    assert_int_equal(count_lines(fileno(log)), 1);

    /* One more is left in the backlog, and the loop does not spin over it.
     * (Turns may be cut short: the io_urings of earlier loops interrupt.) */
    connect_to(fds[CROWD], port_of(ln));
    uint64_t start_ns = loop_clock_ns();
    int count = 0;
    while (loop_clock_ns() - start_ns < 40 * 1000000) {
        loop_turn(world.loop, 20);
        count++;
    }
    assert_in_range(count, 1, 100);
    assert_false(is_ended(fds[CROWD]));
    assert_int_equal(count_lines(fileno(log)), 1);

    /* And as soon as there are descriptors again it is let in. */
    give_descriptors_back();
    for (int i = 0; i < 100; i++) {
        loop_turn(world.loop, 20);
        if (world_metric(&world, METRIC_ACCEPTED) > 0) {
            break;
        }
    }
    assert_int_equal(world_metric(&world, METRIC_ACCEPTED), 1);
    assert_int_equal(world_metric(&world, METRIC_SHED), CROWD);
    for (int i = 0; i <= CROWD; i++) {
        close(fds[i]);
    }
    log_init(-1, LOG_ERROR, LOG_JSON);
    fclose(log);
}

static void closing_during_the_pause_is_safe(void **state)
{
    (void)state;
    assert_int_equal(open_at("127.0.0.1:0"), 0);
    int fd = open_socket();
    turns(1);
    use_up_descriptors();
    connect_to(fd, port_of(ln));
    turns(2);
    assert_int_equal(world_metric(&world, METRIC_SHED), 1);
    listener_close(ln);
    ln = NULL;
    give_descriptors_back();
    uint64_t end_ns = loop_clock_ns() + 150 * 1000000;
    while (loop_clock_ns() < end_ns) {
        loop_turn(world.loop, 20);
    }
    close(fd);
}

#define IN_WORLD(test)                                                         \
    cmocka_unit_test_setup_teardown(test, open_world, close_world)
#define ON_TWO_LOOPS(test)                                                     \
    cmocka_unit_test_setup_teardown(test, open_two_loops, close_two_loops)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_taken_apart),
        cmocka_unit_test(what_is_no_address_is_a_syntax_error),
        IN_WORLD(the_bound_address_is_told),
        IN_WORLD(an_empty_host_takes_clients_of_both_families),
        IN_WORLD(a_port_in_use_is_noticed),
        IN_WORLD(a_port_is_free_again_though_connections_of_it_live_on),
        IN_WORLD(an_address_that_is_not_ours_is_an_error),
        IN_WORLD(a_client_is_answered),
        IN_WORLD(connections_inherit_their_options),
        IN_WORLD(a_storm_is_taken_in_bounded_portions),
        IN_WORLD(a_client_that_is_gone_before_it_is_accepted_does_no_harm),
        IN_WORLD(the_listener_may_be_closed_by_what_it_let_in),
        ON_TWO_LOOPS(both_loops_of_a_port_get_connections),
        ON_TWO_LOOPS(a_shared_port_is_in_use_for_all_who_did_not_share_it),
        ON_TWO_LOOPS(a_port_is_not_to_be_had_for_who_does_not_ask_to_share_it),
        ON_TWO_LOOPS(a_shared_port_has_the_options_of_the_first),
        ON_TWO_LOOPS(a_shared_port_takes_both_families_as_the_first_did),
        ON_TWO_LOOPS(a_shared_port_of_one_family_stays_of_one),
        ON_TWO_LOOPS(closing_one_of_them_leaves_the_other_the_port),
        IN_WORLD(out_of_descriptors_clients_are_shed_and_the_loop_rests),
        IN_WORLD(closing_during_the_pause_is_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
