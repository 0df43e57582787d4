/* tls_hello.c -- the name that a ClientHello asks for.
 *
 * The library tells it when it comes to that extension. Who has to know it
 * before (tls_tickets.c) reads the message once more, as RFC 8446 4.1.2 and
 * RFC 6066 3 write it. Its length, and nothing within it, has been checked. */
#include "net/tls_priv.h"

#define CLIENT_HELLO    1
#define EXT_SERVER_NAME 0
#define NAME_IS_HOST    0

struct bytes {
    const uint8_t *p;
    size_t n;
};

/* The next `n` bytes. False: there are fewer. */
static bool take(struct bytes *from, size_t n, struct bytes *out)
{
    if (n > from->n) {
        return false;
    }
    *out = (struct bytes){from->p, n};
    from->p += n;
    from->n -= n;
    return true;
}

/* A number of so many bytes. */
static bool take_number(struct bytes *from, size_t width, size_t *out)
{
    struct bytes digits;
    if (!take(from, width, &digits)) {
        return false;
    }
    *out = 0;
    for (size_t i = 0; i < width; i++) {
        *out = *out << 8 | digits.p[i];
    }
    return true;
}

/* Behind its length, a number of so many bytes. */
static bool take_vector(struct bytes *from, size_t width, struct bytes *out)
{
    size_t n;
    return take_number(from, width, &n) && take(from, n, out);
}

static bool find_extensions(struct bytes hello, struct bytes *out)
{
    struct bytes body;
    struct bytes skipped;
    size_t type;
    return take_number(&hello, 1, &type) && type == CLIENT_HELLO &&
           take_vector(&hello, 3, &body) &&
           take(&body, 2 + 32, &skipped) &&   /* version, random */
           take_vector(&body, 1, &skipped) && /* session */
           take_vector(&body, 2, &skipped) && /* cipher suites */
           take_vector(&body, 1, &skipped) && /* compression */
           take_vector(&body, 2, out);
}

static bool find_host(struct bytes ext, struct bytes *name)
{
    struct bytes list;
    if (!take_vector(&ext, 2, &list)) {
        return false;
    }
    while (list.n > 0) {
        size_t type;
        if (!take_number(&list, 1, &type) || !take_vector(&list, 2, name)) {
            return false;
        }
        if (type == NAME_IS_HOST) {
            return true;
        }
    }
    *name = (struct bytes){NULL, 0};
    return true;
}

int tls_hello_name(
    const uint8_t *p, size_t n, const uint8_t **name, size_t *len)
{
    struct bytes exts;
    struct bytes found = {NULL, 0};
    bool is_right = find_extensions((struct bytes){p, n}, &exts);
    while (is_right && exts.n > 0) {
        size_t type;
        struct bytes ext;
        is_right = take_number(&exts, 2, &type) && take_vector(&exts, 2, &ext);
        if (is_right && type == EXT_SERVER_NAME) {
            is_right = find_host(ext, &found);
            break;
        }
    }
    *name = found.p;
    *len = found.n;
    return is_right ? 0 : -1;
}
