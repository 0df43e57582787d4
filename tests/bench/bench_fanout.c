/* bench_fanout.c -- what queueing a broadcast costs per member, without any
 * socket: a hub over lanes made by hand.
 *
 * Columns, in ns per member, each the median of many rounds:
 *   floor    one write to each lane in order: what the memory alone costs
 *   first    a broadcast into empty lanes (reference, range, dirty mark)
 *   next     one more in the same turn (merges into the range)
 *   except   as `first`, one member excepted
 *   union    as `first`, to two rooms that hold everybody twice
 * `cold` rows sweep the caches before each round, as a turn full of sends
 * does; the room of a `1/16` row has every sixteenth client.
 *
 * usage: bench_fanout [ROUNDS] */
#include "base/mem.h"
#include "hub/hub_priv.h"
#include "support/walks.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SWEEP_BYTES (32u << 20)

struct bench {
    struct loop *loop;
    struct net net;
    struct hub *hub;
    struct member *members;
    uint32_t clients;
    uint8_t *sweep; /* NULL: caches stay warm */
    uint32_t rounds;
};

enum column { FLOOR, FIRST, NEXT, EXCEPT, UNION, COLUMNS };

static const char *const column_names[COLUMNS] = {
    "floor", "first", "next", "except", "union"};

static uint64_t sink;

static void open_bench(struct bench *b, uint32_t clients, uint32_t stride)
{
    struct net *n = &b->net;
    *b = (struct bench){.clients = clients};
    b->loop = loop_new(0);
    n->loop = b->loop;
    n->metrics = loop_metrics(b->loop);
    list_init(&n->tapes);
    slots_init(&n->conns);
    n->dirty_cap = 1;
    while (n->dirty_cap < clients) {
        n->dirty_cap *= 2;
    }
    n->dirty = mem_alloc(n->dirty_cap * sizeof(*n->dirty));
    n->lanes = mem_zalloc(clients * sizeof(*n->lanes));
    b->members = mem_zalloc(clients * sizeof(*b->members));
    struct hub_config config = {
        .net = n, .rooms_max = 10, .rooms_per_client = 10};
    b->hub = hub_new(&config);
    for (uint32_t i = 0; i < clients; i++) {
        uint32_t generation;
        uint32_t slot = slots_add(&n->conns, b, &generation);
        n->lanes[slot].flags = LANE_OPEN;
        n->lanes[slot].hard_bytes = 1u << 20;
        struct conn_id id = {0, slot, generation};
        int rc = hub_enter(b->hub, &b->members[i], i + 1, id, NULL, 0);
        if (rc == 0 && i % stride == 0) {
            rc = hub_join(&b->members[i], "room", 4);
        }
        if (rc == 0 && stride == 1) {
            rc = hub_join(&b->members[i], "twin", 4);
        }
        if (rc != 0) {
            exit(1);
        }
    }
}

static void close_bench(struct bench *b)
{
    for (uint32_t i = 0; i < b->clients; i++) {
        hub_leave(&b->members[i]);
    }
    hub_free(b->hub);
    slots_fini(&b->net.conns);
    mem_free(b->members);
    mem_free(b->net.lanes);
    mem_free(b->net.dirty);
    mem_free(b->sweep);
    loop_free(b->loop);
}

/* What the flush does, less the sending. */
static void end_turn(struct net *n)
{
    for (; n->dirty_count > 0; n->dirty_count--) {
        struct lane *l = &n->lanes[n->dirty[n->dirty_head]];
        n->dirty_head = (n->dirty_head + 1) & (n->dirty_cap - 1);
        blob_unref(l->blob);
        l->blob = NULL;
        l->flags &= ~(uint32_t)LANE_DIRTY;
    }
    tape_seal_all(n);
}

static void sweep_caches(struct bench *b)
{
    if (b->sweep == NULL) {
        return;
    }
    for (size_t i = 0; i < SWEEP_BYTES; i += 64) {
        sink += b->sweep[i]++;
    }
}

static uint64_t cast(struct bench *b, const struct hub_target *to)
{
    static const char text[] = "a message of thirty-two bytes ...";
    struct hub_message msg = {.op = FRAME_TEXT, .data = text, .len = 32};
    uint32_t queued;
    uint32_t dropped;
    uint64_t t0 = loop_clock_ns();
    hub_broadcast(b->hub, to, &msg, &queued, &dropped);
    uint64_t t = loop_clock_ns() - t0;
    sink += queued + dropped;
    return t;
}

static uint64_t touch(struct bench *b, const struct room *r)
{
    uint64_t t0 = loop_clock_ns();
    struct places s;
    for (uint32_t slot = 0; part_next(&r->here, slot, &s);) {
        for (uint32_t i = 0; i < s.len; i++) {
            b->net.lanes[s.slots[i]].fd++;
        }
        slot = s.slots[s.len - 1] + 1;
    }
    return loop_clock_ns() - t0;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t one_round(struct bench *b, enum column what)
{
    static const struct hub_name both[] = {{"room", 4}, {"twin", 4}};
    static const uint64_t excepted = 17;
    struct hub_target to = {.rooms = both, .room_count = 1};
    struct room *r = hub_room(b->hub, "room", 4);
    uint64_t t;
    r->tape.next_bytes = 4096; /* as in a busy room: no chunk runs out */
    if (what == NEXT) {
        cast(b, &to);
    }
    sweep_caches(b);
    if (what == FLOOR) {
        return touch(b, r);
    }
    if (what == EXCEPT) {
        to.except_ids = &excepted;
        to.except_count = 1;
    }
    if (what == UNION) {
        to.room_count = 2;
    }
    t = cast(b, &to);
    end_turn(&b->net);
    return t;
}

static void run(
    uint32_t clients, uint32_t stride, bool is_cold, uint32_t rounds)
{
    static uint64_t times[10000];
    struct bench b;
    open_bench(&b, clients, stride);
    b.sweep = is_cold ? mem_zalloc(SWEEP_BYTES) : NULL;
    struct room *r = hub_room(b.hub, "room", 4);
    uint32_t members = room_count(r);
    printf("%7u %-5s %-5s", members, stride == 1 ? "" : "1/16",
        is_cold ? "cold" : "");
    for (int what = 0; what < COLUMNS; what++) {
        for (uint32_t i = 0; i < rounds; i++) {
            times[i] = one_round(&b, (enum column)what);
        }
        qsort(times, rounds, sizeof(times[0]), by_value);
        printf(" %9.2f", (double)times[rounds / 2] / members);
    }
    printf("\n");
    close_bench(&b);
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {1000, 5000, 100000};
    uint32_t rounds = argc > 1 ? (uint32_t)atoi(argv[1]) : 51;
    if (rounds < 1 || rounds > 10000) {
        fprintf(stderr, "usage: bench_fanout [ROUNDS, 1 to 10000]\n");
        return 2;
    }
    printf("members  room  cache");
    for (int i = 0; i < COLUMNS; i++) {
        printf(" %9s", column_names[i]);
    }
    printf("   (ns per member)\n");
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        run(sizes[i], 1, false, rounds);
        run(sizes[i], 1, true, rounds);
        run(sizes[i] * 16 > 200000 ? 200000 : sizes[i] * 16, 16, true, rounds);
    }
    return sink == 42;
}
