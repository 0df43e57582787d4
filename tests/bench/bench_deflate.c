/* bench_deflate.c -- what compressing a message costs and saves, by size and
 * level, each message alone; and what inflating it costs.
 *
 *   bench_deflate        prints a table
 *
 * The messages are JSON as chats and tickers send it. */
#include "base/buf.h"
#include "loop/loop.h"
#include "net/pack.h"
#include <stdio.h>
#include <string.h>

#define ROUNDS 9

static char text[1 << 17];

static void make_text(void)
{
    uint32_t seed = 5;
    size_t at = 0;
    while (at + 200 < sizeof(text)) {
        seed = seed * 1664525 + 1013904223;
        at += (size_t)snprintf(text + at, 200,
            "{\"id\":%u,\"user\":\"user%u\",\"price\":%u.%02u,\"text\":\"the "
            "%s brown %s\"},",
            seed >> 8, seed >> 20 & 255, seed >> 10 & 1023, seed >> 5 & 63,
            (seed & 64) != 0 ? "quick" : "slow",
            (seed & 128) != 0 ? "fox" : "dog");
    }
}

static double best_us(double a, double b)
{
    return a == 0 || b < a ? b : a;
}

static void measure(struct net *n, size_t len, int level)
{
    struct inflater *z = inflater_new(DEFLATE_BITS_MAX);
    double down = 0;
    double up = 0;
    size_t packed = 0;
    unsigned times = (unsigned)(400000 / len) + 10;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t since = loop_clock_ns();
        const struct buf *b = NULL;
        for (unsigned i = 0; i < times; i++) {
            if (packer_deflate(n, DEFLATE_BITS_MAX, level,
                    text + i * 37 % (sizeof(text) / 4), len, &b) != 0) {
                return;
            }
        }
        down = best_us(down, (double)(loop_clock_ns() - since) / times / 1000);
        packed = b->len;
        since = loop_clock_ns();
        for (unsigned i = 0; i < times; i++) {
            struct buf out;
            buf_init(&out, len + 1);
            inflater_reset(z);
            if (inflater_feed(z, b->p, b->len, &out, len) != 0 ||
                inflater_end(z, &out, len) != 0) {
                return;
            }
            buf_fini(&out);
        }
        up = best_us(up, (double)(loop_clock_ns() - since) / times / 1000);
    }
    printf("%7zu bytes, level %d: %7zu (%2zu %%)  deflate %8.1f us  inflate "
           "%7.1f us\n",
        len, level, packed, packed * 100 / len, down, up);
    inflater_free(z);
}

int main(void)
{
    static const size_t sizes[] = {128, 256, 512, 1024, 4096, 16384, 65536};
    static const int levels[] = {1, 3, 6, 9};
    struct loop *l = loop_new(0);
    struct net *n = net_new(l);
    make_text();
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (size_t k = 0; k < ARRAY_LEN(levels); k++) {
            measure(n, sizes[i], levels[k]);
        }
    }
    net_free(n);
    loop_free(l);
    return 0;
}
