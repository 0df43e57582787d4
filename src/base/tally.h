/* tally.h -- how much each of many keys has, counted by all threads together:
 * connections of an address and their rates.
 *
 * The one table that loops share beside mailboxes and metrics (I4): a limit
 * for an address would be no limit if each loop had its own. Each call holds
 * a leaf lock for as long as it takes to look into a table, and calls nobody
 * (I5). Entries are there as long as somebody is counted in them, or their
 * bucket is not full again; a bound on their number holds (I2). */
#ifndef BASE_TALLY_H
#define BASE_TALLY_H

#include "base/rate.h"

struct tally;
struct tally_entry;

#define TALLY_KEY_BYTES 16
#define TALLY_BUCKETS   2

struct tally *tally_new(uint32_t entries_max) NODISCARD;
/* Nobody may be counted any more. NULL is fine. */
void tally_free(struct tally *t);

/* Counts one more under that key. NULL: no memory, or too many keys; then
 * nothing was counted. */
struct tally_entry *tally_enter(
    struct tally *t, const uint8_t key[TALLY_KEY_BYTES]) NODISCARD;
/* One less; NULL is fine. */
void tally_leave(struct tally *t, struct tally_entry *e);
uint32_t tally_count(struct tally *t, const uint8_t key[TALLY_KEY_BYTES]);

/* The entry's buckets, as rate_wait_ms() and rate_take(). */
uint32_t tally_wait_ms(struct tally *t, struct tally_entry *e, unsigned bucket,
    const struct rate *r, uint64_t now_ms);
void tally_take(struct tally *t, struct tally_entry *e, unsigned bucket,
    const struct rate *r, uint64_t now_ms, uint64_t n);

#endif
