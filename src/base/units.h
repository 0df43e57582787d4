/* units.h -- what people write for sizes, times and addresses. */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include "base/base.h"

/* "1MB" "64 KiB" "512" -> bytes; K, M, G (also KB, KiB, ...) are powers of
 * 1,024, any case. 0 or ERR_SYNTAX (also when it does not fit). */
int units_parse_bytes(const char *s, uint64_t *bytes) NODISCARD;
/* "30s" "100ms" "5m" "1.5h" "1d" -> milliseconds; a bare number is seconds.
 * 0 or ERR_SYNTAX. */
int units_parse_ms(const char *s, uint64_t *ms) NODISCARD;
/* The entry of words[0..n) nearest to `word`, if near enough to be what was
 * meant; else NULL. */
const char *units_suggest(
    const char *word, const char *const *words, size_t n) NODISCARD;

#endif
