/* words.h -- the words of a script's source, as a set that may say yes too
 * often, and never no too often.
 *
 * A global that no word of an app names, the app cannot reach: so it need not
 * be there, and an app of ten lines need not hold two hundred names. Three
 * words lead to names that are made up as the script runs (`_G`, `_ENV`,
 * `load`): who has one of these counts as having all. */
#ifndef SCRIPT_WORDS_H
#define SCRIPT_WORDS_H

#include "base/base.h"

#define WORDS_BITS 16384

/* All zero: no word yet. */
struct words {
    bool has_all;
    uint64_t bits[WORDS_BITS / 64];
};

/* Adds what looks like a name in this source, comments and texts included. */
void words_add(struct words *w, const char *source, size_t len);
/* False: for sure not. `w` NULL: nobody knows the source, so it has them
 * all. */
bool words_has(const struct words *w, const char *word);

#endif
