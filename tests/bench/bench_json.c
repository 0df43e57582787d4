/* bench_json.c -- our JSON codec, and other modules for Lua beside it.
 *
 * Each module is any that `require` finds and that has encode and decode;
 * LUA_PATH and LUA_CPATH say where. Rounds of all of them alternate, so that
 * a busy machine is busy for all; the figures are medians, garbage collection
 * included, and in brackets times ours.
 *
 * usage: bench_json [MODULE...]      e.g. bench_json cjson dkjson */
#include "base/base.h"
#include "script/json.h"
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS     21
#define ROUND_NS   4e6 /* aimed at, per measurement */
#define CODECS_MAX 8
#define RECORDS    420 /* about 100 KB */

enum task { DECODE_CHAT, ENCODE_CHAT, DECODE_BIG, ENCODE_BIG, TASKS };

static const char *const task_names[TASKS] = {
    "decode chat", "encode chat", "decode 100 KB", "encode 100 KB"};

struct codec {
    const char *name;
    lua_State *L;
    long calls[TASKS]; /* per round */
    double ns[TASKS][ROUNDS];
};

static const char setup[] =
    "local codec, texts = ...\n"
    "local function loop(f, x)\n"
    "  return function(n) for _ = 1, n do f(x) end end\n"
    "end\n"
    "local chat, big = codec.decode(texts[1]), codec.decode(texts[2])\n"
    "assert(type(chat) == 'table' and type(big) == 'table')\n"
    "return loop(codec.decode, texts[1]), loop(codec.encode, chat),\n"
    "  loop(codec.decode, texts[2]), loop(codec.encode, big)\n";

static const char chat_text[] =
    "{\"type\":\"say\",\"room\":\"lobby\",\"name\":\"ann\",\"id\":48213,"
    "\"text\":\"Good morning, everybody! Did you \\\"see\\\" it?\","
    "\"at\":1700000000.125}";

static char *make_big(void)
{
    char *text = malloc((size_t)RECORDS * 320);
    char *p = text;
    p += sprintf(p, "{\"records\":[");
    for (int i = 0; i < RECORDS; i++) {
        p += sprintf(p,
            "%s{\"id\":%d,\"name\":\"player %d\",\"position\":[%.2f,%.2f,%.3f],"
            "\"score\":%d,\"alive\":%s,\"ratio\":%.15g,\"tags\":[\"red\","
            "\"b\\u00e4r\",\"third one\"],\"note\":\"some text that goes on "
            "for a while, \xe2\x82\xac %d, with\\na line\",\"best\":null}",
            i > 0 ? "," : "", i, i * 7, i * 1.25, i * 0.37, i / 8.0, i * 1013,
            i % 3 == 0 ? "true" : "false", 1.0 / (i + 3), i * 11);
    }
    strcpy(p, "]}");
    return text;
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void open_codec(struct codec *c, const char *big)
{
    lua_State *L = c->L = luaL_newstate();
    luaL_openlibs(L);
    if (luaL_loadstring(L, setup) != LUA_OK) {
        abort();
    }
    if (strcmp(c->name, "ours") == 0) {
        json_open(L);
    } else {
        lua_getglobal(L, "require");
        lua_pushstring(L, c->name);
        if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
            fprintf(stderr, "%s\n", lua_tostring(L, -1));
            exit(1);
        }
    }
    lua_newtable(L);
    lua_pushstring(L, chat_text);
    lua_rawseti(L, -2, 1);
    lua_pushstring(L, big);
    lua_rawseti(L, -2, 2);
    if (lua_pcall(L, 2, TASKS, 0) != LUA_OK) {
        fprintf(stderr, "%s: %s\n", c->name, lua_tostring(L, -1));
        exit(1);
    }
}

static double time_calls(struct codec *c, enum task task, long calls)
{
    lua_pushvalue(c->L, (int)task + 1);
    lua_pushinteger(c->L, calls);
    double start = now_ns();
    if (lua_pcall(c->L, 1, 0, 0) != LUA_OK) {
        fprintf(stderr, "%s: %s\n", c->name, lua_tostring(c->L, -1));
        exit(1);
    }
    return (now_ns() - start) / (double)calls;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof(*values), by_size);
    return values[ROUNDS / 2];
}

static void print_task(
    struct codec *codecs, int n, enum task task, size_t bytes)
{
    double ours = median(codecs[0].ns[task]);
    printf("%-14s", task_names[task]);
    for (int i = 0; i < n; i++) {
        double ns = i == 0 ? ours : median(codecs[i].ns[task]);
        printf("  %s %.0f ns, %.0f MB/s", codecs[i].name, ns,
            (double)bytes * 1e3 / ns);
        if (i > 0) {
            printf(" (%.2f)", ns / ours);
        }
    }
    printf("\n");
}

int main(int argc, char **argv)
{
    struct codec codecs[CODECS_MAX] = {{.name = "ours"}};
    int n = 1;
    for (int i = 1; i < argc && n < CODECS_MAX; i++) {
        codecs[n++].name = argv[i];
    }
    char *big = make_big();
    for (int i = 0; i < n; i++) {
        open_codec(&codecs[i], big);
        for (enum task t = 0; t < TASKS; t++) {
            double once = time_calls(&codecs[i], t, 20);
            codecs[i].calls[t] = (long)(ROUND_NS / once) + 1;
        }
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (enum task t = 0; t < TASKS; t++) {
            for (int i = 0; i < n; i++) {
                codecs[i].ns[t][round] =
                    time_calls(&codecs[i], t, codecs[i].calls[t]);
            }
        }
    }
    printf("chat %zu bytes, big %zu bytes, medians of %d rounds\n",
        strlen(chat_text), strlen(big), ROUNDS);
    for (enum task t = 0; t < TASKS; t++) {
        bool is_big = t == DECODE_BIG || t == ENCODE_BIG;
        print_task(codecs, n, t, is_big ? strlen(big) : strlen(chat_text));
    }
    for (int i = 0; i < n; i++) {
        lua_close(codecs[i].L);
    }
    free(big);
    return 0;
}
