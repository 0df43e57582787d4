/* fetch.h -- one request over a real socket, and the answer taken apart. */
#ifndef TESTS_NET_FETCH_H
#define TESTS_NET_FETCH_H

#include "world.h"

struct answer {
    int status;
    char head[4096]; /* with the blank line */
    char *body;      /* NUL-terminated */
    size_t body_len;
    bool is_over; /* the server ended the connection */
};

static inline void answer_take(struct answer *a, struct client *c)
{
    *a = (struct answer){.is_over = c->eof || c->error != 0};
    uint8_t *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    assert_non_null(end);
    size_t head_len = (size_t)(end - c->in) + 4;
    assert_true(head_len < sizeof(a->head));
    memcpy(a->head, c->in, head_len);
    a->head[head_len] = '\0';
    assert_memory_equal(a->head, "HTTP/1.1 ", 9);
    a->status = atoi(a->head + 9);
    a->body_len = c->in_len - head_len;
    a->body = calloc(1, a->body_len + 1);
    memcpy(a->body, c->in + head_len, a->body_len);
}

/* Asks on a connection of its own. */
static inline void fetch(struct world *w, const char *request, struct answer *a)
{
    struct client c;
    client_connect(&c, w, PAIR_TCP);
    client_ask(&c, request);
    client_settle(&c);
    answer_take(a, &c);
    client_fini(&c);
    loop_turn(w->loop, 0);
    loop_turn(w->loop, 0);
}

static inline void answer_fini(struct answer *a)
{
    free(a->body);
    a->body = NULL;
}

/* The value of a header; NULL if there is none. Fails if it is there twice. */
static inline const char *answer_header(
    const struct answer *a, const char *name)
{
    static char value[1024];
    char line[128];
    snprintf(line, sizeof(line), "\r\n%s: ", name);
    const char *at = strcasestr(a->head, line);
    if (at == NULL) {
        return NULL;
    }
    at += strlen(line);
    assert_null(strcasestr(at, line));
    size_t len = strcspn(at, "\r");
    assert_true(len < sizeof(value));
    memcpy(value, at, len);
    value[len] = '\0';
    return value;
}

static inline void expect_header(
    const struct answer *a, const char *name, const char *value)
{
    const char *found = answer_header(a, name);
    if (value == NULL) {
        assert_null(found);
    } else {
        assert_non_null(found);
        assert_string_equal(found, value);
    }
}

#endif
