/* bench_load.c -- load for a WebSocket server on the loopback, and what it cost.
 *
 *   bench_load PORT PID echo CONNS DEPTH SIZE SECONDS
 *   bench_load PORT PID fan  CONNS PUBLISHERS SIZE SECONDS
 *
 * echo: every connection keeps DEPTH messages in flight, a whole volley at a
 * time. fan: PUBLISHERS of the CONNS connections send one message each once
 * everybody has got the last round. Prints messages (deliveries) and the
 * server's CPU time for one, user and system, from /proc/PID/stat. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER (1024 * 1024)

struct peer {
    int fd;
    uint64_t got;     /* bytes of this volley */
    uint64_t waiting; /* bytes still to come */
};

static struct peer *peers;
static int count;
static uint8_t volley[BUFFER];
static size_t volley_len;
static uint8_t sink[BUFFER];

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double cpu_seconds(const char *pid)
{
    char path[64];
    char text[1024];
    unsigned long user = 0;
    unsigned long sys = 0;

    snprintf(path, sizeof(path), "/proc/%s/stat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL || fgets(text, sizeof(text), f) == NULL) {
        perror(path);
        exit(1);
    }
    fclose(f);
    sscanf(strrchr(text, ')'),
        ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys);
    return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

static size_t frame(uint8_t *out, size_t size)
{
    size_t at = 0;

    out[at++] = 0x81;
    if (size < 126) {
        out[at++] = (uint8_t)(0x80 | size);
    } else {
        out[at++] = 0x80 | 126;
        out[at++] = (uint8_t)(size >> 8);
        out[at++] = (uint8_t)size;
    }
    static const uint8_t mask[4] = {1, 2, 3, 4};
    memcpy(out + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < size; i++) {
        out[at++] = (uint8_t)('a' ^ mask[i & 3]);
    }
    return at;
}

static int connect_one(int port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    static const char head[] =
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    addr.sin_port = htons((uint16_t)port);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
        perror("connect");
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (send(fd, head, sizeof(head) - 1, 0) < 0) {
        perror("send");
        exit(1);
    }
    size_t at = 0;
    while (at < 4 || memcmp(sink + at - 4, "\r\n\r\n", 4) != 0) {
        if (recv(fd, sink + at, 1, 0) != 1) {
            fprintf(stderr, "no handshake\n");
            exit(1);
        }
        at++;
    }
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 8) {
        fprintf(stderr,
            "usage: bench_load PORT PID echo|fan CONNS N SIZE SECONDS\n");
        return 2;
    }
    bool is_fan = strcmp(argv[3], "fan") == 0;
    count = atoi(argv[4]);
    int n = atoi(argv[5]);
    size_t size = (size_t)atol(argv[6]);
    double seconds = atof(argv[7]);
    uint64_t answer = size + (size < 126 ? 2 : 4);

    peers = calloc((size_t)count, sizeof(*peers));
    int ep = epoll_create1(0);
    for (int i = 0; i < count; i++) {
        peers[i].fd = connect_one(atoi(argv[1]));
        struct epoll_event ev = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        epoll_ctl(ep, EPOLL_CTL_ADD, peers[i].fd, &ev);
    }
    for (int i = 0; i < (is_fan ? 1 : n); i++) {
        volley_len += frame(volley + volley_len, size);
    }
    usleep(100000);
    uint64_t per_volley = answer * (uint64_t)n;
    uint64_t messages = 0;
    int full = count; /* fan: peers that have the whole round */
    int step = is_fan ? count / n : 1;
    double cpu = cpu_seconds(argv[2]);
    double start = now();
    double end = start + seconds;
    bool is_over = false;
    int busy = 0;
    struct epoll_event events[1024];

    for (;;) {
        is_over = is_over || now() >= end;
        if (is_fan ? full == count : messages == 0 && busy == 0) {
            if (is_over) {
                break;
            }
            full = 0;
            for (int i = 0; i < count; i++) {
                peers[i].waiting = per_volley;
            }
            for (int i = 0; i < (is_fan ? n : count); i++) {
                (void)!send(peers[i * step].fd, volley, volley_len, 0);
            }
            busy = count;
        }
        int k = epoll_wait(ep, events, 1024, 5000);
        if (k <= 0) {
            fprintf(stderr, "stalled\n");
            return 1;
        }
        for (int i = 0; i < k; i++) {
            struct peer *p = &peers[events[i].data.u32];
            ssize_t r = recv(p->fd, sink, sizeof(sink), MSG_DONTWAIT);
            if (r <= 0) {
                fprintf(stderr, "lost a connection\n");
                return 1;
            }
            p->waiting -= (uint64_t)r;
            if (p->waiting > 0) {
                continue;
            }
            messages += (uint64_t)n;
            full++;
            if (!is_fan && !is_over) {
                p->waiting = per_volley;
                (void)!send(p->fd, volley, volley_len, 0);
            } else {
                busy--;
            }
        }
        if (!is_fan && is_over && busy == 0) {
            break;
        }
    }
    double used = cpu_seconds(argv[2]) - cpu;
    double wall = now() - start;
    printf("%llu messages in %.2f s, %.0f/s, server CPU %.3f us each\n",
        (unsigned long long)messages, wall, (double)messages / wall,
        used * 1e6 / (double)messages);
    return 0;
}
