/* fuzz_handshake.c -- values of the headers that a handshake is made of, and
 * those of proxies. Lines of the input are the values; whatever they say there
 * is an answer, the same each time, and what is accepted can be written.
 *
 * Settings: bit 0 a trusted proxy of all addresses, bit 1 of none. */
#include "base/base.h"
#include "proto/forwarded.h"
#include "proto/handshake.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"upgrade", "connection", "host",
    "sec-websocket-version", "sec-websocket-key", "sec-websocket-protocol",
    "sec-websocket-extensions", "origin", "x-forwarded-for", "x-forwarded-host",
    "x-forwarded-for", "sec-websocket-protocol"};
static const char *const right[] = {
    "websocket", "Upgrade", "a.example", "13", "dGhlIHNhbXBsZSBub25jZQ=="};

#define COUNT ARRAY_LEN(names)

static void try_request(const struct http_request *r, unsigned settings)
{
    static const char *const rules[] = {
        "https://*.example.com", "example.org:81", "null", NULL};
    const char *detail = NULL;
    int status = handshake_check(r, &detail);
    const char *again = NULL;
    if (handshake_check(r, &again) != status || again != detail) {
        abort();
    }
    if (status == 0) {
        char accept[HANDSHAKE_ACCEPT_BYTES + 1];
        char out[512];
        handshake_accept(r, accept);
        if (handshake_response(out, sizeof(out), accept, NULL, NULL) == 0) {
            abort();
        }
    } else if (detail == NULL) {
        abort();
    }
    (void)handshake_offers(r, "chat");
    (void)handshake_origin_is_allowed(r, rules);
    struct cidr proxies[2] = {{.bits = 0}, {.bits = 128}};
    struct ip client = {{0}};
    if (forwarded_for(
            r, settings & 2 ? proxies + 1 : proxies, settings & 1, &client)) {
        char text[IP_TEXT_BYTES];
        ip_write(&client, text);
    }
    (void)forwarded_host(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_header headers[COUNT];
    char *text = malloc(size + 1);
    if (size == 0 || text == NULL) {
        free(text);
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    /* A NUL never comes out of the parser. */
    for (size_t i = 0; i < size; i++) {
        text[i] = text[i] == '\0' ? '\n' : text[i];
    }
    struct http_request r = {.method = "GET",
        .minor = 1,
        .path = "/",
        .query = "",
        .headers = headers};
    char *at = text + 1;
    for (size_t i = 0; i < COUNT && at <= text + size; i++) {
        char *end = at + strcspn(at, "\n");
        bool is_last = *end == '\0';
        *end = '\0';
        const char *value = *at == '\0' && i < ARRAY_LEN(right) ? right[i] : at;
        if (strcmp(value, "-") != 0) {
            headers[r.header_count++] =
                (struct http_header){names[i], value, strlen(value)};
        }
        at = is_last ? text + size + 1 : end + 1;
    }
    try_request(&r, data[0]);
    free(text);
    return 0;
}
