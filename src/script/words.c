/* words.c -- which names a script's source contains.
 *
 * Called by app/state with all files of an app before any of them is run, and
 * asked by the sandbox and the api, which leave out globals that nobody
 * names. That a script cannot tell depends on this: a global is reached by
 * its name as a word of the source, or by way of `_G`, `_ENV` or a chunk that
 * is loaded at run time. Words are runs of letters, digits and `_`, as Lua's
 * lexer sees them: a name never touches such a character that is not its
 * own, and no escape can spell one.
 *
 * The set has a bit for each hash: two words can share it, which costs an app
 * a few hundred bytes that it would not have needed. */
#include "script/words.h"
#include <string.h>

static bool is_word_byte(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '_';
}

static uint32_t hash_byte(uint32_t hash, unsigned char c)
{
    return (hash ^ c) * 16777619u;
}

#define HASH_START 2166136261u

static void set(struct words *w, uint32_t hash)
{
    uint32_t bit = (hash ^ hash >> 16) % WORDS_BITS;
    w->bits[bit / 64] |= UINT64_C(1) << bit % 64;
}

static bool get(const struct words *w, const char *word)
{
    uint32_t hash = HASH_START;
    for (; *word != '\0'; word++) {
        hash = hash_byte(hash, (unsigned char)*word);
    }
    uint32_t bit = (hash ^ hash >> 16) % WORDS_BITS;
    return (w->bits[bit / 64] >> bit % 64 & 1) != 0;
}

void words_add(struct words *w, const char *source, size_t len)
{
    uint32_t hash = HASH_START;
    bool is_inside = false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)source[i];
        if (is_word_byte(c)) {
            hash = hash_byte(hash, c);
            is_inside = true;
        } else if (is_inside) {
            set(w, hash);
            hash = HASH_START;
            is_inside = false;
        }
    }
    if (is_inside) {
        set(w, hash);
    }
    w->has_all = get(w, "_G") || get(w, "_ENV") || get(w, "load");
}

bool words_has(const struct words *w, const char *word)
{
    return w == NULL || w->has_all || get(w, word);
}
