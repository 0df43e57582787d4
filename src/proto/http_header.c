/* http_header.c -- questions to a finished request, and words for statuses.
 *
 * Called by proto/handshake and by whoever answers a request. Names are
 * compared exactly: http.c has made them lower case. */
#include "proto/http.h"
#include "proto/http_priv.h"
#include <string.h>
#include <strings.h>

static const char *find_from(
    const struct http_request *r, const char *name, size_t *at)
{
    while (*at < r->header_count) {
        const struct http_header *h = &r->headers[(*at)++];
        if (strcmp(h->name, name) == 0) {
            return h->value;
        }
    }
    return NULL;
}

const char *http_header_find(const struct http_request *r, const char *name)
{
    size_t at = 0;
    return find_from(r, name, &at);
}

size_t http_header_count(const struct http_request *r, const char *name)
{
    size_t at = 0;
    size_t count = 0;
    while (find_from(r, name, &at) != NULL) {
        count++;
    }
    return count;
}

bool http_list_next(const char **at, const char **item, size_t *len)
{
    const char *p = *at + strspn(*at, " \t,");
    size_t n = strcspn(p, ",");
    *at = p + n;
    *item = p;
    while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t')) {
        n--;
    }
    *len = n;
    return n > 0;
}

bool http_header_has_token(
    const struct http_request *r, const char *name, const char *token)
{
    size_t at = 0;
    size_t want = strlen(token);
    const char *list;
    while ((list = find_from(r, name, &at)) != NULL) {
        const char *item;
        size_t len;
        while (http_list_next(&list, &item, &len)) {
            if (len == want && strncasecmp(item, token, len) == 0) {
                return true;
            }
        }
    }
    return false;
}

const char *http_reason(int status)
{
    switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 205: return "Reset Content";
    case 206: return "Partial Content";
    case 300: return "Multiple Choices";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 402: return "Payment Required";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 423: return "Locked";
    case 425: return "Too Early";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 451: return "Unavailable For Legal Reasons";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Unknown";
    }
}
