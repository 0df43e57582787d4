/* mailbox.h -- the only road between loops.
 *
 * What one loop wants done on another it writes into a letter: an intrusive
 * node with a function. Letters from one loop to another are opened in the
 * order of posting, each once, on the receiver's thread, in a turn of its
 * own. A letter belongs to the receiver from the moment it is posted: its
 * function frees it, or sends it back.
 *
 * Posting is staging: a turn's letters leave together, as one list for each
 * receiver, when the turn has dispatched, when it has run Lua, and at its end.
 *
 * Bounds (I2) are the senders': each kind of letter says what limits its
 * number. mailbox_is_full() is for those who bring in new work. */
#ifndef LOOP_MAILBOX_H
#define LOOP_MAILBOX_H

#include "base/base.h"

struct loop;

struct letter {
    struct letter *next;
    void (*open)(struct letter *l, struct loop *here);
};

/* From the thread of `from`, which may be `to` itself. Never fails. */
void mailbox_post(struct loop *from, struct loop *to, struct letter *l,
    void (*open)(struct letter *l, struct loop *here));
/* Any thread: more than LIMIT_MAILBOX_LETTERS wait there. A hint: it may have
 * changed by the time it is read. */
bool mailbox_is_full(const struct loop *l);
/* Any thread: no letter of this loop's is staged, none for it lies in the box
 * or is being opened. Who is told so sees all that the opened ones did. */
bool mailbox_is_quiet(const struct loop *l);

#endif
