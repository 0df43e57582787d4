/* mailbox.c -- the only road between loops.
 *
 * A loop never touches what another loop owns (I1). When it wants something
 * done over there it posts a letter and forgets it.
 *
 * The mutex guards the list and one flag for a few instructions, and nothing
 * is called while it is held (I5). A sender appends all its letters of a turn
 * in one go; the receiver takes the whole list in one go. With batches of 16
 * that is 20 ns a letter, so a lock-free queue would have to earn its place.
 *
 * A ring is a system call on both sides. So the receiver says when it is about
 * to sleep, under the lock and only if the box is empty; the first sender
 * that finds the flag takes it down and rings. A receiver that is awake looks
 * into the box in every turn and needs no ring. uv_async_send() is what rings:
 * it only ends the wait, the turn itself looks.
 *
 * Opening is bounded in time: after a stall there may be a hundred thousand
 * letters, and the sockets of this loop want their turn as well. What is
 * left lies in `opening` and keeps the loop from sleeping; order holds, since
 * nothing newer is taken before that list is empty. */
#include "loop/mailbox.h"
#include "base/limits.h"
#include "loop/loop_priv.h"

#ifdef MOONWIRE_TINY
#    define LOOK_EVERY 1u
#    define OPEN_NS    UINT64_C(0)
#else
#    define LOOK_EVERY 32u
#    define OPEN_NS    (LIMIT_TURN_LETTERS_US * UINT64_C(1000))
#endif

static void chain_init(struct letter_chain *c)
{
    c->first = NULL;
    c->last = &c->first;
}

static void chain_append(struct letter_chain *to, struct letter_chain *from)
{
    if (from->first == NULL) {
        return;
    }
    *to->last = from->first;
    to->last = from->last;
    chain_init(from);
}

void mailbox_init(struct mailbox *m)
{
    int rc = pthread_mutex_init(&m->lock, NULL);
    ASSERT(rc == 0, "a mutex costs no memory");
    chain_init(&m->box);
    chain_init(&m->opening);
    for (int i = 0; i < LIMIT_LOOPS; i++) {
        chain_init(&m->outgoing[i].chain);
    }
}

void mailbox_fini(struct mailbox *m)
{
    ASSERT(m->box.first == NULL && m->opening.first == NULL &&
               m->outgoing_mask == 0,
        "I2: every letter is opened");
    int rc = pthread_mutex_destroy(&m->lock);
    ASSERT(rc == 0, "I5");
}

void mailbox_post(struct loop *from, struct loop *to, struct letter *l,
    void (*open)(struct letter *l, struct loop *here))
{
    struct outgoing *out = &from->mailbox.outgoing[to->index];
    ASSERT(to->index < LIMIT_LOOPS, "I2: so many loops");
    l->next = NULL;
    l->open = open;
    out->to = to;
    out->count++;
    *out->chain.last = l;
    out->chain.last = &l->next;
    if (from->mailbox.outgoing_mask == 0) {
        word_set(&from->mailbox.has_staged, 1);
    }
    from->mailbox.outgoing_mask |= UINT64_C(1) << to->index;
}

/* True: the receiver sleeps. */
static bool put_in_box(struct mailbox *m, struct letter_chain *chain)
{
    (void)pthread_mutex_lock(&m->lock);
    chain_append(&m->box, chain);
    bool is_asleep = m->is_asleep;
    m->is_asleep = false;
    (void)pthread_mutex_unlock(&m->lock);
    return is_asleep;
}

static void send_to_one(struct outgoing *out)
{
    /* One for all of them: the counter is the receiver's cache line. */
    word_add(&out->to->mailbox.pending, out->count);
    out->count = 0;
    if (put_in_box(&out->to->mailbox, &out->chain)) {
        int rc = uv_async_send(&out->to->anchor);
        ASSERT(rc == 0, "a loop outlives its letters");
    }
}

void mailbox_send(struct loop *l)
{
    struct mailbox *m = &l->mailbox;
    while (m->outgoing_mask != 0) {
        int i = __builtin_ctzll(m->outgoing_mask);
        m->outgoing_mask &= m->outgoing_mask - 1;
        send_to_one(&m->outgoing[i]);
        if (m->outgoing_mask == 0) {
            word_set(&m->has_staged, 0);
        }
    }
}

bool mailbox_doze(struct loop *l)
{
    struct mailbox *m = &l->mailbox;
    if (m->opening.first != NULL || m->outgoing_mask != 0) {
        return false;
    }
    (void)pthread_mutex_lock(&m->lock);
    m->is_asleep = m->box.first == NULL;
    bool is_asleep = m->is_asleep;
    (void)pthread_mutex_unlock(&m->lock);
    return is_asleep;
}

/* After a sleep, whoever ended it: nobody needs to ring now. */
static void take_box(struct mailbox *m)
{
    (void)pthread_mutex_lock(&m->lock);
    m->is_asleep = false;
    chain_append(&m->opening, &m->box);
    (void)pthread_mutex_unlock(&m->lock);
}

void mailbox_open(struct loop *l)
{
    struct mailbox *m = &l->mailbox;
    if (word_get(&m->pending) == 0) {
        return;
    }
    if (m->opening.first == NULL) {
        take_box(m);
    }
    uint64_t end_ns = m->opening.first != NULL ? loop_clock_ns() + OPEN_NS : 0;
    uint64_t n = 0;
    while (m->opening.first != NULL) {
        struct letter *letter = m->opening.first;
        m->opening.first = letter->next;
        if (m->opening.first == NULL) {
            m->opening.last = &m->opening.first;
        }
        letter->open(letter, l);
        if (++n % LOOK_EVERY == 0 && loop_clock_ns() >= end_ns) {
            break;
        }
    }
    word_sub(&m->pending, n);
    if (m->opening.first != NULL) {
        l->keeps_polling = true;
    }
}

bool mailbox_is_full(const struct loop *l)
{
    return word_get(&l->mailbox.pending) > LIMIT_MAILBOX_LETTERS;
}

bool mailbox_is_quiet(const struct loop *l)
{
    /* In this order: a letter is counted as pending before it is staged no
     * more. */
    return word_get(&l->mailbox.has_staged) == 0 &&
           word_get(&l->mailbox.pending) == 0;
}
