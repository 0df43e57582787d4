/* test_fanout.c -- frames for connections of another loop: whose they are, how
 * many may be under way, and what is left when they have arrived. */
#include "net/fanout.h"
#include "worlds.h"
#include <pthread.h>

#define WINDOW  (1024 * 1024)
#define CLIENTS 8

struct scene {
    struct worlds ws; /* letters go from a to b */
    struct meter *window;
    struct client c[CLIENTS]; /* of b */
};

static void begin(struct scene *s)
{
    memset(s, 0, sizeof(*s));
    worlds_init(&s->ws);
    s->window = meter_new(WINDOW);
    for (int i = 0; i < CLIENTS; i++) {
        client_open(&s->c[i], &s->ws.b, PAIR_UNIX);
    }
}

static void end(struct scene *s)
{
    mem_fail_at(0);
    worlds_turn(&s->ws);
    assert_int_equal(meter_used(s->window), 0);
    meter_unref(s->window);
    for (int i = 0; i < CLIENTS; i++) {
        client_fini(&s->c[i]);
    }
    worlds_fini(&s->ws);
}

static struct fanout_target target_of(const struct client *c)
{
    return (struct fanout_target){c->id.slot, c->id.generation};
}

static struct blob *list_of(const struct fanout_target *t, uint32_t n)
{
    struct blob *list = blob_new(NULL, n * sizeof(*t));
    memcpy(list->data, t, n * sizeof(*t));
    return list;
}

static struct blob *list_of_all(struct scene *s)
{
    struct fanout_target t[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        t[i] = target_of(&s->c[i]);
    }
    return list_of(t, CLIENTS);
}

/* For the letter, which takes them. */
static struct fanout_pieces pieces_of(const struct fanout_target *t, uint32_t n)
{
    struct fanout_pieces p = {0};
    for (uint32_t i = 0; i < n; i++) {
        assert_true(fanout_add(&p, &t[i]));
    }
    return p;
}

static struct range frame_of(struct scene *s, const char *text)
{
    return world_frame(&s->ws.a, FRAME_TEXT, text, strlen(text));
}

/* `f` says who and how; to everybody if it names nobody. */
static int post(struct scene *s, const char *text, struct fanout f)
{
    struct range r = frame_of(s, text);
    struct blob *all = NULL;
    f.range = &r;
    if (f.list == NULL && f.to.generation == 0) {
        all = list_of_all(s);
        f.list = all;
        f.count = CLIENTS;
    }
    int rc = fanout_post(s->ws.a.net, 1, s->window, &f);
    blob_unref(all);
    return rc;
}

static int post_to(struct scene *s, int i, const char *text)
{
    return post(s, text, (struct fanout){.to = target_of(&s->c[i])});
}

static int post_to_all(struct scene *s, const char *text)
{
    return post(s, text, (struct fanout){0});
}

/* What has come is opened, and all that it brought is read. */
static void deliver(struct scene *s)
{
    worlds_turn(&s->ws);
    for (int i = 0; i < CLIENTS; i++) {
        if (s->c[i].fd >= 0) {
            client_settle(&s->c[i]);
        }
    }
}

static void expect_text(struct client *c, const char *text)
{
    client_expect(c, FRAME_TEXT, text, strlen(text));
}

static uint64_t here(struct scene *s, enum metric m)
{
    return world_metric(&s->ws.a, m);
}

static uint64_t there(struct scene *s, enum metric m)
{
    return world_metric(&s->ws.b, m);
}

/* ---- whose they are ---- */

static void a_letter_reaches_all_in_its_list_or_the_one(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    assert_int_equal(post_to_all(&s, "all"), 0);
    assert_int_equal(post_to(&s, 3, "three"), 0);
    deliver(&s);
    for (int i = 0; i < CLIENTS; i++) {
        expect_text(&s.c[i], "all");
        if (i == 3) {
            expect_text(&s.c[i], "three");
        }
        client_expect_nothing(&s.c[i]);
    }
    end(&s);
}

static void a_list_may_hold_nobody(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    struct fanout_target nobody;
    struct blob *list = list_of(&nobody, 0);
    assert_int_equal(post(&s, "x", (struct fanout){.list = list}), 0);
    blob_unref(list);
    deliver(&s);
    client_expect_nothing(&s.c[0]);
    end(&s);
}

/* Some for all, some for one, some for all but a few, from two tapes; the
 * turns fall in between at random. */
static void letters_are_queued_in_the_order_of_posting(void **state)
{
    (void)state;
    struct scene s;
    static char expected[CLIENTS][500][8];
    int count[CLIENTS] = {0};
    begin(&s);
    srand(7);
    for (int step = 0; step < 500; step++) {
        char text[8];
        struct fanout_target except[2];
        struct fanout f = {0};
        int what = rand() % 3;
        int one = rand() % CLIENTS;
        int two = rand() % CLIENTS;
        snprintf(text, sizeof(text), "%d", step);
        s.ws.a.tape.is_scratch = rand() % 2;
        if (what == 1) {
            f.to = target_of(&s.c[one]);
        } else if (what == 2) {
            except[0] = target_of(&s.c[one]);
            except[1] = target_of(&s.c[two]);
            f.except = pieces_of(except, 2);
        }
        for (int i = 0; i < CLIENTS; i++) {
            if (what == 0 || (what == 1 && i == one) ||
                (what == 2 && i != one && i != two)) {
                memcpy(expected[i][count[i]++], text, sizeof(text));
            }
        }
        assert_int_equal(post(&s, text, f), 0);
        if (rand() % 5 == 0) {
            loop_turn(rand() % 2 ? s.ws.a.loop : s.ws.b.loop, 0);
        }
    }
    deliver(&s);
    for (int i = 0; i < CLIENTS; i++) {
        for (int k = 0; k < count[i]; k++) {
            expect_text(&s.c[i], expected[i][k]);
        }
        client_expect_nothing(&s.c[i]);
    }
    end(&s);
}

static void leave(struct client *c)
{
    close(c->fd);
    c->fd = -1;
    conn_kill(c->conn, false);
    loop_turn(c->world->loop, 0);
}

static void a_slot_that_was_given_out_again_gets_nothing(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    struct fanout_target old = target_of(&s.c[2]);
    assert_int_equal(post_to_all(&s, "before"), 0);
    assert_int_equal(post_to(&s, 2, "before"), 0);
    leave(&s.c[2]);
    client_fini(&s.c[2]);
    assert_int_equal(post_to_all(&s, "while"), 0); /* nobody is there */
    loop_turn(s.ws.a.loop, 0);
    client_connect(&s.c[2], &s.ws.b, PAIR_UNIX);
    assert_int_equal(s.c[2].id.slot, old.slot);
    assert_int_not_equal(s.c[2].id.generation, old.generation);
    deliver(&s);
    assert_int_equal(s.c[2].in_len, 0);
    client_ask(&s.c[2], UPGRADE_REQUEST);
    client_settle(&s.c[2]);
    client_expect_101(&s.c[2]);
    assert_int_equal(post(&s, "old", (struct fanout){.to = old}), 0);
    assert_int_equal(post_to_all(&s, "new"), 0);
    deliver(&s);
    expect_text(&s.c[2], "new");
    client_expect_nothing(&s.c[2]);
    expect_text(&s.c[1], "before");
    expect_text(&s.c[1], "while");
    expect_text(&s.c[1], "new");
    assert_int_equal(there(&s, METRIC_DROPPED_CLOSE), 0);
    end(&s);
}

static void what_the_excepted_left_behind_does_not_except_their_heirs(
    void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    struct fanout_target old = target_of(&s.c[2]);
    leave(&s.c[2]);
    client_fini(&s.c[2]);
    client_open(&s.c[2], &s.ws.b, PAIR_UNIX);
    assert_int_equal(s.c[2].id.slot, old.slot);
    assert_int_equal(
        post(&s, "x", (struct fanout){.except = pieces_of(&old, 1)}), 0);
    deliver(&s);
    expect_text(&s.c[2], "x");
    end(&s);
}

static void slots_beyond_the_table_are_passed_over(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    uint32_t cap = s.ws.b.net->lane_cap;
    struct fanout_target t[] = {{cap, 1}, target_of(&s.c[0]), {UINT32_MAX, 1},
        {cap + 1, 0}, target_of(&s.c[1]), {UINT32_MAX, UINT32_MAX}};
    struct fanout_target except[] = {
        {cap, 1}, target_of(&s.c[1]), {UINT32_MAX, 1}};
    struct blob *list = list_of(t, ARRAY_LEN(t));
    struct fanout f = {.list = list, .count = ARRAY_LEN(t)};
    assert_int_equal(post(&s, "1", f), 0);
    f.except = pieces_of(except, ARRAY_LEN(except));
    assert_int_equal(post(&s, "2", f), 0);
    assert_int_equal(post(&s, "3", (struct fanout){.to = t[5]}), 0);
    blob_unref(list);
    deliver(&s);
    expect_text(&s.c[0], "1");
    expect_text(&s.c[0], "2");
    expect_text(&s.c[1], "1");
    client_expect_nothing(&s.c[0]);
    client_expect_nothing(&s.c[1]);
    end(&s);
}

static void the_excepted_miss_one_letter_and_get_the_next(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    struct fanout_target except[] = {
        target_of(&s.c[1]), target_of(&s.c[4]), target_of(&s.c[1])};
    struct fanout f = {.except = pieces_of(except, 3)};
    assert_int_equal(post(&s, "1", f), 0);
    assert_int_equal(post_to_all(&s, "2"), 0);
    deliver(&s);
    for (int i = 0; i < CLIENTS; i++) {
        if (i != 1 && i != 4) {
            expect_text(&s.c[i], "1");
        }
        expect_text(&s.c[i], "2");
        client_expect_nothing(&s.c[i]);
        assert_int_equal(conn_lane(s.c[i].conn)->flags & LANE_SKIP, 0);
    }
    end(&s);
}

/* Sections in which it is done do not become longer with their number. */
static void collecting_copies_nobody_and_neither_does_the_letter(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    struct fanout_pieces p = {0};
    for (uint32_t i = 0; i < 5000; i++) {
        struct fanout_target t = {i, 0};
        const struct fanout_piece *last = p.last;
        uint32_t count = last != NULL ? last->count : 0;
        assert_true(fanout_add(&p, &t));
        assert_true(p.last == last || last == NULL ||
                    (count == last->cap && last->next == p.last));
        assert_in_range(p.last->cap, 1, FANOUT_PIECE);
        assert_int_equal(p.last->targets[p.last->count - 1].slot, i);
    }
    assert_int_equal(p.count, 5000);
    struct blob *list = list_of_all(&s);
    struct range r = frame_of(&s, "x");
    uint64_t calls = mem_quota_calls();
    struct fanout f = {
        .range = &r, .list = list, .count = CLIENTS, .except = p};
    assert_int_equal(fanout_post(s.ws.a.net, 1, s.window, &f), 0);
    assert_int_equal(mem_quota_calls(), calls + 1);
    blob_unref(list);
    deliver(&s);
    expect_text(&s.c[0], "x");
    end(&s);
}

/* To the sender it looked open, so what is lost of it is counted. */
static void one_that_is_closing_gets_nothing_and_that_is_counted(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    assert_int_equal(post_to_all(&s, "1"), 0);
    loop_turn(s.ws.a.loop, 0);
    conn_close(s.c[0].conn, 1000, "bye", 3);
    deliver(&s);
    client_expect_close(&s.c[0], 1000, "bye");
    client_expect_nothing(&s.c[0]);
    expect_text(&s.c[1], "1");
    assert_int_equal(there(&s, METRIC_DROPPED_CLOSE), 1);
    end(&s);
}

static void one_that_is_no_websocket_yet_gets_nothing(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    struct client raw;
    client_connect(&raw, &s.ws.b, PAIR_UNIX);
    struct fanout_target t = target_of(&raw);
    assert_int_equal(post(&s, "x", (struct fanout){.to = t}), 0);
    deliver(&s);
    client_settle(&raw);
    assert_int_equal(raw.in_len, 0);
    client_fini(&raw);
    end(&s);
}

/* ---- what becomes of them over there ---- */

#ifndef MOONWIRE_TINY /* at three bytes a call these take too long */

/* Fills the kernel for a client that does not read. Returns how many fillers
 * it will find. */
static int block(struct client *c)
{
    static char filler[10000];
    int n = 0;
    memset(filler, 'f', sizeof(filler));
    client_narrow(c);
    while (!conn_awaits_write(c->conn)) {
        assert_int_equal(client_send(c, filler, sizeof(filler)), 0);
        n++;
        loop_turn(c->world->loop, 0);
    }
    return n;
}

#    define MANY      20
#    define MANY_SIZE 5000

/* MANY frames of 5 kB each to a client whose outbox takes 50 kB. Returns how
 * many of them it had to read, and which was the last. */
static int overfill(struct scene *s, enum outbox_policy policy, int *last)
{
    static char text[MANY_SIZE + 1];
    struct client *c = &s->c[0];
    int fillers = block(c);
    s->ws.b.settings.outbox.hard_bytes = 10 * MANY_SIZE;
    conn_settings_changed(c->conn);
    for (int i = 0; i < MANY; i++) {
        memset(text, 'a' + i, MANY_SIZE);
        struct fanout f = {.policy = policy, .to = target_of(c)};
        assert_int_equal(post(s, text, f), 0);
    }
    worlds_turn(&s->ws);
    client_settle(c);
    struct seen f = {0};
    for (int i = 0; i < fillers; i++) {
        assert_true(client_next(c, &f));
        if (f.op == FRAME_CLOSE) {
            return 0;
        }
    }
    int n = 0;
    *last = -1;
    while (client_next(c, &f) && f.op == FRAME_TEXT) {
        assert_int_equal(f.n, MANY_SIZE);
        *last = f.p[0] - 'a';
        n++;
    }
    return n;
}

static void drop_newest_keeps_the_first(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    int last;
    int n = overfill(&s, OUTBOX_DROP_NEWEST, &last);
    assert_in_range(n, 1, MANY - 1);
    assert_int_equal(last, n - 1);
    assert_int_equal(there(&s, METRIC_DROPPED_NEWEST), MANY - n);
    assert_int_equal(s.c[0].closed, 0);
    assert_int_equal(here(&s, METRIC_DROPPED_NEWEST), 0);
    end(&s);
}

static void drop_oldest_keeps_the_last(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    int last;
    int n = overfill(&s, OUTBOX_DROP_OLDEST, &last);
    assert_in_range(n, 1, MANY);
    assert_int_equal(last, MANY - 1);
    assert_true(there(&s, METRIC_DROPPED_OLDEST) > 0);
    assert_int_equal(s.c[0].closed, 0);
    end(&s);
}

static void the_policy_close_ends_who_lags(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    int last;
    (void)overfill(&s, OUTBOX_CLOSE, &last);
    assert_int_equal(s.c[0].closed, 1);
    assert_int_equal(s.c[0].close_code, 1013);
    assert_int_equal(there(&s, METRIC_SLOW_CLOSED), 1);
    assert_true(there(&s, METRIC_DROPPED_CLOSE) >= MANY);
    assert_int_equal(s.c[1].closed, 0);
    end(&s);
}

/* To the first three, but not to the third, nor to `but`. */
static int post_keyed(
    struct scene *s, const char *text, const char *key, size_t len, int but)
{
    struct fanout_target t[] = {
        target_of(&s->c[0]), target_of(&s->c[1]), target_of(&s->c[2])};
    struct fanout_target except[] = {t[2], t[but]};
    struct blob *list = list_of(t, 3);
    int rc = post(s, text,
        (struct fanout){.key = key,
            .key_len = len,
            .list = list,
            .count = 3,
            .except = pieces_of(except, 2)});
    blob_unref(list);
    return rc;
}

static void the_newest_of_a_key_replaces_what_waits(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    char longest[LIMIT_KEY_BYTES];
    memset(longest, 'k', sizeof(longest));
    int fillers[2] = {block(&s.c[0]), block(&s.c[1])};
    assert_int_equal(post_keyed(&s, "1", longest, sizeof(longest), 2), 0);
    assert_int_equal(post_keyed(&s, "2", longest, sizeof(longest) - 1, 2), 0);
    assert_int_equal(post_keyed(&s, "3", longest, sizeof(longest), 2), 0);
    assert_int_equal(post_keyed(&s, "4", longest, sizeof(longest), 1), 0);
    assert_int_equal(post_keyed(&s, "5", NULL, 0, 2), 0);
    assert_int_equal(post_keyed(&s, "6", NULL, 0, 2), 0);
    worlds_turn(&s.ws);
    assert_int_equal(there(&s, METRIC_DROPPED_KEY), 2 + 1);
    static const char *const want[2][4] = {
        {"2", "4", "5", "6"}, {"2", "3", "5", "6"}};
    for (int i = 0; i < 2; i++) {
        struct seen f;
        client_settle(&s.c[i]);
        for (int k = 0; k < fillers[i]; k++) {
            assert_true(client_next(&s.c[i], &f));
        }
        for (int k = 0; k < 4; k++) {
            expect_text(&s.c[i], want[i][k]);
        }
        client_expect_nothing(&s.c[i]);
    }
    end(&s);
}

#endif

/* ---- the window ---- */

static void the_window_is_charged_until_the_letter_is_opened(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    struct range r = frame_of(&s, "12345");
    struct fanout f = {.range = &r, .to = target_of(&s.c[0])};
    assert_int_equal(fanout_post(s.ws.a.net, 1, s.window, &f), 0);
    size_t base = meter_used(s.window) - r.len;
    assert_true(base >= sizeof(struct letter) && base < 256);
    struct range longer = frame_of(&s, "1234567890");
    f.range = &longer;
    size_t used = meter_used(s.window);
    assert_int_equal(fanout_post(s.ws.a.net, 1, s.window, &f), 0);
    assert_int_equal(meter_used(s.window), used + base + longer.len);

    /* A key and the excepted are paid for as well; a list is not, which is
     * the hub's. */
    used = meter_used(s.window);
    struct fanout_target except[] = {
        target_of(&s.c[1]), target_of(&s.c[2]), target_of(&s.c[3])};
    struct blob *list = list_of_all(&s);
    f = (struct fanout){.range = &r,
        .key = "key",
        .key_len = 3,
        .list = list,
        .count = CLIENTS,
        .except = pieces_of(except, 3)};
    assert_int_equal(fanout_post(s.ws.a.net, 1, s.window, &f), 0);
    assert_int_equal(
        meter_used(s.window), used + base + r.len + 3 + sizeof(except));
    blob_unref(list);
    loop_turn(s.ws.a.loop, 0);
    assert_true(meter_used(s.window) > used);
    while (!worlds_are_quiet(&s.ws)) {
        loop_turn(s.ws.b.loop, 0);
    }
    assert_int_equal(meter_used(s.window), 0);
    end(&s);
}

/* As with an outbox: what an idle client could have at once is no matter of
 * waiting for room. */
static void an_empty_window_takes_a_frame_of_any_size(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    static char text[2000];
    memset(text, 'x', sizeof(text) - 1);
    meter_unref(s.window);
    s.window = meter_new(1000);
    assert_int_equal(post_to(&s, 0, text), 0);
    assert_int_equal(meter_used(s.window), 1000);
    assert_int_equal(post_to(&s, 0, "x"), ERR_FULL);
    deliver(&s);
    expect_text(&s.c[0], text);
    assert_int_equal(meter_used(s.window), 0);
    assert_int_equal(post_to(&s, 0, "x"), 0);
    assert_int_equal(post_to(&s, 0, text), ERR_FULL);
    deliver(&s);
    expect_text(&s.c[0], "x");
    client_expect_nothing(&s.c[0]);
    end(&s);
}

static void a_full_window_refuses_and_counts(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    assert_int_equal(post_to(&s, 0, "probe"), 0);
    size_t cost = meter_used(s.window);
    deliver(&s);
    expect_text(&s.c[0], "probe");
    assert_true(meter_charge(s.window, WINDOW - cost));
    assert_int_equal(post_to(&s, 0, "fits."), 0); /* to the byte */
    assert_int_equal(meter_used(s.window), WINDOW);
    assert_int_equal(post_to(&s, 0, "x"), ERR_FULL);
    assert_int_equal(here(&s, METRIC_DROPPED_WINDOW), 1);
    assert_int_equal(post_to_all(&s, "x"), ERR_FULL);
    assert_int_equal(here(&s, METRIC_DROPPED_WINDOW), 1 + CLIENTS);
    struct fanout_target except[] = {target_of(&s.c[1]), target_of(&s.c[2])};
    assert_int_equal(
        post(&s, "x", (struct fanout){.except = pieces_of(except, 2)}),
        ERR_FULL);
    assert_int_equal(here(&s, METRIC_DROPPED_WINDOW), 1 + 2 * CLIENTS - 2);
    assert_int_equal(meter_used(s.window), WINDOW);
    deliver(&s);
    assert_int_equal(meter_used(s.window), WINDOW - cost);
    assert_int_equal(post_to(&s, 0, "again"), 0);
    meter_release(s.window, WINDOW - cost);
    deliver(&s);
    expect_text(&s.c[0], "fits.");
    expect_text(&s.c[0], "again");
    client_expect_nothing(&s.c[0]);
    client_expect_nothing(&s.c[1]);
    assert_int_equal(there(&s, METRIC_DROPPED_WINDOW), 0);
    end(&s);
}

/* A range of several frames is so many messages to each. */
static void a_refused_range_counts_each_of_its_frames(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    char two[32];
    size_t n = frame_encode((uint8_t *)two, FRAME_TEXT, true, false, 1);
    two[n++] = 'x';
    memcpy(two + n, two, n);
    struct blob *b = blob_new(NULL, 2 * n);
    memcpy(b->data, two, 2 * n);
    struct range r = {b, 0, (uint32_t)(2 * n), 2};
    struct fanout f = {.range = &r, .to = target_of(&s.c[0])};
    assert_int_equal(fanout_post(s.ws.a.net, 1, s.window, &f), 0);
    assert_true(meter_charge(s.window, WINDOW - meter_used(s.window)));
    size_t charged = meter_used(s.window);
    assert_int_equal(fanout_post(s.ws.a.net, 1, s.window, &f), ERR_FULL);
    assert_int_equal(here(&s, METRIC_DROPPED_WINDOW), 2);
    deliver(&s);
    expect_text(&s.c[0], "x");
    expect_text(&s.c[0], "x");
    client_expect_nothing(&s.c[0]);
    assert_true(meter_used(s.window) < charged);
    meter_release(s.window, meter_used(s.window));
    assert_int_equal(b->refs, 1);
    blob_unref(b);
    end(&s);
}

static void letters_hold_what_they_need_and_let_go_of_it(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    struct blob *b = blob_new(NULL, 3);
    b->data[0] = 0x81;
    b->data[1] = 1;
    b->data[2] = 'x';
    struct range r = {b, 0, 3, 1};
    struct blob *list = list_of_all(&s);
    struct meter *window = meter_new(WINDOW);
    struct fanout f = {.range = &r, .list = list, .count = CLIENTS};
    assert_int_equal(fanout_post(s.ws.a.net, 1, window, &f), 0);
    assert_int_equal(b->refs, 2);
    assert_int_equal(list->refs, 2);
    /* The hub that wrote them may be gone when they arrive. */
    meter_unref(window);
    deliver(&s);
    assert_int_equal(b->refs, 1);
    assert_int_equal(list->refs, 1);
    blob_unref(list);
    for (int i = 0; i < CLIENTS; i++) {
        expect_text(&s.c[i], "x");
    }
    blob_unref(b);
    end(&s);
}

static void a_letter_without_memory_is_refused_and_leaves_nothing(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    struct range r = frame_of(&s, "x");
    struct blob *list = list_of_all(&s);
    uint32_t refs = r.blob->refs;
    struct fanout f = {.range = &r, .list = list, .count = CLIENTS};
    mem_fail_at(1);
    assert_int_equal(fanout_post(s.ws.a.net, 1, s.window, &f), ERR_FULL);
    mem_fail_at(0);
    assert_int_equal(here(&s, METRIC_DROPPED_WINDOW), CLIENTS);
    assert_int_equal(meter_used(s.window), 0);
    assert_int_equal(r.blob->refs, refs);
    assert_int_equal(list->refs, 1);
    assert_true(mailbox_is_quiet(s.ws.a.loop));
    assert_int_equal(fanout_post(s.ws.a.net, 1, s.window, &f), 0);
    blob_unref(list);
    deliver(&s);
    expect_text(&s.c[0], "x");
    client_expect_nothing(&s.c[0]);
    end(&s);
}

/* Stretches from two places need outboxes over there. Whatever they cannot
 * have is lost to who it was for, and to nobody else. */
static bool survive_one(uint64_t at)
{
    struct scene s;
    begin(&s);
    struct tape other;
    tape_init(&other, false);
    struct blob *list = list_of_all(&s);
    for (int i = 0; i < 4; i++) {
        struct range r;
        struct tape *t = i % 2 ? &other : &s.ws.a.tape;
        assert_int_equal(tape_frame(t, s.ws.a.net, s.ws.a.meter, FRAME_TEXT,
                             false, "word", 4, &r),
            0);
        struct fanout f = {.range = &r,
            .policy = OUTBOX_DROP_NEWEST,
            .key = i == 3 ? "key" : NULL,
            .key_len = i == 3 ? 3 : 0,
            .list = list,
            .count = CLIENTS};
        assert_int_equal(fanout_post(s.ws.a.net, 1, s.window, &f), 0);
    }
    blob_unref(list);
    tape_fini(&other);
    loop_turn(s.ws.a.loop, 0);
    uint64_t calls = mem_quota_calls();
    mem_fail_at(at);
    while (!worlds_are_quiet(&s.ws)) {
        loop_turn(s.ws.b.loop, 0);
    }
    mem_fail_at(0);
    bool has_failed = mem_quota_calls() - calls >= at;
    deliver(&s);
    uint64_t got = 0;
    uint64_t ended = 0;
    for (int i = 0; i < CLIENTS; i++) {
        struct seen f;
        while (s.c[i].closed == 0 && client_next(&s.c[i], &f)) {
            assert_int_equal(f.n, 4);
            got++;
        }
        ended += s.c[i].closed != 0;
    }
    assert_true(ended <= 1);
    if (ended == 0) {
        assert_int_equal(got + there(&s, METRIC_DROPPED_NEWEST), 4 * CLIENTS);
    }
    end(&s);
    return has_failed;
}

static void memory_denied_over_there_costs_one_client_at_most(void **state)
{
    (void)state;
    uint64_t at = 1;
    while (survive_one(at)) {
        assert_true(at < 200);
        at++;
    }
    assert_true(at > CLIENTS);
}

/* ---- two threads ---- */

#ifdef MOONWIRE_TINY
#    define STREAM 100
#else
#    define STREAM 2000
#endif

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void stop_loop(struct letter *l, struct loop *here)
{
    (void)l;
    loop_stop(here);
}

/* All of it has come to all of them: the peers read in this thread. */
static bool has_come(struct scene *s, int next[CLIENTS], int sent)
{
    bool is_all = true;
    for (int i = 0; i < CLIENTS; i++) {
        struct seen f;
        client_read(&s->c[i], SIZE_MAX);
        while (client_next(&s->c[i], &f)) {
            char text[16];
            int n = snprintf(text, sizeof(text), "%d", next[i]++);
            assert_int_equal(f.n, n);
            assert_memory_equal(f.p, text, f.n);
        }
        is_all = is_all && next[i] == sent;
    }
    return is_all;
}

/* A tape is written to behind what the other thread reads; the window and the
 * app's meter are charged here and released there. */
static void what_two_threads_share_holds(void **state)
{
    (void)state;
    struct scene s;
    pthread_t thread;
    struct letter end_of_b;
    int next[CLIENTS] = {0};
    int sent = 0;
    begin(&s);
    meter_unref(s.window);
    s.window = meter_new(4000); /* so that it is full at times */
    assert_int_equal(pthread_create(&thread, NULL, run_loop, s.ws.b.loop), 0);
    uint64_t until = loop_clock_ns() + 60ull * 1000 * 1000 * 1000;
    while (!has_come(&s, next, STREAM)) {
        assert_true(loop_clock_ns() < until);
        for (int i = 0; i < 16 && sent < STREAM; i++) {
            char text[16];
            snprintf(text, sizeof(text), "%d", sent);
            sent += post_to_all(&s, text) == 0;
        }
        loop_turn(s.ws.a.loop, 0);
    }
    mailbox_post(s.ws.a.loop, s.ws.b.loop, &end_of_b, stop_loop);
    loop_turn(s.ws.a.loop, 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(s.c[i].closed, 0);
    }
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_letter_reaches_all_in_its_list_or_the_one),
        cmocka_unit_test(a_list_may_hold_nobody),
        cmocka_unit_test(letters_are_queued_in_the_order_of_posting),
        cmocka_unit_test(a_slot_that_was_given_out_again_gets_nothing),
        cmocka_unit_test(
            what_the_excepted_left_behind_does_not_except_their_heirs),
        cmocka_unit_test(slots_beyond_the_table_are_passed_over),
        cmocka_unit_test(the_excepted_miss_one_letter_and_get_the_next),
        cmocka_unit_test(collecting_copies_nobody_and_neither_does_the_letter),
        cmocka_unit_test(one_that_is_closing_gets_nothing_and_that_is_counted),
        cmocka_unit_test(one_that_is_no_websocket_yet_gets_nothing),
#ifndef MOONWIRE_TINY
        cmocka_unit_test(drop_newest_keeps_the_first),
        cmocka_unit_test(drop_oldest_keeps_the_last),
        cmocka_unit_test(the_policy_close_ends_who_lags),
        cmocka_unit_test(the_newest_of_a_key_replaces_what_waits),
#endif
        cmocka_unit_test(the_window_is_charged_until_the_letter_is_opened),
        cmocka_unit_test(an_empty_window_takes_a_frame_of_any_size),
        cmocka_unit_test(a_full_window_refuses_and_counts),
        cmocka_unit_test(a_refused_range_counts_each_of_its_frames),
        cmocka_unit_test(letters_hold_what_they_need_and_let_go_of_it),
        cmocka_unit_test(a_letter_without_memory_is_refused_and_leaves_nothing),
        cmocka_unit_test(memory_denied_over_there_costs_one_client_at_most),
        cmocka_unit_test(what_two_threads_share_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
