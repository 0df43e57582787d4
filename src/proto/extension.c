/* extension.c -- the grammar of Sec-WebSocket-Extensions (RFC 6455 9.1):
 *
 *   1#( token *( ";" token [ "=" ( token | quoted-string ) ] ) )
 *
 * Called by the handshake, which refuses a header that breaks the grammar, and
 * by the extensions themselves, one item after the other. A quoted value
 * counts by what stands in it, escapes undone; that has to be a token too. */
#include "proto/extension.h"
#include "proto/http_priv.h"
#include <string.h>
#include <strings.h>

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t");
}

static size_t token_len(const char *p)
{
    size_t n = 0;
    while (http_is_token_char((uint8_t)p[n])) {
        n++;
    }
    return n;
}

static void add_to_value(struct extension_item *out, char c)
{
    if (out->value_len < sizeof(out->value) - 1) {
        out->value[out->value_len] = c;
        out->value[out->value_len + 1] = '\0';
    }
    out->value_len++;
}

/* Behind the "="; NULL: no value. */
static const char *read_value(const char *p, struct extension_item *out)
{
    bool is_quoted = *p == '"';
    p += is_quoted;
    for (;;) {
        if (is_quoted && *p == '\\') {
            p++;
        }
        if (!http_is_token_char((uint8_t)*p)) {
            break;
        }
        add_to_value(out, *p++);
    }
    if (is_quoted && *p++ != '"') {
        return NULL;
    }
    return out->value_len > 0 ? p : NULL;
}

static enum extension_kind read_param(
    const char *p, struct extension_walk *w, struct extension_item *out)
{
    out->name = p;
    out->name_len = token_len(p);
    if (out->name_len == 0) {
        return EXTENSION_BAD;
    }
    w->at = p + out->name_len;
    p = skip_blanks(w->at);
    if (*p == '=') {
        out->has_value = true;
        w->at = read_value(skip_blanks(p + 1), out);
    }
    return w->at != NULL ? EXTENSION_PARAM : EXTENSION_BAD;
}

enum extension_kind extension_next(
    struct extension_walk *w, struct extension_item *out)
{
    *out = (struct extension_item){0};
    const char *p = skip_blanks(w->at);
    if (w->is_inside && *p == ';') {
        return read_param(skip_blanks(p + 1), w, out);
    }
    if (w->is_inside && *p != ',' && *p != '\0') {
        return EXTENSION_BAD;
    }
    /* Elements of a list may be empty (RFC 9110 5.6.1.2). */
    p += strspn(p, " \t,");
    if (*p == '\0') {
        return EXTENSION_END;
    }
    out->name = p;
    out->name_len = token_len(p);
    w->at = p + out->name_len;
    w->is_inside = true;
    return out->name_len > 0 ? EXTENSION_NAME : EXTENSION_BAD;
}

bool extension_is(const struct extension_item *item, const char *name)
{
    return strlen(name) == item->name_len &&
           strncasecmp(item->name, name, item->name_len) == 0;
}

/* How many extensions one header names; -1: it breaks the grammar. */
static int count_names(const char *text)
{
    struct extension_walk w = {.at = text};
    struct extension_item item;
    int names = 0;
    for (;;) {
        switch (extension_next(&w, &item)) {
        case EXTENSION_NAME: names++; break;
        case EXTENSION_PARAM: break;
        case EXTENSION_END: return names;
        case EXTENSION_BAD: return -1;
        }
    }
}

bool extension_is_well_formed(const struct http_request *r)
{
    int names = 0;
    bool is_given = false;
    for (size_t i = 0; i < r->header_count; i++) {
        if (strcmp(r->headers[i].name, "sec-websocket-extensions") != 0) {
            continue;
        }
        is_given = true;
        int n = count_names(r->headers[i].value);
        if (n < 0) {
            return false;
        }
        names += n;
    }
    return !is_given || names > 0;
}
