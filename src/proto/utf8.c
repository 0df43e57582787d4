/* utf8.c -- is this text UTF-8, and if not, at which byte do we know?
 *
 * Called by proto/message for every text message and every close reason, and
 * by whoever checks bytes from outside. Promises to fail at the first byte
 * after which no continuation can be valid, however the text is cut into
 * pieces: RFC 6455 8.1 lets us fail a connection in the middle of a message,
 * and a peer that sends rubbish should not have it stored first.
 *
 * The state between two calls says what may come next: how many bytes the
 * character still needs and the range the next one must lie in. The range is
 * what makes overlong forms, surrogates and values past U+10FFFF fail early:
 * all three are decided by the second byte (RFC 3629 section 4).
 *
 * It decodes nothing and changes nothing. */
#include "proto/utf8.h"
#include <string.h>

#define HIGH_BITS 0x8080808080808080u

static uint32_t expect(uint32_t count, uint32_t lo, uint32_t hi)
{
    return count | lo << 8 | hi << 16;
}

/* The state behind a lead byte that is not ASCII; UTF8_START if no character
 * begins so. */
static uint32_t after_lead(uint8_t b)
{
    if (b < 0xc2) { /* a continuation, or an overlong form of ASCII */
        return UTF8_START;
    }
    if (b < 0xe0) {
        return expect(1, 0x80, 0xbf);
    }
    if (b < 0xf0) { /* e0: overlong below a0; ed: surrogates above 9f */
        return expect(2, b == 0xe0 ? 0xa0 : 0x80, b == 0xed ? 0x9f : 0xbf);
    }
    if (b < 0xf5) { /* f0: overlong below 90; f4: past U+10FFFF above 8f */
        return expect(3, b == 0xf0 ? 0x90 : 0x80, b == 0xf4 ? 0x8f : 0xbf);
    }
    return UTF8_START;
}

static bool step(uint32_t *state, uint8_t b)
{
    uint32_t s = *state;
    if (s == UTF8_START) {
        if (b < 0x80) {
            return true;
        }
        *state = after_lead(b);
        return *state != UTF8_START;
    }
    if (b < (s >> 8 & 0xff) || b > s >> 16) {
        return false;
    }
    uint32_t left = (s & 0xff) - 1;
    *state = left == 0 ? UTF8_START : expect(left, 0x80, 0xbf);
    return true;
}

static bool is_tail(uint8_t b)
{
    return (b & 0xc0) == 0x80;
}

static const uint8_t *skip_ascii(const uint8_t *p, const uint8_t *end)
{
    while (end - p >= 16) {
        uint64_t a;
        uint64_t b;
        memcpy(&a, p, 8);
        memcpy(&b, p + 8, 8);
        if (((a | b) & HIGH_BITS) != 0) {
            break;
        }
        p += 16;
    }
    /* Most messages are short: they end here rather than in the loop. */
    if (end - p >= 8) {
        uint64_t a;
        memcpy(&a, p, 8);
        p += (a & HIGH_BITS) == 0 ? 8 : 0;
    }
    if (end - p >= 4) {
        uint32_t a;
        memcpy(&a, p, 4);
        p += (a & (uint32_t)HIGH_BITS) == 0 ? 4 : 0;
    }
    while (p < end && *p < 0x80) {
        p++;
    }
    return p;
}

/* Bytes of the well-formed character at p, which is not ASCII and has four
 * bytes before the end; 0 if it is not well-formed. */
static int wide_char(const uint8_t *p)
{
    uint32_t s = after_lead(p[0]);
    if (s == UTF8_START || p[1] < (s >> 8 & 0xff) || p[1] > s >> 16) {
        return 0;
    }
    switch (s & 0xff) {
    case 1: return 2;
    case 2: return is_tail(p[2]) ? 3 : 0;
    default: return is_tail(p[2]) && is_tail(p[3]) ? 4 : 0;
    }
}

/* Skips whole well-formed characters; stops at a wrong one, or near the end:
 * step() says which it was. */
static const uint8_t *skip_whole(const uint8_t *p, const uint8_t *end)
{
    for (;;) {
        p = skip_ascii(p, end);
        while (end - p >= 4 && *p >= 0x80) {
            int bytes = wide_char(p);
            if (bytes == 0) {
                return p;
            }
            p += bytes;
        }
        if (p == end || *p >= 0x80) {
            return p;
        }
    }
}

bool utf8_feed(uint32_t *state, const uint8_t *p, size_t n)
{
    const uint8_t *end = p + n;
    while (p < end && *state != UTF8_START) {
        if (!step(state, *p++)) {
            return false;
        }
    }
    p = skip_whole(p, end);
    while (p < end) {
        if (!step(state, *p++)) {
            return false;
        }
    }
    return true;
}

bool utf8_is_valid(const uint8_t *p, size_t n)
{
    uint32_t state = UTF8_START;
    return utf8_feed(&state, p, n) && state == UTF8_START;
}
