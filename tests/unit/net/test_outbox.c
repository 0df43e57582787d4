/* The queue of a client that lags: order, bounds, policies, counters. */
#include "net/outbox_priv.h"
#include "world.h"

#define COST(n) ((n) + 2 + LIMIT_FRAME_OVERHEAD_BYTES)

struct bench {
    struct loop *loop;
    struct net *net;
    struct tape tape;
    struct meter *meter;
    struct outbox *outbox;
    struct outbox_limits limits;
    struct outbox_drops drops;
    uint8_t out[1 << 20]; /* everything that has left */
    size_t out_len;
};

static void set_up(struct bench *b)
{
    memset(b, 0, sizeof(*b));
    b->loop = loop_new(0);
    b->net = net_new(b->loop);
    b->meter = meter_new(1 << 24);
    tape_init(&b->tape, true);
    b->outbox = outbox_new(b->net);
    b->limits = (struct outbox_limits){1 << 20, 256, 2000};
}

static void tear_down(struct bench *b)
{
    outbox_free(b->outbox, b->net);
    tape_fini(&b->tape);
    net_free(b->net);
    loop_free(b->loop);
    assert_int_equal(meter_used(b->meter), 0);
    meter_unref(b->meter);
}

static struct range frame(struct bench *b, const void *p, size_t n)
{
    struct range r;
    assert_int_equal(
        tape_frame(&b->tape, b->net, b->meter, FRAME_TEXT, false, p, n, &r), 0);
    return r;
}

static int push_as(struct bench *b, const char *s, enum outbox_policy policy,
    bool is_over, const char *key)
{
    struct range r = frame(b, s, strlen(s));
    return outbox_push(b->outbox, &r, &b->limits, policy, is_over, key,
        key != NULL ? strlen(key) : 0, &b->drops);
}

static void push(struct bench *b, const char *s)
{
    assert_int_equal(push_as(b, s, OUTBOX_CLOSE, false, NULL), 0);
}

/* Another frame lies between: the next push does not merge with the last. */
static void push_apart(struct bench *b, const char *s)
{
    (void)frame(b, "gap", 3);
    push(b, s);
}

static void push_raw(struct bench *b, const char *s)
{
    struct blob *blob = blob_new(NULL, strlen(s));
    memcpy(blob->data, s, strlen(s));
    struct range r = {blob, 0, (uint32_t)strlen(s), 0};
    assert_int_equal(outbox_push(b->outbox, &r, &b->limits, OUTBOX_CLOSE, false,
                         NULL, 0, &b->drops),
        0);
    blob_unref(blob);
}

static void push_pong_or_replace(struct bench *b, const char *s, bool replaces)
{
    uint8_t f[127] = {0x8a, (uint8_t)strlen(s)};
    memcpy(f + 2, s, strlen(s));
    outbox_push_control(b->outbox, f, 2 + strlen(s), true, replaces);
}

static void push_pong(struct bench *b, const char *s)
{
    push_pong_or_replace(b, s, true);
}

static void push_ping(struct bench *b)
{
    outbox_push_control(b->outbox, (const uint8_t *)"\x89\x00", 2, false, true);
}

/* At most n bytes leave. */
static size_t leave(struct bench *b, size_t n)
{
    struct iovec iov[64];
    int count = outbox_peek(b->outbox, iov, 64, n);
    size_t sum = 0;
    for (int i = 0; i < count; i++) {
        assert_true(iov[i].iov_len > 0);
        memcpy(b->out + b->out_len + sum, iov[i].iov_base, iov[i].iov_len);
        sum += iov[i].iov_len;
    }
    assert_true(sum <= n);
    outbox_sent(b->outbox, sum);
    b->out_len += sum;
    return sum;
}

static void leave_all(struct bench *b, size_t step)
{
    while (!outbox_is_empty(b->outbox)) {
        assert_true(leave(b, step) > 0);
    }
    assert_int_equal(outbox_messages(b->outbox), 0);
    assert_int_equal(outbox_bytes(b->outbox), 0);
}

/* What has left, as "T:text P:pong I: C:close R..." for reading. */
static void read_back(struct bench *b, char *text)
{
    size_t at = 0;
    text[0] = '\0';
    while (at < b->out_len) {
        const uint8_t *p = b->out + at;
        size_t n = frame_bytes(p);
        const char *kind = p[0] == 0x81   ? "T"
                           : p[0] == 0x8a ? "P"
                           : p[0] == 0x89 ? "I"
                                          : "C";
        sprintf(text + strlen(text), "%s:%.*s ", kind, (int)(n - 2), p + 2);
        at += n;
    }
    assert_int_equal(at, b->out_len);
}

static void expect_left(struct bench *b, const char *want)
{
    char text[4096];
    leave_all(b, 1 << 20);
    read_back(b, text);
    assert_string_equal(text, want);
}

static void ranges_leave_in_order_and_counters_fall_to_nothing(void **state)
{
    (void)state;
    for (size_t step = 1; step < 40; step++) {
        struct bench b;
        set_up(&b);
        push(&b, "one");
        push(&b, "two");
        push_apart(&b, "three");
        assert_int_equal(outbox_messages(b.outbox), 3);
        assert_int_equal(outbox_bytes(b.outbox), COST(3) + COST(3) + COST(5));
        leave_all(&b, step);
        expect_left(&b, "T:one T:two T:three ");
        tear_down(&b);
    }
}

static void frame_counts_in_full_until_its_last_byte_has_left(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b);
    push(&b, "one");
    push(&b, "two");
    (void)leave(&b, 4);
    assert_int_equal(outbox_messages(b.outbox), 2);
    assert_int_equal(outbox_bytes(b.outbox), 2 * COST(3));
    (void)leave(&b, 1);
    assert_int_equal(outbox_messages(b.outbox), 1);
    assert_int_equal(outbox_bytes(b.outbox), COST(3));
    (void)leave(&b, 4);
    assert_int_equal(outbox_messages(b.outbox), 1);
    expect_left(&b, "T:one T:two ");
    tear_down(&b);
}

static void control_frames_go_ahead_of_data_but_not_into_a_frame(void **state)
{
    (void)state;
    for (size_t cut = 0; cut < 12; cut++) {
        struct bench b;
        set_up(&b);
        push(&b, "one");
        push(&b, "two");
        (void)leave(&b, cut);
        push_pong(&b, "x");
        expect_left(&b, cut == 0   ? "P:x T:one T:two "
                        : cut <= 5 ? "T:one P:x T:two "
                                   : "T:one T:two P:x ");
        tear_down(&b);
    }
}

static void control_frames_go_ahead_at_every_split(void **state)
{
    (void)state;
    for (size_t step = 1; step < 9; step++) {
        struct bench b;
        set_up(&b);
        push(&b, "one");
        push_apart(&b, "two");
        (void)leave(&b, 2);
        push_pong(&b, "pong");
        push_ping(&b);
        leave_all(&b, step);
        expect_left(&b, "T:one P:pong I: T:two ");
        tear_down(&b);
    }
}

static void waiting_pong_is_replaced_but_not_one_that_has_begun(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b);
    push_pong(&b, "a");
    push_pong(&b, "b");
    (void)leave(&b, 1);
    push_pong(&b, "c");
    push_pong(&b, "d");
    push_ping(&b);
    push_ping(&b);
    push(&b, "data");
    expect_left(&b, "P:b P:d I: T:data ");
    tear_down(&b);
}

static void pongs_of_a_turn_wait_in_order_up_to_a_bound(void **state)
{
    (void)state;
    for (size_t step = 1; step < 40; step += 13) {
        struct bench b;
        set_up(&b);
        push(&b, "data");
        char want[4096] = "";
        for (int i = 0; i < 100; i++) {
            char s[8];
            sprintf(s, "%d", i);
            push_pong_or_replace(&b, s, false);
            if (i < 62 || i == 99) {
                sprintf(want + strlen(want), "P:%d ", i);
            }
            if (i == 80) { /* there is a place for it */
                push_ping(&b);
            }
        }
        strcat(want, "I: T:data ");
        leave_all(&b, step);
        char got[4096];
        read_back(&b, got);
        assert_string_equal(got, want);
        tear_down(&b);
    }
}

static void without_memory_the_newest_pong_is_enough(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b);
    push_pong_or_replace(&b, "a", false);
    push_pong_or_replace(&b, "b", false);
    mem_fail_at(1);
    push_pong_or_replace(&b, "c", false);
    mem_fail_at(0);
    push_ping(&b);
    expect_left(&b, "P:a P:c I: ");
    tear_down(&b);
}

/* RFC 6455 5.5.2: a Ping is owed a Pong until the peer's Close has come. */
static void close_stands_behind_everything_also_a_late_pong(void **state)
{
    (void)state;
    for (size_t step = 1; step < 20; step++) {
        struct bench b;
        set_up(&b);
        push(&b, "one");
        outbox_push_close(b.outbox, (const uint8_t *)"\x88\x02\x03\xe8", 4);
        push_pong(&b, "late");
        leave_all(&b, step);
        assert_int_equal(b.out_len, 6 + 5 + 4);
        assert_memory_equal(
            b.out, "\x8a\x04late\x81\x03one\x88\x02\x03\xe8", 15);
        tear_down(&b);
    }
}

static void close_that_has_begun_is_not_broken_by_a_pong(void **state)
{
    (void)state;
    for (size_t begun = 1; begun < 4; begun++) {
        struct bench b;
        set_up(&b);
        outbox_push_close(b.outbox, (const uint8_t *)"\x88\x02\x03\xe8", 4);
        assert_int_equal(leave(&b, begun), begun);
        push_pong(&b, "x");
        push_pong(&b, "y");
        assert_false(outbox_is_empty(b.outbox));
        leave_all(&b, 1);
        assert_int_equal(b.out_len, 4 + 3);
        assert_memory_equal(b.out, "\x88\x02\x03\xe8\x8a\x01y", 7);
        tear_down(&b);
    }
}

/* Outboxes are used again; this one's connection died amid its Close. */
static void a_close_that_was_cut_off_is_forgotten(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b);
    outbox_push_close(b.outbox, (const uint8_t *)"\x88\x02\x03\xe8", 4);
    assert_int_equal(leave(&b, 2), 2);
    outbox_free(b.outbox, b.net);
    b.outbox = outbox_new(b.net);
    b.out_len = 0;
    push(&b, "data");
    leave_all(&b, 3);
    assert_int_equal(b.out_len, 6);
    assert_memory_equal(b.out,
        "\x81\x04"
        "data",
        6);
    tear_down(&b);
}

static void raw_bytes_stand_before_controls_and_are_not_counted(void **state)
{
    (void)state;
    for (size_t step = 1; step < 30; step++) {
        struct bench b;
        set_up(&b);
        push_raw(&b, "HTTP/1.1 101");
        push(&b, "one");
        push_pong(&b, "x");
        assert_int_equal(outbox_messages(b.outbox), 1);
        assert_int_equal(outbox_bytes(b.outbox), COST(3));
        assert_int_equal(outbox_drop_all(b.outbox), 1);
        push(&b, "two");
        leave_all(&b, step);
        assert_memory_equal(b.out, "HTTP/1.1 101\x8a\x01x\x81\x03two", 20);
        assert_int_equal(b.out_len, 20);
        tear_down(&b);
    }
}

static void hard_bound_refuses_without_changing_anything(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b);
    b.limits.hard_bytes = 2 * COST(3);
    push(&b, "one");
    push(&b, "two");
    assert_int_equal(push_as(&b, "x", OUTBOX_CLOSE, false, NULL), ERR_FULL);
    assert_int_equal(b.drops.newest, 0);
    assert_int_equal(
        push_as(&b, "x", OUTBOX_DROP_NEWEST, false, NULL), ERR_FULL);
    assert_int_equal(b.drops.newest, 1);
    assert_int_equal(outbox_bytes(b.outbox), 2 * COST(3));
    expect_left(&b, "T:one T:two ");
    tear_down(&b);
}

static void empty_queue_takes_a_message_of_any_size(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b);
    b.limits.hard_bytes = 10;
    push(&b, "longer than the bound");
    assert_int_equal(push_as(&b, "x", OUTBOX_CLOSE, false, NULL), ERR_FULL);
    expect_left(&b, "T:longer than the bound ");
    push(&b, "again longer than the bound");
    tear_down(&b);
}

static void drop_oldest_makes_room_from_the_head(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b);
    b.limits.hard_bytes = 3 * COST(3);
    push(&b, "one");
    push(&b, "two");
    push_apart(&b, "thr");
    assert_int_equal(push_as(&b, "fou", OUTBOX_DROP_OLDEST, false, NULL), 0);
    assert_int_equal(b.drops.oldest, 1);
    assert_int_equal(outbox_messages(b.outbox), 3);
    assert_int_equal(push_as(&b, "longer", OUTBOX_DROP_OLDEST, false, NULL), 0);
    assert_int_equal(b.drops.oldest, 3);
    expect_left(&b, "T:fou T:longer ");
    tear_down(&b);
}

static void frame_that_has_begun_is_never_dropped(void **state)
{
    (void)state;
    for (size_t cut = 1; cut < 5; cut++) {
        struct bench b;
        set_up(&b);
        b.limits.hard_bytes = 2 * COST(3);
        push(&b, "one");
        push(&b, "two");
        (void)leave(&b, cut);
        assert_int_equal(
            push_as(&b, "thr", OUTBOX_DROP_OLDEST, false, NULL), 0);
        assert_int_equal(b.drops.oldest, 1);
        assert_int_equal(outbox_drop_all(b.outbox), 1);
        push(&b, "fou");
        expect_left(&b, "T:one T:fou ");
        tear_down(&b);
    }
}

static void nothing_is_dropped_for_a_frame_that_is_refused(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b);
    b.limits.hard_bytes = 2 * COST(3);
    push(&b, "one");
    push(&b, "two");
    (void)leave(&b, 1);
    /* Even alone with the frame that has begun it would be too much. */
    assert_int_equal(
        push_as(&b, "longer", OUTBOX_DROP_OLDEST, false, NULL), ERR_FULL);
    assert_int_equal(b.drops.oldest, 0);
    assert_int_equal(b.drops.newest, 1);
    expect_left(&b, "T:one T:two ");
    tear_down(&b);
}

static void soft_bound_holds_the_drop_policies_once_it_lasts(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b);
    b.limits.soft_messages = 2;
    push(&b, "one");
    push(&b, "two");
    push(&b, "thr");
    assert_int_equal(push_as(&b, "fou", OUTBOX_DROP_NEWEST, false, NULL), 0);
    assert_int_equal(
        push_as(&b, "fiv", OUTBOX_DROP_NEWEST, true, NULL), ERR_FULL);
    assert_int_equal(b.drops.newest, 1);
    assert_int_equal(push_as(&b, "six", OUTBOX_DROP_OLDEST, true, NULL), 0);
    assert_int_equal(b.drops.oldest, 3);
    expect_left(&b, "T:fou T:six ");
    tear_down(&b);
}

static void newest_with_a_key_replaces_the_queued_one_at_the_tail(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b);
    assert_int_equal(push_as(&b, "a1", OUTBOX_CLOSE, false, "a"), 0);
    assert_int_equal(push_as(&b, "b1", OUTBOX_CLOSE, false, "b"), 0);
    push(&b, "plain");
    assert_int_equal(push_as(&b, "a2", OUTBOX_CLOSE, false, "a"), 0);
    assert_int_equal(push_as(&b, "aa", OUTBOX_CLOSE, false, "aa"), 0);
    assert_int_equal(b.drops.key, 1);
    assert_int_equal(outbox_messages(b.outbox), 4);
    assert_int_equal(outbox_bytes(b.outbox), 3 * COST(2) + COST(5));
    expect_left(&b, "T:b1 T:plain T:a2 T:aa ");
    tear_down(&b);
}

static void keyed_frame_that_has_begun_is_not_replaced(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b);
    assert_int_equal(push_as(&b, "a1", OUTBOX_CLOSE, false, "a"), 0);
    (void)leave(&b, 1);
    assert_int_equal(push_as(&b, "a2", OUTBOX_CLOSE, false, "a"), 0);
    assert_int_equal(b.drops.key, 0);
    assert_int_equal(push_as(&b, "a3", OUTBOX_CLOSE, false, "a"), 0);
    assert_int_equal(b.drops.key, 1);
    expect_left(&b, "T:a1 T:a3 ");
    tear_down(&b);
}

static void key_makes_its_own_room_at_the_hard_bound(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b);
    b.limits.hard_bytes = 2 * COST(3);
    assert_int_equal(push_as(&b, "old", OUTBOX_CLOSE, false, "k"), 0);
    push(&b, "two");
    assert_int_equal(push_as(&b, "new", OUTBOX_CLOSE, false, "k"), 0);
    expect_left(&b, "T:two T:new ");
    tear_down(&b);
}

static void thousand_replacements_cost_no_more_than_one(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b);
    push(&b, "first");
    for (int i = 0; i < 1000; i++) {
        char s[16];
        sprintf(s, "%d", i);
        assert_int_equal(push_as(&b, s, OUTBOX_CLOSE, false, "k"), 0);
        assert_int_equal(push_as(&b, s, OUTBOX_CLOSE, false, "l"), 0);
    }
    assert_int_equal(b.drops.key, 1998);
    assert_int_equal(outbox_messages(b.outbox), 3);
    assert_true(b.outbox->capacity <= 16);
    expect_left(&b, "T:first T:999 T:999 ");
    tear_down(&b);
}

static void detached_queue_lets_go_of_the_turns_chunk(void **state)
{
    (void)state;
    for (size_t cut = 0; cut < 8; cut++) {
        struct bench b;
        set_up(&b);
        push(&b, "one");
        push(&b, "two");
        assert_int_equal(push_as(&b, "key", OUTBOX_CLOSE, false, "k"), 0);
        push_apart(&b, "three");
        (void)leave(&b, cut);
        assert_int_equal(outbox_detach(b.outbox), 0);
        assert_int_equal(outbox_detach(b.outbox), 0);
        tape_seal_all(b.net);
        size_t whole = 5 + 5 + 5 + 7;
        assert_int_equal(
            meter_used(b.meter), sizeof(struct blob) + whole - cut);
        assert_int_equal(push_as(&b, "new", OUTBOX_CLOSE, false, "k"), 0);
        assert_int_equal(outbox_detach(b.outbox), 0);
        tape_seal_all(b.net);
        leave_all(&b, 3);
        expect_left(&b, "T:one T:two T:three T:new ");
        tear_down(&b);
    }
}

static void detach_that_finds_no_room_changes_nothing(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b);
    push(&b, "one");
    push_apart(&b, "two");
    (void)leave(&b, 2);
    mem_fail_at(1);
    assert_int_equal(outbox_detach(b.outbox), ERR_FULL);
    mem_fail_at(0);
    assert_int_equal(outbox_detach(b.outbox), 0);
    tape_seal_all(b.net);
    expect_left(&b, "T:one T:two ");
    tear_down(&b);
}

static void peek_keeps_to_its_bounds(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b);
    for (int i = 0; i < 100; i++) {
        push_apart(&b, "abc");
    }
    struct iovec iov[64];
    assert_int_equal(outbox_peek(b.outbox, iov, 64, 1 << 20), 64);
    assert_int_equal(outbox_peek(b.outbox, iov, 2, 1 << 20), 2);
    assert_int_equal(outbox_peek(b.outbox, iov, 64, 12), 3);
    assert_int_equal(iov[2].iov_len, 2);
    leave_all(&b, 7);
    tear_down(&b);
}

static void outboxes_go_back_to_the_spares_empty(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b);
    push(&b, "one");
    push_apart(&b, "two");
    push_pong(&b, "x");
    (void)leave(&b, 1);
    outbox_push_close(b.outbox, (const uint8_t *)"\x88\x00", 2);
    outbox_free(b.outbox, b.net);
    assert_int_equal(b.net->spare_outbox_count, 1);
    b.outbox = outbox_new(b.net);
    assert_int_equal(b.net->spare_outbox_count, 0);
    assert_true(outbox_is_empty(b.outbox));
    push(&b, "three");
    b.out_len = 0;
    expect_left(&b, "T:three ");
    struct outbox *many[100];
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        many[i] = outbox_new(b.net);
    }
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        outbox_free(many[i], b.net);
    }
    assert_true(b.net->spare_outbox_count < 100);
    tear_down(&b);
}

/* Fails the first or second allocation of each push in turn: a push that
 * fails has changed nothing. */
static void every_failed_allocation_leaves_the_queue_as_it_was(void **state)
{
    (void)state;
    int failed = 0;
    for (int n = 0; n < 80; n++) {
        struct bench b;
        set_up(&b);
        for (int i = 0; i < 40; i++) {
            uint32_t messages = outbox_messages(b.outbox);
            size_t bytes = outbox_bytes(b.outbox);
            (void)frame(&b, "gap", 3);
            struct range r = frame(&b, "abc", 3);
            mem_fail_at(i == n / 2 ? 1 + (uint64_t)n % 2 : 0);
            int rc = outbox_push(b.outbox, &r, &b.limits, OUTBOX_DROP_OLDEST,
                false, i % 2 ? "k" : NULL, i % 2 ? 1 : 0, &b.drops);
            mem_fail_at(0);
            if (rc != 0) {
                assert_int_equal(rc, ERR_NOMEM);
                assert_int_equal(outbox_messages(b.outbox), messages);
                assert_int_equal(outbox_bytes(b.outbox), bytes);
                failed++;
            }
        }
        leave_all(&b, 11);
        tear_down(&b);
    }
    assert_true(failed > 20);
}

/* A model: the queue as a list of frames, dropped and replaced by name. */
#define MODEL_MAX 512
struct model_frame {
    int id;
    int key; /* -1: none */
    size_t len;
    bool begun;
};

struct model {
    struct model_frame q[MODEL_MAX];
    int count;
    size_t sent; /* bytes of q[0] */
    int left[1 << 14];
    int left_count;
};

static void model_remove(struct model *m, int at)
{
    memmove(&m->q[at], &m->q[at + 1],
        (size_t)(m->count - at - 1) * sizeof(m->q[0]));
    m->count--;
}

static size_t model_bytes(const struct model *m)
{
    size_t n = 0;
    for (int i = 0; i < m->count; i++) {
        n += m->q[i].len + LIMIT_FRAME_OVERHEAD_BYTES;
    }
    return n;
}

static bool model_is_over(
    const struct model *m, size_t cost, size_t hard, uint32_t soft)
{
    return m->count > 0 &&
           (model_bytes(m) + cost > hard || (uint32_t)m->count + 1 > soft);
}

static int model_push(struct model *m, const struct model_frame *f,
    const struct outbox_limits *limits, enum outbox_policy policy, bool is_over)
{
    size_t cost = f->len + LIMIT_FRAME_OVERHEAD_BYTES;
    uint32_t soft =
        is_over && policy != OUTBOX_CLOSE ? limits->soft_messages : UINT32_MAX;
    struct model after = *m;
    for (int i = 0; f->key >= 0 && i < after.count; i++) {
        if (after.q[i].key == f->key && !after.q[i].begun) {
            model_remove(&after, i);
            break;
        }
    }
    while (model_is_over(&after, cost, limits->hard_bytes, soft) &&
           policy == OUTBOX_DROP_OLDEST && after.count > after.q[0].begun) {
        model_remove(&after, after.q[0].begun ? 1 : 0);
    }
    bool is_hard =
        after.count > 0 && model_bytes(&after) + cost > limits->hard_bytes;
    bool is_soft = policy == OUTBOX_DROP_NEWEST && after.count > 0 &&
                   (uint32_t)after.count + 1 > soft;
    if (is_hard || is_soft) {
        return ERR_FULL;
    }
    after.q[after.count++] = *f;
    *m = after;
    return 0;
}

static void model_leave(struct model *m, size_t n)
{
    while (n > 0) {
        size_t rest = m->q[0].len - m->sent;
        size_t k = n < rest ? n : rest;
        m->sent += k;
        m->q[0].begun = true;
        n -= k;
        if (m->sent == m->q[0].len) {
            m->left[m->left_count++] = m->q[0].id;
            m->sent = 0;
            model_remove(m, 0);
        }
    }
}

static void random_push(struct bench *b, struct model *m, int id)
{
    static const enum outbox_policy policies[] = {
        OUTBOX_CLOSE, OUTBOX_DROP_OLDEST, OUTBOX_DROP_NEWEST};
    char s[200];
    sprintf(s, "%d ", id);
    size_t pad = (size_t)rand() % 150;
    size_t len = strlen(s);
    memset(s + len, 'x', pad);
    s[len + pad] = '\0';
    int key = rand() % 4 == 0 ? rand() % 5 : -1;
    char name[8];
    sprintf(name, "%d", key);
    enum outbox_policy policy = policies[rand() % 3];
    bool is_over = rand() % 8 == 0;
    if (rand() % 3 == 0) {
        (void)frame(b, "gap", 3);
    }
    struct range r = frame(b, s, strlen(s));
    struct model_frame f = {id, key, r.len, false};
    int want = model_push(m, &f, &b->limits, policy, is_over);
    int rc = outbox_push(b->outbox, &r, &b->limits, policy, is_over,
        key >= 0 ? name : NULL, key >= 0 ? strlen(name) : 0, &b->drops);
    assert_int_equal(rc, want);
}

static void random_pushes_agree_with_the_model(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 40; seed++) {
        srand(seed);
        static struct bench b;
        static struct model m;
        set_up(&b);
        memset(&m, 0, sizeof(m));
        b.limits.hard_bytes = 500 + (uint32_t)rand() % 4000;
        b.limits.soft_messages = 3 + (uint32_t)rand() % 20;
        for (int i = 0; i < 600; i++) {
            random_push(&b, &m, i);
            if (rand() % 3 == 0) {
                model_leave(&m, leave(&b, (size_t)rand() % 400));
            }
            if (rand() % 5 == 0) {
                assert_int_equal(outbox_detach(b.outbox), 0);
                tape_seal_all(b.net);
            }
            assert_int_equal(outbox_messages(b.outbox), m.count);
            assert_int_equal(outbox_bytes(b.outbox), model_bytes(&m));
        }
        while (!outbox_is_empty(b.outbox)) {
            model_leave(&m, leave(&b, 64));
        }
        size_t at = 0;
        for (int i = 0; i < m.left_count; i++) {
            assert_true(at < b.out_len);
            size_t n = frame_bytes(b.out + at);
            size_t header = n < 128 ? 2 : 4;
            assert_int_equal(
                atoi((const char *)b.out + at + header), m.left[i]);
            at += n;
        }
        assert_int_equal(at, b.out_len);
        tear_down(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_leave_in_order_and_counters_fall_to_nothing),
        cmocka_unit_test(frame_counts_in_full_until_its_last_byte_has_left),
        cmocka_unit_test(control_frames_go_ahead_of_data_but_not_into_a_frame),
        cmocka_unit_test(control_frames_go_ahead_at_every_split),
        cmocka_unit_test(waiting_pong_is_replaced_but_not_one_that_has_begun),
        cmocka_unit_test(close_stands_behind_everything_also_a_late_pong),
        cmocka_unit_test(pongs_of_a_turn_wait_in_order_up_to_a_bound),
        cmocka_unit_test(without_memory_the_newest_pong_is_enough),
        cmocka_unit_test(close_that_has_begun_is_not_broken_by_a_pong),
        cmocka_unit_test(a_close_that_was_cut_off_is_forgotten),
        cmocka_unit_test(raw_bytes_stand_before_controls_and_are_not_counted),
        cmocka_unit_test(hard_bound_refuses_without_changing_anything),
        cmocka_unit_test(empty_queue_takes_a_message_of_any_size),
        cmocka_unit_test(drop_oldest_makes_room_from_the_head),
        cmocka_unit_test(frame_that_has_begun_is_never_dropped),
        cmocka_unit_test(nothing_is_dropped_for_a_frame_that_is_refused),
        cmocka_unit_test(soft_bound_holds_the_drop_policies_once_it_lasts),
        cmocka_unit_test(newest_with_a_key_replaces_the_queued_one_at_the_tail),
        cmocka_unit_test(keyed_frame_that_has_begun_is_not_replaced),
        cmocka_unit_test(key_makes_its_own_room_at_the_hard_bound),
        cmocka_unit_test(thousand_replacements_cost_no_more_than_one),
        cmocka_unit_test(detached_queue_lets_go_of_the_turns_chunk),
        cmocka_unit_test(detach_that_finds_no_room_changes_nothing),
        cmocka_unit_test(peek_keeps_to_its_bounds),
        cmocka_unit_test(outboxes_go_back_to_the_spares_empty),
        cmocka_unit_test(every_failed_allocation_leaves_the_queue_as_it_was),
        cmocka_unit_test(random_pushes_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
