/* test_pack.c -- one message, several forms of it, each made once; and what a
 * connection keeps of compression. */
#include "world.h"

#include "net/pack.h"
#include "proto/frame.h"

static char text[4000];

static void fill_text(void)
{
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = "abcdefgh"[i * i % 8];
    }
}

struct pack_world {
    struct world w;
    struct tape packed;
};

static void start(struct pack_world *p)
{
    fill_text();
    world_init(&p->w);
    tape_init(&p->packed, false);
}

static void stop(struct pack_world *p)
{
    mem_fail_at(0);
    tape_seal_all(p->w.net);
    tape_fini(&p->packed);
    world_fini(&p->w);
}

/* An open client that has agreed to this; server_bits 0: to nothing. */
static void open_packed(
    struct client *c, struct pack_world *p, const struct deflate_params *params)
{
    client_open(c, &p->w, PAIR_UNIX);
    conn_set_deflate(c->conn, params);
}

static const struct deflate_params usual = {
    .server_bits = 15, .client_bits = 15};
static const struct deflate_params narrow = {
    .server_bits = 9, .client_bits = 15};
static const struct deflate_params context = {.server_keeps = true,
    .client_keeps = true,
    .server_bits = 15,
    .client_bits = 15};
static const struct pack_settings how = {.level = 3, .bits = 15};

static void send_all(
    struct pack_world *p, struct client *c, size_t n, const char *s, size_t len)
{
    struct range r = world_frame(&p->w, FRAME_TEXT, s, len);
    const struct pack_message m = {FRAME_TEXT, s, len};
    struct parcel parcel;
    parcel_init(&parcel, p->w.net, &r, &m);
    parcel_pack(&parcel, &p->packed, p->w.meter, &how);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(
            parcel_send(&parcel, c[i].id.slot, OUTBOX_CLOSE, NULL, 0), 0);
    }
    parcel_fini(&parcel);
}

static bool always(void)
{
    return true;
}

static void begin_in_steps(
    struct parcel *parcel, struct pack_world *p, const char *s, size_t len)
{
    struct range r = world_frame(&p->w, FRAME_TEXT, s, len);
    const struct pack_message m = {FRAME_TEXT, s, len};
    parcel_init(parcel, p->w.net, &r, &m);
    parcel_pack(parcel, &p->packed, p->w.meter, &how);
    parcel->is_due = always;
}

/* The next frame the client has: its payload, inflated if it came so. */
static bool next_is(struct client *c, struct inflater *z, const char *want,
    size_t len, bool *was_packed)
{
    client_settle(c);
    assert_true(c->in_len - c->in_at >= 2);
    uint8_t *f = c->in + c->in_at;
    size_t total = frame_bytes(f);
    size_t head = frame_header_bytes(total - (total < 128 ? 2 : 4));
    assert_true(c->in_len - c->in_at >= total);
    c->in_at += total;
    *was_packed = (f[0] & 0x40) != 0;
    if (!*was_packed) {
        return total - head == len && memcmp(f + head, want, len) == 0;
    }
    struct buf out;
    buf_init(&out, 100001);
    assert_int_equal(inflater_feed(z, f + head, total - head, &out, 100000), 0);
    assert_int_equal(inflater_end(z, &out, 100000), 0);
    bool is_same = out.len == len && memcmp(out.p, want, len) == 0;
    buf_fini(&out);
    return is_same;
}

static void each_gets_the_form_that_it_can_read_and_each_is_made_once(
    void **state)
{
    (void)state;
    struct pack_world p;
    struct client c[9];
    start(&p);
    static const struct deflate_params *const params[3] = {
        NULL, &usual, &narrow};
    for (int i = 0; i < 9; i++) {
        open_packed(&c[i], &p, params[i % 3]);
    }
    send_all(&p, c, 9, text, sizeof(text));
    assert_int_equal(world_metric(&p.w, METRIC_DEFLATED), 2);
    for (int i = 0; i < 9; i++) {
        struct inflater *z = inflater_new(i % 3 == 2 ? 9 : 15);
        bool was_packed;
        assert_true(next_is(&c[i], z, text, sizeof(text), &was_packed));
        assert_int_equal(was_packed, i % 3 != 0);
        inflater_free(z);
        client_fini(&c[i]);
    }
    stop(&p);
}

static void what_does_not_shrink_goes_out_plain_to_all(void **state)
{
    (void)state;
    struct pack_world p;
    struct client c[2];
    start(&p);
    open_packed(&c[0], &p, &usual);
    open_packed(&c[1], &p, &usual);
    send_all(&p, c, 2, "short", 5);
    assert_int_equal(world_metric(&p.w, METRIC_DEFLATED), 0);
    for (int i = 0; i < 2; i++) {
        bool was_packed;
        assert_true(next_is(&c[i], NULL, "short", 5, &was_packed));
        assert_false(was_packed);
        client_fini(&c[i]);
    }
    stop(&p);
}

static void forms_of_a_turn_lie_together(void **state)
{
    (void)state;
    struct pack_world p;
    struct client c[2];
    start(&p);
    open_packed(&c[0], &p, &usual);
    open_packed(&c[1], &p, &narrow);
    p.packed.least_bytes = 8192; /* as if turns before had been as busy */
    for (int i = 0; i < 3; i++) {
        send_all(&p, c, 2, text, 1000 + (size_t)i);
    }
    assert_int_equal(conn_lane(c[0].conn)->frames, 3);
    assert_null(c[0].conn->outbox);
    client_settle(&c[0]);
    client_settle(&c[1]);
    client_fini(&c[0]);
    client_fini(&c[1]);
    stop(&p);
}

static void with_a_context_the_second_refers_to_the_first(void **state)
{
    (void)state;
    struct pack_world p;
    struct client c;
    start(&p);
    open_packed(&c, &p, &context);
    struct inflater *z = inflater_new(15);
    size_t sizes[3];
    for (int i = 0; i < 3; i++) {
        bool was_packed;
        size_t before = c.in_len;
        send_all(&p, &c, 1, text, sizeof(text));
        assert_true(next_is(&c, z, text, sizeof(text), &was_packed));
        assert_true(was_packed);
        sizes[i] = c.in_len - before;
    }
    assert_true(sizes[1] < sizes[0]);
    /* In one turn they are queued: the second stands alone, and can be read
     * all the same. */
    send_all(&p, &c, 1, text, 2000);
    send_all(&p, &c, 1, text + 1, 2000);
    bool was_packed;
    assert_true(next_is(&c, z, text, 2000, &was_packed));
    assert_true(next_is(&c, z, text + 1, 2000, &was_packed));
    inflater_free(z);
    client_fini(&c);
    stop(&p);
}

/* Each quota_* call in turn says no: every message is either told as refused,
 * or comes, whole and readable, in one form or the other. */
static void without_memory_a_message_comes_plain_or_not_at_all(void **state)
{
    (void)state;
    for (uint64_t fail_at = 1; fail_at < 30; fail_at++) {
        struct pack_world p;
        struct client c[2];
        start(&p);
        open_packed(&c[0], &p, &usual);
        open_packed(&c[1], &p, &context);
        struct range r = world_frame(&p.w, FRAME_TEXT, text, sizeof(text));
        const struct pack_message m = {FRAME_TEXT, text, sizeof(text)};
        mem_fail_at(fail_at);
        struct parcel parcel;
        parcel_init(&parcel, p.w.net, &r, &m);
        parcel_pack(&parcel, &p.packed, p.w.meter, &how);
        int rc[2];
        for (int i = 0; i < 2; i++) {
            rc[i] = parcel_send(&parcel, c[i].id.slot, OUTBOX_CLOSE, NULL, 0);
        }
        parcel_fini(&parcel);
        mem_fail_at(0);
        for (int i = 0; i < 2; i++) {
            struct inflater *z = inflater_new(15);
            bool was_packed;
            if (rc[i] == 0) {
                assert_true(next_is(&c[i], z, text, sizeof(text), &was_packed));
            }
            inflater_free(z);
            client_fini(&c[i]);
        }
        stop(&p);
    }
}

static void without_room_in_the_meter_it_comes_plain(void **state)
{
    (void)state;
    struct pack_world p;
    struct client c;
    start(&p);
    open_packed(&c, &p, &usual);
    struct range r = world_frame(&p.w, FRAME_TEXT, text, sizeof(text));
    const struct pack_message m = {FRAME_TEXT, text, sizeof(text)};
    struct meter *full = meter_new(1);
    struct parcel parcel;
    parcel_init(&parcel, p.w.net, &r, &m);
    parcel_pack(&parcel, &p.packed, full, &how);
    assert_int_equal(parcel_send(&parcel, c.id.slot, OUTBOX_CLOSE, NULL, 0), 0);
    parcel_fini(&parcel);
    assert_int_equal(world_metric(&p.w, METRIC_DROPPED_APP), 0);
    bool was_packed;
    assert_true(next_is(&c, NULL, text, sizeof(text), &was_packed));
    assert_false(was_packed);
    meter_unref(full);
    client_fini(&c);
    stop(&p);
}

/* A parcel that was made elsewhere is opened from its plain frame alone. */
static void a_frame_of_every_length_is_opened_as_a_parcel(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 125, 126, 3000, 65535, 65536, 70000};
    struct pack_world p;
    start(&p);
    static char bytes[70000];
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct range r = world_frame(&p.w, FRAME_BINARY, bytes, sizes[i]);
        struct parcel parcel;
        parcel_open(&parcel, p.w.net, &r, NULL, &how);
        assert_int_equal(parcel.message.len, sizes[i]);
        assert_int_equal(parcel.message.op, FRAME_BINARY);
        assert_ptr_equal(
            (const uint8_t *)parcel.message.data + parcel.message.len,
            r.blob->data + r.off + r.len);
        parcel_fini(&parcel);
    }
    stop(&p);
}

/* As a letter from another loop brings it: its plain frame, and maybe the usual
 * form. To c[0..n). */
static void send_from_afar(struct pack_world *p, struct client *c, size_t n,
    const char *s, size_t len, bool has_usual)
{
    struct range r = world_frame(&p->w, FRAME_TEXT, s, len);
    const struct pack_message m = {FRAME_TEXT, s, len};
    struct parcel made;
    struct parcel parcel;
    parcel_init(&made, p->w.net, &r, &m);
    parcel_pack(&made, &p->packed, p->w.meter, &how);
    parcel_open(&parcel, p->w.net, &r,
        has_usual ? parcel_usual_form(&made) : NULL, &how);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(
            parcel_send(&parcel, c[i].id.slot, OUTBOX_CLOSE, NULL, 0), 0);
    }
    parcel_fini(&parcel);
    parcel_fini(&made);
}

/* A letter is opened in one go. What that may compress is bounded for a turn,
 * and everybody can read what he gets instead, then and later. */
static void from_afar_no_more_forms_are_made_than_a_turn_has_time_for(
    void **state)
{
    (void)state;
    static const struct deflate_params *const params[4] = {
        &context, &narrow, &usual, NULL};
    static char big[90000];
    struct pack_world p;
    struct client c[4];
    struct inflater *z[4];
    bool was_packed;
    start(&p);
    for (size_t i = 0; i < sizeof(big); i++) {
        big[i] = "abcdefgh"[i * i / 3 % 8];
    }
    for (int i = 0; i < 4; i++) {
        open_packed(&c[i], &p, params[i]);
        z[i] = inflater_new(15);
    }
    for (int round = 0; round < 4; round++) {
        bool has_usual = round % 2 == 0;
        uint64_t before = world_metric(&p.w, METRIC_DEFLATED);
        send_from_afar(&p, c, 4, big, sizeof(big), has_usual);
        assert_int_equal(
            world_metric(&p.w, METRIC_DEFLATED) - before, has_usual);
        assert_int_equal(p.w.net->deflate_steps, 0);
        for (int i = 0; i < 4; i++) {
            assert_true(next_is(&c[i], z[i], big, sizeof(big), &was_packed));
            assert_int_equal(was_packed, has_usual && (i == 0 || i == 2));
        }
        inflater_reset(z[2]);
        /* What is short is made, also in the context. */
        send_from_afar(&p, c, 4, text, sizeof(text), true);
        for (int i = 0; i < 4; i++) {
            assert_true(next_is(&c[i], z[i], text, sizeof(text), &was_packed));
            assert_int_equal(was_packed, i != 3);
        }
        inflater_reset(z[1]);
        inflater_reset(z[2]);
    }
    /* Many short ones in a turn. */
    size_t steps = sizeof(text) / pack_step_bytes(how.level) + 1;
    size_t most = LIMIT_TURN_DEFLATE_STEPS / steps;
    uint64_t before = world_metric(&p.w, METRIC_DEFLATED);
    for (size_t i = 0; i < most + 20; i++) {
        send_from_afar(&p, c, 1, text, sizeof(text), false);
    }
    assert_int_equal(world_metric(&p.w, METRIC_DEFLATED) - before, most);
    for (size_t i = 0; i < most + 20; i++) {
        assert_true(next_is(&c[0], z[0], text, sizeof(text), &was_packed));
        assert_int_equal(was_packed, i < most);
    }
    for (int i = 0; i < 4; i++) {
        inflater_free(z[i]);
        client_fini(&c[i]);
    }
    stop(&p);
}

/* With others that compress in between, as the same deflater would. */
static void a_form_made_in_steps_is_the_same(void **state)
{
    (void)state;
    static char long_text[60000];
    struct pack_world p;
    struct client c[4];
    struct client other;
    static const struct deflate_params *const params[4] = {
        NULL, &usual, &narrow, &context};
    start(&p);
    for (size_t i = 0; i < sizeof(long_text); i++) {
        long_text[i] = "abcdefgh"[i * i / 3 % 8];
    }
    for (int i = 0; i < 4; i++) {
        open_packed(&c[i], &p, params[i]);
    }
    open_packed(&other, &p, &usual);
    struct inflater *z[4] = {
        NULL, inflater_new(15), inflater_new(9), inflater_new(15)};
    struct inflater *other_z = inflater_new(15);
    for (int round = 0; round < 3; round++) {
        struct parcel parcel;
        unsigned steps = 0;
        begin_in_steps(&parcel, &p, long_text, sizeof(long_text));
        for (int i = 0; i < 4; i++) {
            int rc;
            while ((rc = parcel_send(&parcel, c[i].id.slot, OUTBOX_CLOSE, NULL,
                        0)) == PARCEL_MORE) {
                bool was_packed;
                steps++;
                if (steps % 50 == 1) {
                    send_all(&p, &other, 1, text, sizeof(text));
                    assert_true(next_is(
                        &other, other_z, text, sizeof(text), &was_packed));
                    assert_true(was_packed);
                    inflater_reset(other_z);
                }
            }
            assert_int_equal(rc, 0);
        }
        parcel_fini(&parcel);
        size_t least = 3 * sizeof(long_text) / pack_step_bytes(how.level);
        assert_in_range(steps, least - 3, least + 30);
        for (int i = 0; i < 4; i++) {
            bool was_packed;
            assert_true(next_is(
                &c[i], z[i], long_text, sizeof(long_text), &was_packed));
            assert_int_equal(was_packed, i > 0);
            if (i == 1 || i == 2) {
                inflater_reset(z[i]);
            }
        }
    }
    for (int i = 0; i < 4; i++) {
        inflater_free(z[i]);
        client_fini(&c[i]);
    }
    inflater_free(other_z);
    client_fini(&other);
    stop(&p);
}

/* Whose context it was has gone, or nobody goes on with it. */
#ifndef MOONWIRE_TINY /* its sockets are full after the first call */

/* Text that hardly shrinks. */
static void fill_dense(char *p, size_t n)
{
    uint32_t x = 1;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (char)('0' + (x >> 26));
    }
}

/* So many frames of one byte, no two of which go out in one piece. */
static void send_pieces(struct pack_world *p, struct client *c, int n)
{
    struct tape other;
    struct range r;
    tape_init(&other, false);
    for (int i = 0; i < n; i++) {
        struct tape *t = i % 2 ? &other : &p->w.tape;
        assert_int_equal(
            tape_frame(t, p->w.net, p->w.meter, FRAME_TEXT, false, "x", 1, &r),
            0);
        assert_int_equal(
            net_send(p->w.net, c->id.slot, &r, OUTBOX_CLOSE, NULL, 0), 0);
    }
    tape_fini(&other);
}

/* A client that keeps up, with so much waiting that `dense` does not fit before
 * two calls have been made. */
static void open_at_its_bound(
    struct client *c, struct pack_world *p, char *dense, size_t len)
{
    fill_dense(dense, len);
    p->w.settings.outbox.hard_bytes = 20000;
    open_packed(c, p, &context);
    conn_lane(c->conn)->hard_bytes = 20000;
    send_pieces(p, c, 290);
}

static void a_form_of_its_own_waits_until_there_is_room(void **state)
{
    (void)state;
    static char dense[8000];
    struct pack_world p;
    struct client c;
    struct parcel parcel;
    bool was_packed;
    start(&p);
    open_at_its_bound(&c, &p, dense, sizeof(dense));
    begin_in_steps(&parcel, &p, dense, sizeof(dense));
    p.w.net->is_due = always;
    uint64_t before = world_metric(&p.w, METRIC_SENDS);
    uint64_t sends = before;
    int rc;
    do {
        rc = parcel_send(&parcel, c.id.slot, OUTBOX_CLOSE, NULL, 0);
        assert_true(world_metric(&p.w, METRIC_SENDS) <= sends + 1);
        sends = world_metric(&p.w, METRIC_SENDS);
    } while (rc == PARCEL_MORE);
    p.w.net->is_due = NULL;
    assert_int_equal(rc, 0);
    assert_int_equal(sends - before, 2);
    parcel_fini(&parcel);
    assert_int_equal(world_metric(&p.w, METRIC_DEFLATED), 1);
    send_all(&p, &c, 1, dense, 3000); /* it refers to that one, or to none */
    struct inflater *z = inflater_new(15);
    for (int i = 0; i < 290; i++) {
        assert_true(next_is(&c, z, "x", 1, &was_packed));
    }
    assert_true(next_is(&c, z, dense, sizeof(dense), &was_packed));
    assert_true(was_packed);
    assert_true(next_is(&c, z, dense, 3000, &was_packed));
    inflater_free(z);
    client_fini(&c);
    stop(&p);
}

static void a_form_that_waits_for_room_can_be_dropped(void **state)
{
    (void)state;
    static char dense[8000];
    struct pack_world p;
    struct client c;
    struct parcel parcel;
    bool was_packed;
    start(&p);
    open_at_its_bound(&c, &p, dense, sizeof(dense));
    begin_in_steps(&parcel, &p, dense, sizeof(dense));
    p.w.net->is_due = always;
    uint64_t before = world_metric(&p.w, METRIC_SENDS);
    while (world_metric(&p.w, METRIC_SENDS) == before) {
        assert_int_equal(parcel_send(&parcel, c.id.slot, OUTBOX_CLOSE, NULL, 0),
            PARCEL_MORE);
    }
    p.w.net->is_due = NULL;
    parcel_fini(&parcel);
    send_all(&p, &c, 1, dense, 3000);
    struct inflater *z = inflater_new(15);
    for (int i = 0; i < 290; i++) {
        assert_true(next_is(&c, z, "x", 1, &was_packed));
    }
    assert_true(next_is(&c, z, dense, 3000, &was_packed));
    inflater_free(z);
    client_fini(&c);
    stop(&p);
}

#endif

static void a_form_that_is_not_finished_leaves_nothing(void **state)
{
    (void)state;
    static const struct deflate_params *const params[3] = {
        &usual, &narrow, &context};
    for (int i = 0; i < 6; i++) {
        struct pack_world p;
        struct client c[2];
        struct parcel parcel;
        start(&p);
        open_packed(&c[0], &p, params[i % 3]);
        open_packed(&c[1], &p, &usual);
        struct inflater *z[2] = {
            inflater_new(i % 3 == 1 ? 9 : 15), inflater_new(15)};
        bool was_packed;
        send_all(&p, c, 2, text, sizeof(text));
        for (int k = 0; k < 2; k++) {
            assert_true(next_is(&c[k], z[k], text, sizeof(text), &was_packed));
        }
        begin_in_steps(&parcel, &p, text, sizeof(text));
        for (int k = 0; k < 2; k++) {
            assert_int_equal(
                parcel_send(&parcel, c[0].id.slot, OUTBOX_CLOSE, NULL, 0),
                PARCEL_MORE);
        }
        if (i >= 3) {
            conn_kill(c[0].conn, true);
            int rc;
            while ((rc = parcel_send(&parcel, c[1].id.slot, OUTBOX_CLOSE, NULL,
                        0)) == PARCEL_MORE) {
            }
            assert_int_equal(rc, 0);
        }
        parcel_fini(&parcel);
        /* And who is there can read what comes next. */
        inflater_reset(z[1]);
        if (i < 3) {
            if (i < 2) {
                inflater_reset(z[0]);
            }
            send_all(&p, c, 2, text, sizeof(text));
            assert_true(next_is(&c[0], z[0], text, sizeof(text), &was_packed));
            assert_true(was_packed);
        }
        assert_true(next_is(&c[1], z[1], text, sizeof(text), &was_packed));
        assert_true(was_packed);
        for (int k = 0; k < 2; k++) {
            inflater_free(z[k]);
            client_fini(&c[k]);
        }
        stop(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            each_gets_the_form_that_it_can_read_and_each_is_made_once),
        cmocka_unit_test(what_does_not_shrink_goes_out_plain_to_all),
        cmocka_unit_test(forms_of_a_turn_lie_together),
        cmocka_unit_test(with_a_context_the_second_refers_to_the_first),
        cmocka_unit_test(without_memory_a_message_comes_plain_or_not_at_all),
        cmocka_unit_test(without_room_in_the_meter_it_comes_plain),
        cmocka_unit_test(a_frame_of_every_length_is_opened_as_a_parcel),
        cmocka_unit_test(
            from_afar_no_more_forms_are_made_than_a_turn_has_time_for),
        cmocka_unit_test(a_form_made_in_steps_is_the_same),
        cmocka_unit_test(a_form_that_is_not_finished_leaves_nothing),
#ifndef MOONWIRE_TINY
        cmocka_unit_test(a_form_of_its_own_waits_until_there_is_room),
        cmocka_unit_test(a_form_that_waits_for_room_can_be_dropped),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
