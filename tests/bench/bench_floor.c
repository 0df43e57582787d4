/* bench_floor.c -- the raw epoll server that benchmarks compare with: no checks, no
 * limits, no scripting. Reads, unmasks, sends; the least that answers.
 *
 *   bench_floor PORT echo    each text frame goes back
 *   bench_floor PORT fan     each text frame goes to everybody, one send each; what
 *                      one turn brought is sent together
 *
 * Small frames only (payloads under 64 KiB, whole within one read). */
#include <arpa/inet.h>
#include <errno.h>
#include <mbedtls/base64.h>
#include <mbedtls/sha1.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define FDS_MAX 65536
#define BUFFER  (256 * 1024)

static bool is_open[FDS_MAX];
static int members[FDS_MAX];
static int member_count;
static uint8_t in[BUFFER + 1];
static uint8_t out[4 * BUFFER];
static size_t out_len;

static void shake_hands(int fd, char *head)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char *key = strcasestr(head, "sec-websocket-key: ");
    char joined[128];
    uint8_t digest[20];
    uint8_t accept[64];
    char reply[256];
    size_t n = 0;

    if (key == NULL) {
        close(fd);
        return;
    }
    key += 19;
    int len = snprintf(joined, sizeof(joined), "%.24s%s", key, guid);
    mbedtls_sha1_context c;
    mbedtls_sha1_init(&c);
#if defined(MBEDTLS_VERSION_NUMBER) && MBEDTLS_VERSION_NUMBER >= 0x03000000
    mbedtls_sha1_starts(&c);
    mbedtls_sha1_update(&c, (uint8_t *)joined, (size_t)len);
    mbedtls_sha1_finish(&c, digest);
#else
    mbedtls_sha1_starts_ret(&c);
    mbedtls_sha1_update_ret(&c, (uint8_t *)joined, (size_t)len);
    mbedtls_sha1_finish_ret(&c, digest);
#endif
    mbedtls_base64_encode(accept, sizeof(accept), &n, digest, 20);
    int r = snprintf(reply, sizeof(reply),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Accept: %.*s\r\n\r\n",
        (int)n, accept);
    (void)!send(fd, reply, (size_t)r, MSG_NOSIGNAL);
    is_open[fd] = true;
    members[member_count++] = fd;
}

/* Appends the frame's answer to `out`. */
static size_t take_frame(uint8_t *p)
{
    size_t len = p[1] & 127;
    size_t at = 2;

    if (len == 126) {
        len = (size_t)p[2] << 8 | p[3];
        at = 4;
    }
    uint8_t *mask = p + at;
    at += 4;
    out[out_len++] = p[0];
    if (len < 126) {
        out[out_len++] = (uint8_t)len;
    } else {
        out[out_len++] = 126;
        out[out_len++] = (uint8_t)(len >> 8);
        out[out_len++] = (uint8_t)len;
    }
    uint32_t m;
    memcpy(&m, mask, 4);
    uint64_t m8 = (uint64_t)m << 32 | m;
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        uint64_t v;
        memcpy(&v, p + at + i, 8);
        v ^= m8;
        memcpy(out + out_len + i, &v, 8);
    }
    for (; i < len; i++) {
        out[out_len + i] = p[at + i] ^ mask[i & 3];
    }
    out_len += len;
    return at + len;
}

static void drop(int fd)
{
    for (int i = 0; i < member_count; i++) {
        if (members[i] == fd) {
            memmove(members + i, members + i + 1,
                (size_t)(member_count - i - 1) * sizeof(*members));
            member_count--;
            break;
        }
    }
    is_open[fd] = false;
    close(fd);
}

static void read_from(int fd, bool is_fan)
{
    ssize_t n = recv(fd, in, BUFFER, 0);

    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) {
            drop(fd);
        }
        return;
    }
    if (!is_open[fd]) {
        in[n] = '\0';
        shake_hands(fd, (char *)in);
        return;
    }
    if ((in[0] & 15) == 8) {
        drop(fd);
        return;
    }
    for (size_t at = 0; at < (size_t)n;) {
        at += take_frame(in + at);
    }
    if (!is_fan) {
        (void)!send(fd, out, out_len, MSG_NOSIGNAL);
        out_len = 0;
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[1024];
    struct sockaddr_in addr = {.sin_family = AF_INET};
    int one = 1;

    if (argc != 3) {
        return 2;
    }
    bool is_fan = strcmp(argv[2], "fan") == 0;
    int ep = epoll_create1(0);
    int ln = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    addr.sin_port = htons((uint16_t)atoi(argv[1]));
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(ln, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(ln, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (bind(ln, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
        listen(ln, 4096) != 0) {
        perror("listen");
        return 1;
    }
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = ln};
    epoll_ctl(ep, EPOLL_CTL_ADD, ln, &ev);
    for (;;) {
        int n = epoll_wait(ep, events, 1024, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd != ln) {
                read_from(fd, is_fan);
                continue;
            }
            int c;
            while ((c = accept4(ln, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                ev.data.fd = c;
                epoll_ctl(ep, EPOLL_CTL_ADD, c, &ev);
            }
        }
        if (is_fan && out_len > 0) {
            for (int i = 0; i < member_count; i++) {
                (void)!send(members[i], out, out_len, MSG_NOSIGNAL);
            }
            out_len = 0;
        }
    }
}
