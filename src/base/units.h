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
/* The other way round, in the largest unit that gives a whole number: "64MB",
 * "1500", "10s", "100ms". */
#define UNITS_TEXT_BYTES 24
void units_write_bytes(uint64_t bytes, char out[UNITS_TEXT_BYTES]);
void units_write_ms(uint64_t ms, char out[UNITS_TEXT_BYTES]);
/* The entry of words[0..n) nearest to `word`, if near enough to be what was
 * meant; else NULL. */
const char *units_suggest(
    const char *word, const char *const *words, size_t n) NODISCARD;

#endif
