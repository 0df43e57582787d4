/* vectors.h -- reads tests/vectors/NAME.txt.
 *
 *   == RFC 6455 5.7: a single-frame masked text message
 *   set max 1024
 *   in 81 85 <37fa213d "Hello">
 *   out text "Hello"
 *
 * "==" begins a vector and titles it. "set" gives the reader a setting (the
 * test knows which). "in" lines are put together: pairs of hex digits,
 * "quoted text" with \r \n \t \0 \\ \" and \xNN, <KEY bytes> for bytes masked
 * with that key, and *N behind an item to repeat it. "out" lines are the
 * expected event log. "#" begins a comment line. */
#ifndef TESTS_SUPPORT_VECTORS_H
#define TESTS_SUPPORT_VECTORS_H

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VECTOR_IN_BYTES (512 * 1024)
#define VECTOR_SETTINGS 4

struct vector {
    char title[256];
    int line;
    struct {
        char name[32];
        long value;
    } settings[VECTOR_SETTINGS];
    size_t setting_count;
    uint8_t in[VECTOR_IN_BYTES];
    size_t in_len;
    char out[8192];
    size_t out_len;
};

static inline void vector_die(const struct vector *v, const char *why)
{
    fprintf(stderr, "vector in line %d (%s): %s\n", v->line, v->title, why);
    exit(2);
}

static inline void vector_put(struct vector *v, uint8_t byte)
{
    if (v->in_len == sizeof(v->in)) {
        vector_die(v, "input too long");
    }
    v->in[v->in_len++] = byte;
}

static inline uint8_t vector_hex(struct vector *v, const char *s)
{
    char digits[3] = {s[0], s[0] != '\0' ? s[1] : '\0', '\0'};
    char *end;
    unsigned long b = strtoul(digits, &end, 16);
    if (end != digits + 2) {
        vector_die(v, "two hex digits wanted");
    }
    return (uint8_t)b;
}

/* Text behind the opening quote; returns what follows the closing one. */
static inline const char *vector_text(struct vector *v, const char *s)
{
    static const char names[] = "rnt0\\\"";
    static const char values[] = "\r\n\t\0\\\"";
    for (; *s != '"'; s++) {
        if (*s == '\0') {
            vector_die(v, "a quote is not closed");
        }
        if (*s != '\\') {
            vector_put(v, (uint8_t)*s);
            continue;
        }
        s++;
        const char *name = *s != '\0' ? strchr(names, *s) : NULL;
        if (*s == 'x') {
            vector_put(v, vector_hex(v, s + 1));
            s += 2;
        } else if (name != NULL) {
            vector_put(v, (uint8_t)values[name - names]);
        } else {
            vector_die(v, "unknown escape");
        }
    }
    return s + 1;
}

/* One item (not <...>) and its repetition. */
static inline const char *vector_item(struct vector *v, const char *s)
{
    size_t from = v->in_len;
    if (*s == '"') {
        s = vector_text(v, s + 1);
    } else {
        while (isxdigit((unsigned char)*s)) {
            vector_put(v, vector_hex(v, s));
            s += 2;
        }
    }
    size_t bytes = v->in_len - from;
    if (*s == '*') {
        char *end;
        long times = strtol(s + 1, &end, 10);
        s = end;
        for (long i = 1; i < times; i++) {
            for (size_t j = 0; j < bytes; j++) {
                vector_put(v, v->in[from + j]);
            }
        }
    } else if (bytes == 0 && s[-1] != '"') {
        vector_die(v, "unknown input");
    }
    return s;
}

static inline void vector_in(struct vector *v, const char *s)
{
    bool is_masked = false;
    size_t mask_at = 0;
    for (;;) {
        while (*s == ' ') {
            s++;
        }
        if (*s == '\0') {
            break;
        }
        if (*s == '<') {
            is_masked = true;
            mask_at = v->in_len;
            s++;
        } else if (*s == '>') {
            if (!is_masked || v->in_len < mask_at + 4) {
                vector_die(v, "a masked payload begins with four bytes");
            }
            for (size_t i = mask_at + 4; i < v->in_len; i++) {
                v->in[i] ^= v->in[mask_at + (i - mask_at) % 4];
            }
            is_masked = false;
            s++;
        } else {
            s = vector_item(v, s);
        }
    }
    if (is_masked) {
        vector_die(v, "'>' is missing");
    }
}

/* The setting's value, or `otherwise`. */
static inline long vector_setting(
    const struct vector *v, const char *name, long otherwise)
{
    for (size_t i = 0; i < v->setting_count; i++) {
        if (strcmp(v->settings[i].name, name) == 0) {
            return v->settings[i].value;
        }
    }
    return otherwise;
}

static inline void vector_line(struct vector *v, const char *s)
{
    if (strncmp(s, "in ", 3) == 0) {
        vector_in(v, s + 3);
    } else if (strncmp(s, "out ", 4) == 0) {
        int n = snprintf(
            v->out + v->out_len, sizeof(v->out) - v->out_len, "%s\n", s + 4);
        v->out_len += (size_t)n;
        if (v->out_len >= sizeof(v->out)) {
            vector_die(v, "output too long");
        }
    } else if (strncmp(s, "set ", 4) == 0 &&
               v->setting_count < VECTOR_SETTINGS &&
               sscanf(s + 4, "%31s %ld", v->settings[v->setting_count].name,
                   &v->settings[v->setting_count].value) == 2) {
        v->setting_count++;
    } else if (*s != '\0' && *s != '#') {
        vector_die(v, s);
    }
}

/* Calls `each` for every vector of the file; returns how many. */
static inline int vectors_read(const char *path,
    void (*each)(const struct vector *v, void *arg), void *arg)
{
    static struct vector v;
    static char line[16384];
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        perror(path);
        exit(2);
    }
    int count = 0;
    int number = 0;
    while (fgets(line, sizeof(line), f) != NULL) {
        number++;
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "== ", 3) != 0) {
            vector_line(&v, line);
            continue;
        }
        if (count > 0) {
            each(&v, arg);
        }
        count++;
        v.in_len = v.out_len = v.setting_count = 0;
        v.out[0] = '\0';
        v.line = number;
        snprintf(v.title, sizeof(v.title), "%.250s", line + 3);
    }
    fclose(f);
    if (count > 0) {
        each(&v, arg);
    }
    return count;
}

#endif
