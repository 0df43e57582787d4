/* late.h -- large blocks go back to the system a piece at a time.
 *
 * The kernel takes 30 to 40 us for each megabyte that free() gives back of a
 * large block, all in one system call: 2.8 ms for 64 MiB, in which a loop
 * serves nobody and a script in a section is not stopped (I9). So threads that
 * mind hand such blocks in here, and take a piece away in each of their turns.
 *
 * What is late is still memory: it stays charged to its meter until its pages
 * are gone, a piece at a time as well (I2). */
#ifndef BASE_LATE_H
#define BASE_LATE_H

#include "base/blob.h"

/* Frees a block of quota_alloc(), or nothing (NULL), that has `bytes` at least,
 * all of which are charged to `m`, if m is not NULL: takes over that charge and
 * the caller's reference to m. At once, if the block is small, or if the thread
 * has no turns (late_turn()). The block's bytes are gone in either case. */
void late_free(void *p, size_t bytes, struct meter *m);

/* Gives back up to `bytes`, a multiple of the page size; of what is charged to
 * `m`, or of everything if m is NULL. False: nothing of that kind was there. */
bool late_work(struct meter *m, size_t bytes);

/* One turn's part of what this thread has late: LIMIT_LATE_PIECE_BYTES, or more
 * where it heaps up. True: there is more. From the first call until
 * late_finish(), the large blocks that this thread frees are late. */
bool late_turn(void);

/* Everything, and nothing is late from now on: at the end of a thread. */
void late_finish(void);

#endif
