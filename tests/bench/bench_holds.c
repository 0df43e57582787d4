/* bench_holds.c -- how long the sections of a hub are that cannot be stopped,
 * with as many members as an app may have by default and messages as long as
 * they come: a hub over lanes made by hand, as in bench_fanout.c.
 *
 * For each call: its whole CPU time, how many steps it is made of when a tick
 * waits all the time, and the longest of them; of joins, the longest one. What
 * the machine does besides shows in a maximum, so calls are made ROUNDS times
 * and each step counts as the shortest of its kind; joins only once, and the
 * 99th percentile stands beside. */
#include "base/late.h"
#include "base/limits.h"
#include "base/mem.h"
#include "hub/hub_priv.h"
#include "net/pack.h"
#include "script/preempt.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS   100000u
#define STEPS_MAX 1000000u
#define BIG_BYTES (64u << 20)
#define ROUNDS    5

static struct loop *loop;
static struct net net;
static struct hub *hub;
static struct member *members;
static uint64_t *times;
static uint32_t steps;
static uint32_t known; /* of the rounds before */

static void begin(void)
{
    steps = 0;
    known = 0;
}

static void begin_round(void)
{
    known = steps > known ? steps : known;
    steps = 0;
}

static void add_step(uint64_t since_ns)
{
    uint64_t ns = preempt_cpu_ns() - since_ns;
    if (steps < STEPS_MAX) {
        bool is_less = steps >= known || ns < times[steps];
        times[steps] = is_less ? ns : times[steps];
        steps++;
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void end_turn(void)
{
    for (; net.dirty_count > 0; net.dirty_count--) {
        struct lane *l = &net.lanes[net.dirty[net.dirty_head]];
        net.dirty_head = (net.dirty_head + 1) & (net.dirty_cap - 1);
        blob_unref(l->blob);
        l->blob = NULL;
        l->flags &= ~(uint32_t)LANE_DIRTY;
    }
    tape_seal_all(&net);
}

static void end(const char *what)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < steps; i++) {
        sum += times[i];
    }
    qsort(times, steps, sizeof(times[0]), by_value);
    printf("%-34s %10.1f %8u %9.1f %9.1f\n", what, (double)sum / 1e3, steps,
        (double)times[(uint64_t)steps * 99 / 100] / 1e3,
        (double)times[steps - 1] / 1e3);
}

static void open_bench(void)
{
    loop = loop_new(0);
    net.loop = loop;
    net.metrics = loop_metrics(loop);
    list_init(&net.tapes);
    slots_init(&net.conns);
    net.dirty_cap = 1u << 17;
    net.dirty = mem_alloc(net.dirty_cap * sizeof(*net.dirty));
    net.lanes = mem_zalloc(CLIENTS * sizeof(*net.lanes));
    members = mem_zalloc(CLIENTS * sizeof(*members));
    times = mem_zalloc(STEPS_MAX * sizeof(*times));
    struct hub_config config = {
        .net = &net, .rooms_max = 200000, .rooms_per_client = 10};
    hub = hub_new(&config);
    hub_set_compress(hub, UINT32_MAX, &(struct pack_settings){3, 15});
}

static void enter_all(void)
{
    for (uint32_t i = 0; i < CLIENTS; i++) {
        uint32_t generation;
        uint32_t slot = slots_add(&net.conns, loop, &generation);
        net.lanes[slot].flags =
            LANE_OPEN | LANE_DEFLATE | 7u << LANE_WINDOW_SHIFT;
        net.lanes[slot].hard_bytes = 2 * BIG_BYTES;
        struct conn_id id = {0, slot, generation};
        if (hub_enter(hub, &members[i], i + 1, id, "user", 4) != 0) {
            exit(1);
        }
    }
}

/* `each`: a room for each client. */
static void join_all(const char *what, const char *name, bool each)
{
    begin();
    for (uint32_t i = 0; i < CLIENTS; i++) {
        char room[32];
        /* Any order but that of the slots. */
        uint32_t k = (uint32_t)(i * UINT64_C(7919) % CLIENTS);
        int n = each ? snprintf(room, sizeof(room), "%s%u", name, k)
                     : snprintf(room, sizeof(room), "%s", name);
        uint64_t t = preempt_cpu_ns();
        if (hub_join(&members[k], room, (size_t)n) != 0) {
            exit(1);
        }
        add_step(t);
    }
    end(what);
}

static void part_all(const char *what, const char *name)
{
    begin();
    for (uint32_t i = 0; i < CLIENTS; i++) {
        uint32_t k = (uint32_t)(i * UINT64_C(7919) % CLIENTS);
        uint64_t t = preempt_cpu_ns();
        (void)hub_part(&members[k], name, strlen(name));
        add_step(t);
    }
    end(what);
}

static void cast_once(
    const struct hub_target *to, const struct hub_message *msg)
{
    uint32_t queued;
    uint32_t dropped;
    bool is_done = false;
    begin_round();
    preempt_pending = 1;
    uint64_t t = preempt_cpu_ns();
    hub_cast_begin(hub, to, msg);
    while (!is_done) {
        is_done = hub_cast_step(hub);
        if (is_done) {
            hub_cast_end(hub, &queued, &dropped);
        }
        add_step(t);
        t = preempt_cpu_ns();
    }
    preempt_pending = 0;
    end_turn();
}

static void cast(const char *what, const struct hub_target *to,
    const struct hub_message *msg)
{
    begin();
    for (int i = 0; i < ROUNDS; i++) {
        cast_once(to, msg);
    }
    end(what);
}

static void list(const char *what, uint64_t *ids)
{
    begin();
    for (int i = 0; i < ROUNDS; i++) {
        size_t n = 0;
        bool is_done = false;
        begin_round();
        preempt_pending = 1;
        uint64_t t = preempt_cpu_ns();
        hub_list_room(hub, NULL);
        while (!is_done) {
            is_done = hub_list_step(hub, ids, CLIENTS, &n);
            add_step(t);
            t = preempt_cpu_ns();
        }
        hub_list_end(hub);
        preempt_pending = 0;
    }
    end(what);
}

/* Of a message that long; each step is a piece of it. */
static void give_back(const char *what, size_t bytes)
{
    begin();
    for (int i = 0; i < ROUNDS; i++) {
        bool has_more = true;
        struct blob *b = blob_new(NULL, bytes);
        if (b == NULL) {
            abort();
        }
        memset(b->data, 'x', bytes);
        begin_round();
        uint64_t t = preempt_cpu_ns();
        blob_unref(b);
        while (has_more) {
            add_step(t);
            t = preempt_cpu_ns();
            has_more = late_work(NULL, LIMIT_LATE_PIECE_BYTES);
        }
    }
    end(what);
}

static char *words(size_t n)
{
    static const char *const some[] = {"{\"id\":", "name", "value", "true,",
        "[1, 2, ", "]}", "\"text\":", "a longer word "};
    char *p = mem_alloc(n);
    uint32_t seed = 1;
    for (size_t at = 0; at < n;) {
        seed = seed * 1664525 + 1013904223;
        char number[16];
        const char *s = some[seed >> 29];
        snprintf(number, sizeof(number), "%u", seed >> 8 & 0xffff);
        for (int k = 0; k < 2; k++, s = number) {
            for (const char *c = s; *c != '\0' && at < n; c++) {
                p[at++] = *c;
            }
        }
    }
    return p;
}

static void cast_all_kinds(void)
{
    uint64_t *ids = mem_alloc(CLIENTS * sizeof(*ids));
    for (uint32_t i = 0; i < CLIENTS; i++) {
        ids[i] = i * UINT64_C(7919) % CLIENTS + 1;
    }
    struct hub_name rooms[] = {{"big", 3}, {"two", 3}};
    struct hub_name user = {"user", 4};
    struct hub_message msg = {.op = FRAME_TEXT, .data = "hello", .len = 5};
    cast("to a room of 100,000",
        &(struct hub_target){.rooms = rooms, .room_count = 1}, &msg);
    cast("to two such rooms",
        &(struct hub_target){.rooms = rooms, .room_count = 2}, &msg);
    cast("to 100,000 clients of a user",
        &(struct hub_target){.users = &user, .user_count = 1}, &msg);
    cast("to 100,000 ids",
        &(struct hub_target){.ids = ids, .id_count = CLIENTS}, &msg);
    cast("to all but 65,536",
        &(struct hub_target){.except_ids = ids, .except_count = 65536}, &msg);
    list("a list of 100,000", ids);
    uint64_t one = 5;
    struct hub_target to_one = {.ids = &one, .id_count = 1};
    char *big = words(BIG_BYTES);
    msg.data = big;
    msg.len = 1 << 20;
    cast("1 MiB to one", &to_one, &msg);
    msg.len = BIG_BYTES - 64;
    cast("64 MiB to one", &to_one, &msg);
    msg.len = 1 << 20;
    msg.compress = HUB_COMPRESS_YES;
    for (uint8_t level = 1; level <= 9; level = (uint8_t)(level + 2)) {
        char what[64];
        hub_set_compress(hub, 0, &(struct pack_settings){level, 15});
        snprintf(what, sizeof(what), "1 MiB compressed, level %d", level);
        cast(what, &to_one, &msg);
    }
    mem_free(big);
    mem_free(ids);
}

int main(void)
{
    open_bench();
    printf("%-34s %10s %8s %9s %9s\n", "", "all of it", "steps", "99 %",
        "longest");
    printf("%-34s %10s %8s %9s %9s\n", "", "us", "", "us", "us");
    enter_all();
    join_all("100,000 join a room", "big", false);
    join_all("100,000 join another", "two", false);
    join_all("100,000 join a room each", "room", true);
    cast_all_kinds();
    part_all("100,000 leave a room", "two");
    give_back("64 MiB given back at once", BIG_BYTES);
    (void)late_turn();
    give_back("64 MiB given back", BIG_BYTES);
    give_back("4 MiB given back", BIG_BYTES / 16);
    late_finish();
    for (uint32_t i = 0; i < CLIENTS; i++) {
        hub_leave(&members[i]);
    }
    hub_free(hub);
    packer_free(net.packer);
    slots_fini(&net.conns);
    mem_free(net.dirty);
    mem_free(net.lanes);
    mem_free(members);
    mem_free(times);
    loop_free(loop);
    return 0;
}
