/* The calls of net/transport.h over TLS, with the library's own client at the
 * other end of a pair of sockets: what arrives in pieces, what does not fit,
 * how it ends, and what an idle connection holds. Through a whole server it is
 * tests/integration/test_tls.py. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"
#include "net/tls.h"
#include "net/tls_priv.h"
#include <errno.h>
#include <fcntl.h>
#include <mbedtls/error.h>
#include <mbedtls/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define BIG (300 * 1024)

static char dir[] = "/tmp/moonwire-tls-XXXXXX";
static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context rng;

/* ---- certificates ---- */

static const char *path_of(const char *name)
{
    static char text[4][128];
    static unsigned at;
    char *out = text[at++ % 4];
    snprintf(out, sizeof(text[0]), "%s/%s.pem", dir, name);
    return out;
}

static int set_serial(mbedtls_x509write_cert *crt)
{
#if MBEDTLS_VERSION_NUMBER >= 0x03040000
    unsigned char serial[] = {7};
    return mbedtls_x509write_crt_set_serial_raw(crt, serial, sizeof(serial));
#else
    mbedtls_mpi serial;
    mbedtls_mpi_init(&serial);
    int rc = mbedtls_mpi_lset(&serial, 7);
    if (rc == 0) {
        rc = mbedtls_x509write_crt_set_serial(crt, &serial);
    }
    mbedtls_mpi_free(&serial);
    return rc;
#endif
}

/* A self-signed certificate for this name, and behind it its key. */
static void make_certificate(const char *name)
{
    static unsigned char text[8192];
    char subject[128];
    mbedtls_pk_context key;
    mbedtls_x509write_cert crt;

    mbedtls_pk_init(&key);
    mbedtls_x509write_crt_init(&crt);
    assert_int_equal(
        mbedtls_pk_setup(&key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)), 0);
    assert_int_equal(mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1,
                         mbedtls_pk_ec(key), mbedtls_ctr_drbg_random, &rng),
        0);
    snprintf(subject, sizeof(subject), "CN=%s", name);
    mbedtls_x509write_crt_set_subject_key(&crt, &key);
    mbedtls_x509write_crt_set_issuer_key(&crt, &key);
    assert_int_equal(mbedtls_x509write_crt_set_subject_name(&crt, subject), 0);
    assert_int_equal(mbedtls_x509write_crt_set_issuer_name(&crt, subject), 0);
    mbedtls_x509write_crt_set_md_alg(&crt, MBEDTLS_MD_SHA256);
    assert_int_equal(set_serial(&crt), 0);
    assert_int_equal(mbedtls_x509write_crt_set_validity(
                         &crt, "20200101000000", "20491231235959"),
        0);
    FILE *f = fopen(path_of(name), "w");
    assert_non_null(f);
    assert_int_equal(mbedtls_x509write_crt_pem(&crt, text, sizeof(text),
                         mbedtls_ctr_drbg_random, &rng),
        0);
    fputs((const char *)text, f);
    assert_int_equal(mbedtls_pk_write_key_pem(&key, text, sizeof(text)), 0);
    fputs((const char *)text, f);
    fclose(f);
    mbedtls_x509write_crt_free(&crt);
    mbedtls_pk_free(&key);
}

/* ---- a server's end, and the loop that it belongs to ---- */

struct house {
    struct loop *loop;
    struct tls_tickets *tickets;
    struct tls *tls;
};

static void house_init(struct house *h)
{
    char why[TLS_WHY_BYTES] = "";
    const char *files[] = {
        path_of("first.example"), path_of("*.second.example")};
    const struct tls_files all = {files, files, 2};
    h->loop = loop_new(0);
    h->tickets = tls_tickets_new(why, sizeof(why));
    assert_non_null(h->tickets);
    h->tls = tls_new(h->tickets, &all, why, sizeof(why));
    assert_string_equal(why, "");
    tls_adopt(h->tls, h->loop);
}

static void house_fini(struct house *h)
{
    tls_unref(h->tls);
    tls_tickets_unref(h->tickets);
    loop_free(h->loop);
}

static uint64_t metric(const struct house *h, enum metric m)
{
    return metric_get(loop_metrics(h->loop), m);
}

/* ---- one connection: the transport here, the library's client there ---- */

struct line {
    struct house *house;
    void *state; /* of the transport; NULL: closed */
    int fd;
    int peer; /* the other end; -1: closed */
    /* The client. */
    mbedtls_ssl_context ssl;
    mbedtls_ssl_config conf;
    uint8_t out[2 * BIG]; /* ciphertext of the client's, not on its way yet */
    size_t out_len;
    bool is_deaf; /* the client reads nothing from its socket */
    int client_rc;
    /* What came out at our end. */
    uint8_t got[2 * BIG];
    size_t got_len;
    ssize_t end; /* TRANSPORT_AGAIN: it goes on */
};

static int client_send(void *arg, const unsigned char *p, size_t n)
{
    struct line *l = arg;
    assert_true(l->out_len + n <= sizeof(l->out));
    memcpy(l->out + l->out_len, p, n);
    l->out_len += n;
    return (int)n;
}

static int client_recv(void *arg, unsigned char *p, size_t n)
{
    struct line *l = arg;
    ssize_t k = l->is_deaf ? -1 : recv(l->peer, p, n, MSG_DONTWAIT);
    return k < 0 ? MBEDTLS_ERR_SSL_WANT_READ : (int)k;
}

/* `is_1_2`: the client speaks nothing newer. */
static void line_init_as(
    struct line *l, struct house *h, const char *name, bool is_1_2)
{
    static const char *protocols[] = {"h2", "http/1.1", NULL};
    int fds[2];
    memset(l, 0, offsetof(struct line, out));
    l->out_len = l->got_len = 0;
    l->is_deaf = false;
    l->client_rc = 0;
    l->end = TRANSPORT_AGAIN;
    l->house = h;
    assert_int_equal(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    l->fd = fds[0];
    l->peer = fds[1];
    l->state = tls_open(h->tls);
    assert_non_null(l->state);
    mbedtls_ssl_init(&l->ssl);
    mbedtls_ssl_config_init(&l->conf);
    assert_int_equal(
        mbedtls_ssl_config_defaults(&l->conf, MBEDTLS_SSL_IS_CLIENT,
            MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT),
        0);
    mbedtls_ssl_conf_rng(&l->conf, mbedtls_ctr_drbg_random, &rng);
    mbedtls_ssl_conf_authmode(&l->conf, MBEDTLS_SSL_VERIFY_OPTIONAL);
    assert_int_equal(mbedtls_ssl_conf_alpn_protocols(&l->conf, protocols), 0);
#if defined(MBEDTLS_SSL_RENEGOTIATION)
    mbedtls_ssl_conf_renegotiation(&l->conf, MBEDTLS_SSL_RENEGOTIATION_ENABLED);
#endif
#if TLS_IS_3
    if (is_1_2) {
        mbedtls_ssl_conf_max_tls_version(&l->conf, MBEDTLS_SSL_VERSION_TLS1_2);
    }
#else
    (void)is_1_2;
#endif
    assert_int_equal(mbedtls_ssl_setup(&l->ssl, &l->conf), 0);
    assert_int_equal(mbedtls_ssl_set_hostname(&l->ssl, name), 0);
    mbedtls_ssl_set_bio(&l->ssl, l, client_send, client_recv, NULL);
}

static void line_init(struct line *l, struct house *h, const char *name)
{
    line_init_as(l, h, name, false);
}

static void line_fini(struct line *l)
{
    if (l->state != NULL) {
        transport_tls.close(l->state, l->fd, true);
    }
    if (l->peer >= 0) {
        close(l->peer);
    }
    mbedtls_ssl_free(&l->ssl);
    mbedtls_ssl_config_free(&l->conf);
}

/* Reads what there is at our end, as net/conn does. */
static void take(struct line *l)
{
    static uint8_t buffer[64 * 1024];
    do {
        l->house->tls->spent_ns = 0; /* another turn */
        ssize_t k = transport_tls.read(l->state, l->fd, buffer, sizeof(buffer));
        if (k > 0) {
            assert_true(l->got_len + (size_t)k <= sizeof(l->got));
            memcpy(l->got + l->got_len, buffer, (size_t)k);
            l->got_len += (size_t)k;
        } else if (k != TRANSPORT_AGAIN) {
            l->end = k;
        }
    } while (l->end == TRANSPORT_AGAIN && transport_tls.has_buffered(l->state));
}

/* What our end has made goes out, as far as the socket takes it. */
static void push_out(struct line *l)
{
    int before = -1;
    int now = 0;
    while (now > before && transport_tls.wants_write(l->state)) {
        (void)ioctl(l->peer, FIONREAD, &before);
        (void)transport_tls.flush(l->state, l->fd);
        (void)ioctl(l->peer, FIONREAD, &now);
    }
}

/* At most `step` bytes of the client's reach our end, and are read there. */
static bool carry(struct line *l, size_t step)
{
    size_t n = l->out_len < step ? l->out_len : step;
    ssize_t k = n > 0 ? send(l->peer, l->out, n, MSG_DONTWAIT) : 0;
    if (k > 0) {
        l->out_len -= (size_t)k;
        memmove(l->out, l->out + k, l->out_len);
    }
    int unread = 0;
    int left = 0;
    if (l->end == TRANSPORT_AGAIN) {
        (void)ioctl(l->fd, FIONREAD, &unread);
        take(l);
        (void)ioctl(l->fd, FIONREAD, &left);
        push_out(l);
    }
    return k > 0 || left < unread;
}

static void carry_all(struct line *l, size_t step)
{
    /* A socket that was full has room once our end has read, which takes some
     * of what is there at a time. */
    for (int still = 0; still < 2;) {
        still = carry(l, step) ? 0 : still + 1;
    }
}

/* 0, or what the client made of it. */
static int shake_hands(struct line *l, size_t step)
{
    int rc = MBEDTLS_ERR_SSL_WANT_READ;
    for (int i = 0; i < 100 && l->end == TRANSPORT_AGAIN; i++) {
        rc = mbedtls_ssl_handshake(&l->ssl);
        carry_all(l, step);
        if (rc != MBEDTLS_ERR_SSL_WANT_READ) {
            break;
        }
    }
    return rc;
}

static void line_open(struct line *l, struct house *h)
{
    line_init(l, h, "first.example");
    assert_int_equal(shake_hands(l, SIZE_MAX), 0);
}

static void client_say(struct line *l, const uint8_t *p, size_t n)
{
    while (n > 0) {
        int k = mbedtls_ssl_write(&l->ssl, p, n);
        assert_true(k > 0);
        p += k;
        n -= (size_t)k;
    }
}

/* Plaintext that has come to the client; *rc: why there is no more. */
static size_t client_hear(struct line *l, uint8_t *p, size_t n, int *rc)
{
    size_t got = 0;
    *rc = 0;
    while (got < n) {
        int k = mbedtls_ssl_read(&l->ssl, p + got, n - got);
        if (k <= 0) {
            *rc = k;
            break;
        }
        got += (size_t)k;
    }
    return got;
}

static uint8_t pattern[BIG];

static void expect_both_ways(struct line *l, size_t n, size_t step)
{
    static uint8_t back[BIG];
    struct iovec iov[3] = {{pattern, n / 3}, {pattern + n / 3, n / 2},
        {pattern + n / 3 + n / 2, n - n / 3 - n / 2}};
    int rc;
    l->got_len = 0;
    client_say(l, pattern, n);
    carry_all(l, step);
    assert_int_equal(l->got_len, n);
    assert_memory_equal(l->got, pattern, n);
    ssize_t k = transport_tls.write(l->state, l->fd, iov, 3);
    assert_true(k > 0);
    push_out(l);
    size_t heard = client_hear(l, back, n, &rc);
    for (int i = 0; heard < n && i < 1000; i++) {
        push_out(l);
        if (transport_tls.flush(l->state, l->fd) == 0 && k < (ssize_t)n) {
            struct iovec rest = {pattern + k, n - (size_t)k};
            ssize_t more = transport_tls.write(l->state, l->fd, &rest, 1);
            k += more > 0 ? more : 0;
        }
        heard += client_hear(l, back + heard, n - heard, &rc);
    }
    assert_int_equal(heard, n);
    assert_memory_equal(back, pattern, n);
}

/* ---- the tests ---- */

static void bytes_go_both_ways_however_they_are_cut(void **state)
{
    (void)state;
    static struct line l;
    struct house h;
    static const size_t steps[] = {1, 2, 5, 6, 100, 4096, SIZE_MAX};
    house_init(&h);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        line_init(&l, &h, "first.example");
        assert_int_equal(shake_hands(&l, steps[i]), 0);
        assert_string_equal(mbedtls_ssl_get_alpn_protocol(&l.ssl), "http/1.1");
        expect_both_ways(&l, 1, steps[i]);
        expect_both_ways(&l, 1000, steps[i]);
        line_fini(&l);
    }
    assert_int_equal(metric(&h, METRIC_TLS_HANDSHAKES), ARRAY_LEN(steps));
    assert_int_equal(metric(&h, METRIC_TLS_FAILED), 0);
    house_fini(&h);
}

static void records_of_every_size_are_made_and_read(void **state)
{
    (void)state;
    static struct line l;
    struct house h;
    static const size_t sizes[] = {
        1, 16383, 16384, 16385, 32768, 40000, 65536, 100000};
    house_init(&h);
    line_open(&l, &h);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        expect_both_ways(&l, sizes[i], SIZE_MAX);
        expect_both_ways(&l, sizes[i], 777);
    }
    line_fini(&l);
    house_fini(&h);
}

/* What the socket does not take waits, bounded, and nothing more is taken. */
static void a_client_that_does_not_read_holds_little(void **state)
{
    (void)state;
    static struct line l;
    static uint8_t back[BIG];
    struct house h;
    struct iovec iov = {pattern, BIG};
    int small = 4096;
    size_t taken = 0;
    int rc;
    house_init(&h);
    line_open(&l, &h);
    setsockopt(l.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    ssize_t k = transport_tls.write(l.state, l.fd, &iov, 1);
    assert_true(k > 0 && k < BIG);
    taken = (size_t)k;
    assert_true(transport_tls.wants_write(l.state));
    for (int i = 0; i < 3; i++) {
        iov = (struct iovec){pattern + taken, BIG - taken};
        assert_int_equal(
            transport_tls.write(l.state, l.fd, &iov, 1), TRANSPORT_AGAIN);
        assert_int_equal(transport_tls.flush(l.state, l.fd), TRANSPORT_AGAIN);
    }
    size_t heard = 0;
    for (int i = 0; i < 10000 && heard < BIG; i++) {
        push_out(&l);
        heard += client_hear(&l, back + heard, 1500, &rc);
        if (transport_tls.flush(l.state, l.fd) == 0 && taken < BIG) {
            iov = (struct iovec){pattern + taken, BIG - taken};
            k = transport_tls.write(l.state, l.fd, &iov, 1);
            assert_true(k > 0 || k == TRANSPORT_AGAIN);
            taken += k > 0 ? (size_t)k : 0;
        }
    }
    assert_int_equal(heard, BIG);
    assert_memory_equal(back, pattern, BIG);
    assert_false(transport_tls.wants_write(l.state));
    line_fini(&l);
    house_fini(&h);
}

static void each_side_says_close_notify(void **state)
{
    (void)state;
    static struct line l;
    struct house h;
    uint8_t b[16];
    int rc;
    house_init(&h);
    line_open(&l, &h);
    /* Theirs: what came before it first, then the end. */
    client_say(&l, pattern, 10);
    assert_int_equal(mbedtls_ssl_close_notify(&l.ssl), 0);
    carry_all(&l, SIZE_MAX);
    assert_int_equal(l.got_len, 10);
    take(&l);
    assert_int_equal(l.end, 0);
    /* Ours: behind what was written, or in answer to theirs. */
    bool has_halves = strcmp(mbedtls_ssl_get_version(&l.ssl), "TLSv1.2") != 0;
    if (!has_halves) {
        assert_int_equal(client_hear(&l, b, sizeof(b), &rc), 0);
        assert_int_equal(rc, MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY);
    }
    struct iovec iov = {pattern, 5};
    assert_int_equal(transport_tls.write(l.state, l.fd, &iov, 1), 5);
    push_out(&l);
    assert_int_equal(transport_tls.shutdown(l.state, l.fd), 0);
    if (has_halves) {
        assert_int_equal(client_hear(&l, b, sizeof(b), &rc), 5);
        assert_int_equal(rc, MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY);
    }
    assert_int_equal(recv(l.peer, b, sizeof(b), MSG_DONTWAIT), 0);
    line_fini(&l);
    /* A close without a shutdown says it as well; a reset does not. */
    for (int reset = 0; reset < 2; reset++) {
        line_open(&l, &h);
        transport_tls.close(l.state, l.fd, reset);
        l.state = NULL;
        assert_int_equal(client_hear(&l, b, sizeof(b), &rc), 0);
        assert_int_equal(rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY, !reset);
        line_fini(&l);
    }
    house_fini(&h);
}

/* What a client that does not read has not got yet is cut, and so is the
 * connection. */
static void a_close_notify_finds_no_room_for_an_answer(void **state)
{
    (void)state;
    static struct line l;
    struct house h;
    house_init(&h);
    line_open(&l, &h);
    l.is_deaf = true;
    struct iovec iov = {pattern, BIG};
    while (!transport_tls.wants_write(l.state)) {
        assert_true(transport_tls.write(l.state, l.fd, &iov, 1) > 0);
    }
    assert_int_equal(mbedtls_ssl_close_notify(&l.ssl), 0);
    carry_all(&l, SIZE_MAX);
    assert_int_equal(l.end, 0);
    if (strcmp(mbedtls_ssl_get_version(&l.ssl), "TLSv1.2") == 0) {
        assert_false(transport_tls.wants_write(l.state));
        assert_int_equal(transport_tls.write(l.state, l.fd, &iov, 1), BIG);
        assert_false(transport_tls.wants_write(l.state));
    }
    line_fini(&l);
    house_fini(&h);
}

static void a_fin_without_close_notify_is_an_end(void **state)
{
    (void)state;
    static struct line l;
    struct house h;
    house_init(&h);
    line_open(&l, &h);
    /* close() would reset, where it has not read the tickets of TLS 1.3. */
    assert_int_equal(shutdown(l.peer, SHUT_WR), 0);
    take(&l);
    assert_int_equal(l.end, 0);
    assert_int_equal(metric(&h, METRIC_TLS_FAILED), 0);
    line_fini(&l);
    house_fini(&h);
}

static void a_handshake_that_breaks_off_is_an_error_wherever(void **state)
{
    (void)state;
    static struct line l;
    struct house h;
    house_init(&h);
    size_t hello = SIZE_MAX;
    for (size_t cut = 0; cut < hello; cut += cut < 60 ? 1 : 23) {
        line_init(&l, &h, "first.example");
        (void)mbedtls_ssl_handshake(&l.ssl);
        hello = l.out_len;
        l.out_len = cut < hello ? cut : hello;
        carry_all(&l, SIZE_MAX);
        assert_int_equal(l.end, TRANSPORT_AGAIN);
        assert_false(transport_tls.has_buffered(l.state));
        close(l.peer);
        l.peer = -1;
        take(&l);
        assert_true(l.end < 0);
        line_fini(&l);
    }
    assert_int_equal(metric(&h, METRIC_TLS_HANDSHAKES), 0);
    house_fini(&h);
}

static void expect_refused(struct house *h, const void *p, size_t n)
{
    static struct line l;
    uint64_t before = metric(h, METRIC_TLS_FAILED);
    line_init(&l, h, "first.example");
    assert_int_equal(client_send(&l, p, n), (int)n);
    carry_all(&l, SIZE_MAX);
    if (l.end == TRANSPORT_AGAIN) { /* it could be the start of something */
        shutdown(l.peer, SHUT_WR);
        take(&l);
    } else {
        assert_int_equal(metric(h, METRIC_TLS_FAILED), before + 1);
    }
    assert_true(l.end < 0);
    /* It stays so. */
    take(&l);
    assert_true(l.end < 0);
    line_fini(&l);
}

static void noise_at_the_door_is_refused(void **state)
{
    (void)state;
    struct house h;
    static const char *const texts[] = {
        "GET / HTTP/1.1\r\nHost: first.example\r\n\r\n",
        "\x16\x03\x01\xff\xff", /* a record over every bound */
        "\x16\x03\x01\x40\x01", "\x80\x2e\x01\x03\x01", /* SSL 2 */
        "\x15\x03\x03\x7f\x02\x02\x28", "\x17\x03\x03\x7f\x05hello",
        "\x14\x03\x03\x7f\x01\x01", "\x16\x03\x01\x7f\x01\x01",
        "SSH-2.0-x\r\n"};
    unsigned char noise[600];
    house_init(&h);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        expect_refused(&h, texts[i], strlen(texts[i]));
    }
    for (unsigned seed = 1; seed < 300; seed++) {
        srand(seed);
        for (size_t i = 0; i < sizeof(noise); i++) {
            noise[i] = (unsigned char)rand();
        }
        if (seed % 2 == 0) { /* with the head of a record */
            memcpy(noise, "\x16\x03\x01\x02\x40\x01", 6);
        }
        expect_refused(&h, noise, 1 + (size_t)rand() % sizeof(noise));
    }
    house_fini(&h);
}

static void a_record_that_is_changed_or_too_long_ends_it(void **state)
{
    (void)state;
    static struct line l;
    struct house h;
    uint8_t record[5] = {0x17, 0x03, 0x03};
    house_init(&h);
    for (size_t at = 5; at < 40; at += 3) {
        line_open(&l, &h);
        client_say(&l, pattern, 10);
        client_say(&l, pattern, 20);
        l.out[l.out_len - 1 - at % 30] ^= 0x10; /* in the second */
        carry_all(&l, at % 2 ? SIZE_MAX : 1);
        if (l.end == TRANSPORT_AGAIN) {
            take(&l); /* what was right came first */
        }
        assert_true(l.end < 0);
        assert_int_equal(l.got_len, 10);
        line_fini(&l);
    }
    static const unsigned lengths[] = {0, 1, 8, 24, 16384 + 2049, 0xffff};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        line_open(&l, &h);
        record[3] = (uint8_t)(lengths[i] >> 8);
        record[4] = (uint8_t)lengths[i];
        (void)client_send(&l, record, 5);
        (void)client_send(&l, pattern, lengths[i] < 100 ? lengths[i] : 100);
        carry_all(&l, SIZE_MAX);
        assert_true(l.end < 0 || lengths[i] == 0);
        line_fini(&l);
    }
    house_fini(&h);
}

/* The head of struct tls_conn, which begins with these. */
struct looks {
    mbedtls_ssl_context ssl;
    struct tls_stowed stowed;
};

static bool is_stowed(const struct line *l)
{
    const struct looks *c = l->state;
    return c->stowed.in_base != 0 && c->stowed.out_base != 0 &&
           c->ssl.in_buf == NULL && c->ssl.out_buf == NULL;
}

static void an_idle_connection_holds_no_buffers(void **state)
{
    (void)state;
    enum { LINES = 12 };
    struct house h;
    house_init(&h);
    struct line *l = calloc(LINES, sizeof(*l));
    for (int i = 0; i < LINES; i++) {
        line_open(&l[i], &h);
        expect_both_ways(&l[i], 10, SIZE_MAX);
        assert_true(is_stowed(&l[i]));
    }
    assert_true(h.tls->spare_in_count <= TLS_SPARES);
    assert_true(h.tls->spare_out_count <= TLS_SPARES);
    /* Half a record stays where it is, whatever the others do. */
    for (int i = 0; i < LINES; i += 2) {
        l[i].got_len = 0;
        client_say(&l[i], pattern, 5000);
        (void)carry(&l[i], 2000 + (size_t)i);
        assert_false(is_stowed(&l[i]));
        assert_int_equal(l[i].got_len, 0);
    }
    for (int round = 0; round < 3; round++) {
        for (int i = 1; i < LINES; i += 2) {
            expect_both_ways(&l[i], 3000, 1 + (size_t)round * 1000);
        }
    }
    for (int i = 0; i < LINES; i += 2) {
        /* It may write meanwhile. */
        struct iovec iov = {pattern, 100};
        uint8_t b[100];
        int rc;
        assert_int_equal(
            transport_tls.write(l[i].state, l[i].fd, &iov, 1), 100);
        push_out(&l[i]);
        assert_int_equal(client_hear(&l[i], b, 100, &rc), 100);
        carry_all(&l[i], SIZE_MAX);
        assert_int_equal(l[i].got_len, 5000);
        assert_memory_equal(l[i].got, pattern, 5000);
        assert_true(is_stowed(&l[i]));
    }
    for (int i = 0; i < LINES; i++) {
        line_fini(&l[i]);
    }
    free(l);
    house_fini(&h);
}

static void without_memory_for_buffers_it_ends(void **state)
{
    (void)state;
    static struct line l;
    struct house h;
    struct iovec iov = {pattern, 10};
    house_init(&h);
    line_open(&l, &h);
    tls_free_spares(h.tls);
    mem_fail_at(1);
    assert_int_equal(transport_tls.write(l.state, l.fd, &iov, 1), -ENOMEM);
    mem_fail_at(0);
    tls_free_spares(h.tls);
    client_say(&l, pattern, 10);
    mem_fail_at(1);
    (void)carry(&l, SIZE_MAX);
    mem_fail_at(0);
    assert_int_equal(l.end, -ENOMEM);
    line_fini(&l);
    mem_fail_at(1);
    assert_null(tls_open(h.tls));
    mem_fail_at(0);
    house_fini(&h);
}

static const char *common_name(struct line *l)
{
    static char name[64];
    const mbedtls_x509_crt *crt = mbedtls_ssl_get_peer_cert(&l->ssl);
    assert_non_null(crt);
    snprintf(name, sizeof(name), "%.*s", (int)crt->subject.val.len,
        (const char *)crt->subject.val.p);
    return name;
}

static void the_certificate_follows_the_name(void **state)
{
    (void)state;
    static struct line l;
    struct house h;
    static const struct {
        const char *asked;
        const char *got;
    } cases[] = {
        {"first.example", "first.example"},
        {"a.second.example", "*.second.example"},
        {"A.Second.Example", "*.second.example"},
        {"second.example", "first.example"},
        {"a.b.second.example", "first.example"},
        {"elsewhere.example", "first.example"},
    };
    house_init(&h);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        line_init(&l, &h, cases[i].asked);
        assert_int_equal(shake_hands(&l, SIZE_MAX), 0);
        assert_string_equal(common_name(&l), cases[i].got);
        line_fini(&l);
    }
    house_fini(&h);
}

/* ---- tickets ---- */

/* Where the extensions of the ClientHello that waits in l->out begin. */
static uint8_t *extensions_of(struct line *l, size_t *len)
{
    uint8_t *p = l->out + 5 + 4 + 2 + 32;
    p += 1 + p[0];               /* session */
    p += 2 + (p[0] << 8 | p[1]); /* cipher suites */
    p += 1 + p[0];               /* compression */
    *len = (size_t)(p[0] << 8 | p[1]);
    assert_ptr_equal(p + 2 + *len, l->out + l->out_len);
    return p + 2;
}

/* The name goes behind all other extensions. */
static void put_name_last(struct line *l)
{
    uint8_t name[256];
    size_t len;
    uint8_t *p = extensions_of(l, &len);
    uint8_t *end = p + len;
    while (p[0] != 0 || p[1] != 0) {
        p += 4 + (p[2] << 8 | p[3]);
        assert_true(p < end);
    }
    size_t n = (size_t)(4 + (p[2] << 8 | p[3]));
    assert_true(n <= sizeof(name));
    memcpy(name, p, n);
    memmove(p, p + n, (size_t)(end - p) - n);
    memcpy(end - n, name, n);
}

static void remember(struct house *h, const char *name, mbedtls_ssl_session *s)
{
    static struct line l;
    mbedtls_ssl_session_init(s);
    line_init_as(&l, h, name, true);
    assert_int_equal(shake_hands(&l, SIZE_MAX), 0);
    assert_int_equal(mbedtls_ssl_get_session(&l.ssl, s), 0);
    line_fini(&l);
}

enum answer { RESUMED, FULL, REFUSED };

/* What the server says to a client that comes back with that session. */
static enum answer come_back(struct house *h, const mbedtls_ssl_session *s,
    const char *name, bool is_last)
{
    static struct line l;
    uint8_t b[4096];
    line_init_as(&l, h, name, true);
    assert_int_equal(mbedtls_ssl_set_session(&l.ssl, s), 0);
    assert_int_equal(mbedtls_ssl_handshake(&l.ssl), MBEDTLS_ERR_SSL_WANT_READ);
    if (is_last) {
        put_name_last(&l);
    }
    carry_all(&l, SIZE_MAX);
    ssize_t n = recv(l.peer, b, sizeof(b), MSG_DONTWAIT);
    assert_true(n > 5);
    if (b[0] != MBEDTLS_SSL_MSG_HANDSHAKE) {
        line_fini(&l);
        return REFUSED;
    }
    /* Behind the ServerHello: a certificate, or not. */
    const uint8_t *next = b + 5 + (b[3] << 8 | b[4]);
    bool is_full = next[0] == MBEDTLS_SSL_MSG_HANDSHAKE &&
                   next[5] == MBEDTLS_SSL_HS_CERTIFICATE;
    line_fini(&l);
    return is_full ? FULL : RESUMED;
}

static void a_ticket_is_for_its_name_wherever_that_stands(void **state)
{
    (void)state;
    struct house h;
    mbedtls_ssl_session s;
    house_init(&h);
    remember(&h, "first.example", &s);
    for (int is_last = 0; is_last < 2; is_last++) {
        assert_int_equal(come_back(&h, &s, "first.example", is_last), RESUMED);
        assert_int_equal(come_back(&h, &s, "FIRST.example", is_last), RESUMED);
        assert_int_equal(come_back(&h, &s, "a.second.example", is_last), FULL);
    }
    assert_int_equal(come_back(&h, &s, NULL, false), FULL);
    mbedtls_ssl_session_free(&s);
    remember(&h, NULL, &s);
    assert_int_equal(come_back(&h, &s, NULL, false), RESUMED);
    for (int is_last = 0; is_last < 2; is_last++) {
        assert_int_equal(come_back(&h, &s, "first.example", is_last), FULL);
    }
    mbedtls_ssl_session_free(&s);
    assert_int_equal(metric(&h, METRIC_TLS_FAILED), 0);
    house_fini(&h);
}

/* However it is cut or changed, nothing behind it is read. */
static void a_hello_is_read_as_far_as_it_goes(void **state)
{
    (void)state;
    static struct line l;
    struct house h;
    const uint8_t *name;
    size_t len;
    house_init(&h);
    line_init(&l, &h, "first.example");
    assert_int_equal(mbedtls_ssl_handshake(&l.ssl), MBEDTLS_ERR_SSL_WANT_READ);
    put_name_last(&l);
    size_t n = l.out_len - 5;
    assert_int_equal(tls_hello_name(l.out + 5, n, &name, &len), 0);
    assert_int_equal(len, strlen("first.example"));
    assert_memory_equal(name, "first.example", len);
    for (size_t i = 0; i < n; i++) {
        uint8_t *copy = malloc(i + 1);
        memcpy(copy, l.out + 5, i);
        assert_int_equal(tls_hello_name(copy, i, &name, &len), -1);
        free(copy);
        copy = malloc(n);
        memcpy(copy, l.out + 5, n);
        copy[i] ^= 0xff;
        int rc = tls_hello_name(copy, n, &name, &len);
        assert_true(rc == 0 || rc == -1);
        assert_true(len == 0 || (name >= copy && name + len <= copy + n));
        free(copy);
    }
    line_fini(&l);
    house_fini(&h);
}

#if defined(MBEDTLS_SSL_RENEGOTIATION) && !TLS_IS_3
static void a_second_handshake_is_not_begun(void **state)
{
    (void)state;
    static struct line l;
    struct house h;
    house_init(&h);
    line_open(&l, &h);
    int rc = MBEDTLS_ERR_SSL_WANT_READ;
    for (int i = 0; i < 10 && rc == MBEDTLS_ERR_SSL_WANT_READ; i++) {
        rc = mbedtls_ssl_renegotiate(&l.ssl);
        carry_all(&l, SIZE_MAX);
    }
    assert_true(rc < 0);
    assert_int_equal(metric(&h, METRIC_TLS_HANDSHAKES), 1);
    line_fini(&l);
    house_fini(&h);
}
#endif

/* A storm of handshakes must leave time for others: what is over the turn's
 * share stays in its socket. */
static void handshakes_rest_when_the_turn_has_had_its_share(void **state)
{
    (void)state;
    static struct line l;
    static uint8_t buffer[64 * 1024];
    struct house h;
    house_init(&h);
    line_init(&l, &h, "first.example");
    (void)mbedtls_ssl_handshake(&l.ssl);
    assert_true(send(l.peer, l.out, l.out_len, 0) > 0);
    l.out_len = 0;
    h.tls->spent_ns = (uint64_t)LIMIT_TURN_TLS_MS * 1000000;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            transport_tls.read(l.state, l.fd, buffer, sizeof(buffer)),
            TRANSPORT_AGAIN);
        assert_int_equal(recv(l.peer, buffer, 1, MSG_DONTWAIT), -1);
    }
    (void)loop_turn(h.loop, 0); /* the next turn */
    assert_int_equal(h.tls->spent_ns, 0);
    assert_int_equal(shake_hands(&l, SIZE_MAX), 0);
    /* Who is through is served all the same. */
    h.tls->spent_ns = UINT64_MAX / 2;
    l.got_len = 0;
    client_say(&l, pattern, 10);
    assert_true(send(l.peer, l.out, l.out_len, 0) > 0);
    ssize_t k = TRANSPORT_AGAIN;
    for (int i = 0; i < 100 && k == TRANSPORT_AGAIN; i++) {
        k = transport_tls.read(l.state, l.fd, buffer, sizeof(buffer));
    }
    assert_int_equal(k, 10);
    line_fini(&l);
    house_fini(&h);
}

static void a_connection_takes_its_keys_to_another_loop(void **state)
{
    (void)state;
    static struct line l;
    struct house h;
    struct house other;
    house_init(&h);
    house_init(&other);
    line_open(&l, &h);
    expect_both_ways(&l, 100, SIZE_MAX);
    tls_leave(l.state);
    tls_enter(l.state, other.tls);
    house_fini(&h); /* nothing of it is needed any more */
    l.house = &other;
    expect_both_ways(&l, 50000, 1000);
    line_fini(&l);
    house_fini(&other);
}

static int set_up(void **state)
{
    (void)state;
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&rng);
    assert_int_equal(
        mbedtls_ctr_drbg_seed(&rng, mbedtls_entropy_func, &entropy, NULL, 0),
        0);
    assert_non_null(mkdtemp(dir));
    make_certificate("first.example");
    make_certificate("*.second.example");
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (uint8_t)(i * i % 251);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path_of("first.example"));
    unlink(path_of("*.second.example"));
    rmdir(dir);
    mbedtls_ctr_drbg_free(&rng);
    mbedtls_entropy_free(&entropy);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_both_ways_however_they_are_cut),
        cmocka_unit_test(records_of_every_size_are_made_and_read),
        cmocka_unit_test(a_client_that_does_not_read_holds_little),
        cmocka_unit_test(each_side_says_close_notify),
        cmocka_unit_test(a_close_notify_finds_no_room_for_an_answer),
        cmocka_unit_test(a_fin_without_close_notify_is_an_end),
        cmocka_unit_test(a_handshake_that_breaks_off_is_an_error_wherever),
        cmocka_unit_test(noise_at_the_door_is_refused),
        cmocka_unit_test(a_record_that_is_changed_or_too_long_ends_it),
        cmocka_unit_test(an_idle_connection_holds_no_buffers),
        cmocka_unit_test(without_memory_for_buffers_it_ends),
        cmocka_unit_test(the_certificate_follows_the_name),
        cmocka_unit_test(a_ticket_is_for_its_name_wherever_that_stands),
        cmocka_unit_test(a_hello_is_read_as_far_as_it_goes),
#if defined(MBEDTLS_SSL_RENEGOTIATION) && !TLS_IS_3
        cmocka_unit_test(a_second_handshake_is_not_begun),
#endif
        cmocka_unit_test(handshakes_rest_when_the_turn_has_had_its_share),
        cmocka_unit_test(a_connection_takes_its_keys_to_another_loop),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
