/* Letters between loops that run on threads of their own. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "base/mem.h"
#include "loop/loop_priv.h"
#include <unistd.h>

#define LOOPS 4
#ifdef MOONWIRE_TINY
#    define MANY 2000u
#else
#    define MANY 20000u
#endif

/* One thread: what order and bounds do is seen turn by turn. */

struct note {
    struct letter letter;
    unsigned number;
};

static unsigned heard[64];
static unsigned heard_count;
static struct loop *heard_at;

static void hear(struct letter *l, struct loop *here)
{
    struct note *n = container_of(l, struct note, letter);
    heard[heard_count++ % 64] = n->number;
    heard_at = here;
    mem_free(n);
}

static void post_note(struct loop *from, struct loop *to, unsigned number)
{
    struct note *n = mem_alloc(sizeof(*n));
    n->number = number;
    mailbox_post(from, to, &n->letter, hear);
}

static void letters_are_opened_in_order_at_the_receiver(void **state)
{
    (void)state;
    struct loop *a = loop_new(0);
    struct loop *b = loop_new(1);
    heard_count = 0;
    for (unsigned i = 0; i < 10; i++) {
        post_note(a, b, i);
    }
    assert_false(mailbox_is_quiet(a));
    loop_turn(b, 0);
    assert_int_equal(heard_count, 0); /* staged only */
    loop_turn(a, 0);
    assert_true(mailbox_is_quiet(a));
    assert_false(mailbox_is_quiet(b));
    for (int i = 0; i < 20; i++) {
        loop_turn(b, -1); /* and never sleeps on them */
        if (heard_count == 10) {
            break;
        }
    }
    assert_int_equal(heard_count, 10);
    assert_ptr_equal(heard_at, b);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(heard[i], i);
    }
    assert_true(mailbox_is_quiet(b));
    loop_free(a);
    loop_free(b);
}

static void a_loop_may_write_to_itself(void **state)
{
    (void)state;
    struct loop *a = loop_new(0);
    heard_count = 0;
    post_note(a, a, 7);
    loop_turn(a, 0);
    loop_turn(a, -1);
    assert_int_equal(heard_count, 1);
    loop_free(a);
}

static struct loop *answer_to;

static void answer(struct letter *l, struct loop *here)
{
    mailbox_post(here, answer_to, l, hear);
}

/* A letter that comes home needs no memory for the way back. */
static void a_letter_can_be_sent_back(void **state)
{
    (void)state;
    struct loop *a = loop_new(0);
    struct loop *b = loop_new(1);
    heard_count = 0;
    answer_to = a;
    struct note *n = mem_alloc(sizeof(*n));
    n->number = 3;
    mailbox_post(a, b, &n->letter, answer);
    loop_turn(a, 0);
    loop_turn(b, -1);
    loop_turn(a, -1);
    assert_int_equal(heard_count, 1);
    assert_int_equal(heard[0], 3);
    assert_ptr_equal(heard_at, a);
    loop_free(a);
    loop_free(b);
}

/* The sender counts its letters before it puts them into the box; whoever looks
 * in between finds a count and nothing else, and must not mind. */
static void a_letter_that_is_counted_and_not_there_yet_comes_later(void **state)
{
    (void)state;
    struct loop *a = loop_new(0);
    struct loop *b = loop_new(1);
    heard_count = 0;
    word_add(&b->mailbox.pending, 1);
    loop_turn(b, 0);
    loop_turn(b, 0);
    word_sub(&b->mailbox.pending, 1);
    for (unsigned i = 0; i < 3; i++) {
        post_note(a, b, 2 * i);
        post_note(a, b, 2 * i + 1);
        loop_turn(a, 0);
        for (int turn = 0; turn < 5 && heard_count < 2 * (i + 1); turn++) {
            loop_turn(b, -1);
        }
        assert_int_equal(heard_count, 2 * (i + 1));
        assert_int_equal(heard[2 * i], 2 * i);
        assert_int_equal(heard[2 * i + 1], 2 * i + 1);
    }
    assert_true(mailbox_is_quiet(b));
    loop_free(a);
    loop_free(b);
}

static void work_slowly(struct letter *l, struct loop *here)
{
    (void)usleep(300);
    hear(l, here);
}

/* A heap of letters does not keep a loop from its sockets. */
static void opening_letters_ends_with_its_time(void **state)
{
    (void)state;
    struct loop *a = loop_new(0);
    struct loop *b = loop_new(1);
    heard_count = 0;
    for (unsigned i = 0; i < 100; i++) {
        struct note *n = mem_alloc(sizeof(*n));
        n->number = i;
        mailbox_post(a, b, &n->letter, work_slowly);
    }
    loop_turn(a, 0);
    loop_turn(b, -1);
    assert_in_range(heard_count, 1, 99);
    post_note(a, b, 1000);
    loop_turn(a, 0);
    while (heard_count < 101) {
        loop_turn(b, -1);
    }
    assert_int_equal(heard[100 % 64], 1000); /* behind all others */
    loop_free(a);
    loop_free(b);
}

/* Four threads, each writing to all: the bell is never missed, nothing is
 * lost, doubled or reordered. */

static struct loop *loops[LOOPS];

struct mail {
    struct letter letter;
    uint32_t from;
    uint32_t number;
};

static struct reader {
    uint32_t next[LOOPS]; /* of each sender */
    uint32_t heard;
    uint32_t sent;
    struct loop_hook hook;
} readers[LOOPS];

static void read_mail(struct letter *l, struct loop *here)
{
    struct mail *m = container_of(l, struct mail, letter);
    struct reader *r = &readers[loop_index(here)];
    ASSERT(m->number == r->next[m->from], "in order, none missing");
    r->next[m->from]++;
    r->heard++;
    mem_free(m);
}

static void send_some(struct loop_hook *h)
{
    struct reader *r = container_of(h, struct reader, hook);
    uint32_t me = (uint32_t)(r - readers);
    for (int i = 0; i < 16 && r->sent < MANY; i++, r->sent++) {
        for (uint32_t to = 0; to < LOOPS; to++) {
            struct mail *m = mem_alloc(sizeof(*m));
            m->from = me;
            m->number = r->sent;
            mailbox_post(loops[me], loops[to], &m->letter, read_mail);
        }
    }
    if (r->sent < MANY && r->sent % 3 == 0) {
        loop_keep_polling(loops[me]);
    }
    if (r->sent == MANY && r->heard == LOOPS * MANY) {
        loop_stop(loops[me]);
    }
}

static void run(void *arg)
{
    loop_run(arg);
}

static void loops_that_all_write_to_all_lose_nothing(void **state)
{
    (void)state;
    uv_thread_t threads[LOOPS];
    for (uint32_t i = 0; i < LOOPS; i++) {
        loops[i] = loop_new(i);
        loop_hook_add(loops[i], LOOP_RUN, &readers[i].hook, send_some);
        loop_keep_polling(loops[i]);
    }
    for (uint32_t i = 0; i < LOOPS; i++) {
        assert_int_equal(uv_thread_create(&threads[i], run, loops[i]), 0);
    }
    for (uint32_t i = 0; i < LOOPS; i++) {
        assert_int_equal(uv_thread_join(&threads[i]), 0);
        assert_int_equal(readers[i].heard, LOOPS * MANY);
    }
    for (uint32_t i = 0; i < LOOPS; i++) {
        assert_true(mailbox_is_quiet(loops[i]));
        loop_hook_remove(&readers[i].hook);
        loop_free(loops[i]);
    }
}

/* What a loop is thought to do by the others. */

static void burn_ms(uint64_t ms)
{
    uint64_t end = loop_clock_ns() + ms * 1000000;
    while (loop_clock_ns() < end) {
    }
}

static void a_loop_that_works_looks_busy_and_one_that_sleeps_idle(void **state)
{
    (void)state;
    struct loop *l = loop_new(0);
    loop_turn(l, 0);
    burn_ms(150);
    loop_turn(l, 0);
    uint32_t busy = loop_load(l);
    assert_in_range(busy, 100, 1000); /* on a processor shared by others */
    (void)usleep(150 * 1000);
    loop_turn(l, 0);
    assert_true(loop_load(l) < busy);
    /* Nothing heard of it for long, though it does not sleep: stuck. */
    (void)usleep(350 * 1000);
    assert_int_equal(loop_load(l), 1000);
    word_set(&l->load.is_asleep, 1);
    assert_int_equal(loop_load(l), 0);
    loop_free(l);
}

struct sleeper {
    struct io_watch watch;
    struct loop *loop;
    uint32_t seen;
};

static void on_sleeper_ready(struct io_watch *w, unsigned events)
{
    struct sleeper *s = container_of(w, struct sleeper, watch);
    (void)events;
    (void)usleep(350 * 1000);
    s->seen = loop_load(s->loop);
    io_remove(s->loop, w);
}

/* It was asleep when the readiness came, and is not while that is seen to. */
static void a_loop_that_hangs_in_a_callback_looks_busy(void **state)
{
    (void)state;
    int fds[2];
    struct sleeper s = {.watch = {.fd = -1}, .loop = loop_new(0)};
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(
        io_add(s.loop, &s.watch, fds[0], IO_READ, on_sleeper_ready), 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    loop_turn(s.loop, 1000);
    assert_int_equal(s.seen, 1000);
    loop_turn(s.loop, 0);
    loop_free(s.loop);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_are_opened_in_order_at_the_receiver),
        cmocka_unit_test(a_loop_may_write_to_itself),
        cmocka_unit_test(a_letter_can_be_sent_back),
        cmocka_unit_test(
            a_letter_that_is_counted_and_not_there_yet_comes_later),
        cmocka_unit_test(opening_letters_ends_with_its_time),
        cmocka_unit_test(loops_that_all_write_to_all_lose_nothing),
        cmocka_unit_test(a_loop_that_works_looks_busy_and_one_that_sleeps_idle),
        cmocka_unit_test(a_loop_that_hangs_in_a_callback_looks_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
