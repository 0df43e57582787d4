/* rules.c -- what an app has said about rooms by their names.
 *
 * Few (LIMIT_ROOM_RULES) and asked only when a room is made, so a list that
 * is read from its start is all there is to it: the first that matches holds.
 * A room keeps its copy; what is defined later is for rooms made later. */
#include "hub/hub_priv.h"

#include "base/limits.h"
#include "base/mem.h"
#include <string.h>

static bool is_match(const struct rule *r, const char *name, size_t len)
{
    if (r->is_prefix ? len < r->len : len != r->len) {
        return false;
    }
    return memcmp(r->pattern, name, r->len) == 0;
}

struct room_rule rules_match(const struct hub *h, const char *name, size_t len)
{
    for (uint32_t i = 0; i < h->rule_count; i++) {
        if (is_match(&h->rules[i], name, len)) {
            return h->rules[i].rule;
        }
    }
    return (struct room_rule){.has_policy = false};
}

static struct rule *find_same(
    struct hub *h, const char *pattern, size_t len, bool is_prefix)
{
    for (uint32_t i = 0; i < h->rule_count; i++) {
        struct rule *r = &h->rules[i];
        if (r->is_prefix == is_prefix && r->len == len &&
            memcmp(r->pattern, pattern, len) == 0) {
            return r;
        }
    }
    return NULL;
}

int hub_define(struct hub *h, const char *pattern, size_t len,
    const struct room_rule *rule)
{
    bool is_prefix = len > 0 && pattern[len - 1] == '*';
    if (is_prefix) {
        len--;
    }
    struct rule *same = find_same(h, pattern, len, is_prefix);
    if (same != NULL) {
        same->rule = *rule;
        return 0;
    }
    if (h->rule_count >= LIMIT_ROOM_RULES) {
        return ERR_QUOTA;
    }
    char *copy = quota_alloc(len + 1);
    struct rule *rules =
        quota_realloc(h->rules, (h->rule_count + 1) * sizeof(*rules));
    if (rules != NULL) {
        h->rules = rules;
    }
    if (copy == NULL || rules == NULL) {
        quota_free(copy);
        return ERR_NOMEM;
    }
    memcpy(copy, pattern, len);
    copy[len] = '\0';
    h->rules[h->rule_count++] = (struct rule){
        .pattern = copy, .len = len, .is_prefix = is_prefix, .rule = *rule};
    return 0;
}

void hub_clear_rules(struct hub *h)
{
    for (uint32_t i = 0; i < h->rule_count; i++) {
        quota_free(h->rules[i].pattern);
    }
    quota_free(h->rules);
    h->rules = NULL;
    h->rule_count = 0;
}
