/* Goes through every interleaving of two callers and three workers over the pool's operations (`_pool.pyx` and
 * `work.h`). The words of the work are made and judged by the functions of work.h itself; what happens between
 * two atomic operations of one thread is one move here. Asserts of every state that it reaches:
 *   - a part is taken by a thread that the call has reserved, once, and none is below 0 or past the last;
 *   - a call ends only when all of its parts are done, and the pool is free then;
 *   - where no thread can move, every call has ended, every worker sleeps, and no lock has a release to spare;
 *   - from every state such an end can still be reached: nobody waits for ever.
 *
 * usage: pool_model PLAN...   A plan is one for each caller, calls of workers and parts: 3x4,2x2; `t`: a team, whose
 * parts wait for one another; `s`: its caller looks for signals, so that its sleep may time out.
 * Prints the number of states and of ends. */
#include "work.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALLERS = 2, WORKERS = 3, CALLS = 3, MOST = 4 };

typedef struct call {
    int workers, parts, team, timed;
} call;

static call plan[CALLERS][CALLS + 1];
static int calls[CALLERS];

/* Where a thread is: what it does next. */
enum {
    /* callers */
    C_RESERVE, C_LEFT, C_WORD, C_WAKE, C_FIRST, C_FIRST_DONE, C_FIRST_WAKE, C_CLAIM, C_SWAP, C_PART, C_DONE,
    C_WAKE_SELF, C_FINISHED, C_SLEEP, C_ASLEEP_FINISHED, C_END_SLEEP, C_TIMED, C_TIMED_OUT, C_BLOCKED, C_CLOSE, C_ENDED,
    /* workers */
    W_CLAIM, W_SWAP, W_PART, W_DONE, W_FINISH, W_WATCH, W_SLEEP, W_ASLEEP_WATCH, W_END_SLEEP, W_BLOCKED
};

typedef struct thread {
    unsigned char at, part, call, i;
    uint64_t word;
} thread;

typedef struct state {
    fr_work work;
    int asleep[WORKERS + 1];
    unsigned char wake[WORKERS + 1]; /* releases that nobody has taken yet */
    unsigned char finished, busy;    /* likewise; the call that holds the pool, 0: none */
    unsigned char taken[MOST], done[MOST];
    thread t[CALLERS + WORKERS];
} state;

static const char *wrong;
#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what))                                                                                                   \
            wrong = #what;                                                                                             \
    } while (0)

static const call *open_call(const state *s) { return &plan[(s->busy - 1) / CALLS][(s->busy - 1) % CALLS]; }

/* Worker `who` (0: the caller) starts on a part. */
static void take_part(state *s, int part, int who)
{
    CHECK(s->busy != 0);
    if (wrong)
        return;
    CHECK(part >= 0 && part < open_call(s)->parts);
    CHECK(who < open_call(s)->workers);
    if (wrong)
        return;
    CHECK(s->taken[part] == 0);
    s->taken[part] = 1;
}

/* Whether a part can end: in a team, when all parts are there. */
static int can_end(const state *s)
{
    if (open_call(s)->team)
        for (int i = 0; i < open_call(s)->parts; i++)
            if (!s->taken[i])
                return 0;
    return 1;
}

static void end_part(state *s, int part)
{
    CHECK(s->taken[part] == 1 && s->done[part] == 0);
    s->done[part] = 1;
}

/* The moves of a caller; `choice` tells apart what may happen at one place. 0: no such move. */
static int move_caller(state *s, int me, int choice)
{
    thread *t = &s->t[me];
    const call *now = &plan[me][t->call];
    if (choice > 0 && t->at != C_TIMED)
        return 0;
    switch (t->at) {
    case C_RESERVE:
        if (t->call == calls[me]) {
            t->at = C_ENDED;
            return 0;
        }
        if (s->busy) { /* runs its parts alone */
            t->call++;
            return 1;
        }
        s->busy = (unsigned char)(me * CALLS + t->call + 1);
        memset(s->taken, 0, sizeof s->taken);
        memset(s->done, 0, sizeof s->done);
        t->at = C_LEFT;
        return 1;
    case C_LEFT:
        fr_store(&s->work.left, now->parts);
        t->at = C_WORD;
        return 1;
    case C_WORD: /* nobody else changes a word that has no part left: one move */
        CHECK(fr_word_next(s->work.word) >= fr_word_parts(s->work.word));
        fr_store64(&s->work.word, fr_word_open(fr_load64(&s->work.word), now->parts, now->workers));
        t->i = 1;
        t->at = C_WAKE;
        return 1;
    case C_WAKE:
        if (t->i == now->workers) {
            take_part(s, 0, 0);
            t->at = C_FIRST;
            return 1;
        }
        if (fr_sleep_end(&s->asleep[t->i]))
            s->wake[t->i]++;
        t->i++;
        return 1;
    case C_FIRST:
        if (!can_end(s))
            return 0;
        end_part(s, 0);
        t->at = C_FIRST_DONE;
        return 1;
    case C_FIRST_DONE:
        t->at = fr_add(&s->work.left, -1) == 0 ? C_FIRST_WAKE : now->team ? C_FINISHED : C_CLAIM;
        return 1;
    case C_FIRST_WAKE:
        if (fr_swap(&s->work.waiting, 0))
            s->finished++;
        t->at = now->team ? C_FINISHED : C_CLAIM;
        return 1;
    case C_CLAIM:
        t->word = fr_load64(&s->work.word);
        t->at = fr_word_offers(t->word, 0) ? C_SWAP : C_FINISHED;
        return 1;
    case C_SWAP:
        t->at = C_CLAIM;
        if (fr_swap_if64(&s->work.word, t->word, t->word + 1)) {
            t->part = (unsigned char)fr_word_next(t->word);
            take_part(s, t->part, 0);
            t->at = C_PART;
        }
        t->word = 0;
        return 1;
    case C_PART:
        end_part(s, t->part);
        t->at = C_DONE;
        return 1;
    case C_DONE:
        t->at = fr_add(&s->work.left, -1) == 0 ? C_WAKE_SELF : C_CLAIM;
        return 1;
    case C_WAKE_SELF:
        if (fr_swap(&s->work.waiting, 0))
            s->finished++;
        t->at = C_CLAIM;
        return 1;
    case C_FINISHED: /* another turn of waiting changes nothing: it finds that all is done, or loses patience */
        t->at = fr_work_finished(&s->work, 0) ? C_CLOSE : C_SLEEP;
        return 1;
    case C_SLEEP:
        fr_sleep_begin(&s->work.waiting);
        t->at = C_ASLEEP_FINISHED;
        return 1;
    case C_ASLEEP_FINISHED:
        t->at = fr_work_finished(&s->work, 0) ? C_END_SLEEP : now->timed ? C_TIMED : C_BLOCKED;
        return 1;
    case C_END_SLEEP:
        t->at = fr_sleep_end(&s->work.waiting) ? C_CLOSE : now->timed ? C_TIMED : C_BLOCKED;
        return 1;
    case C_TIMED:
        if (choice == 0) { /* the release comes in time */
            if (!s->finished)
                return 0;
            s->finished--;
            t->at = C_FINISHED;
            return 1;
        }
        t->at = C_TIMED_OUT;
        return 1;
    case C_TIMED_OUT:
        t->at = fr_sleep_end(&s->work.waiting) ? C_FINISHED : C_BLOCKED;
        return 1;
    case C_BLOCKED:
        if (!s->finished)
            return 0;
        s->finished--;
        t->at = C_FINISHED;
        return 1;
    case C_CLOSE:
        for (int i = 0; i < now->parts; i++)
            CHECK(s->done[i]);
        memset(s->taken, 0, sizeof s->taken);
        memset(s->done, 0, sizeof s->done);
        s->busy = 0;
        t->part = t->i = 0;
        t->call++;
        t->at = C_RESERVE;
        return 1;
    }
    return 0;
}

static int move_worker(state *s, int me, int choice)
{
    thread *t = &s->t[CALLERS + me - 1];
    if (choice > 0 && t->at != W_WATCH)
        return 0;
    switch (t->at) {
    case W_CLAIM:
        t->word = fr_load64(&s->work.word);
        t->at = W_SWAP;
        if (!fr_word_offers(t->word, me)) {
            t->word = 0;
            t->at = W_WATCH;
        }
        return 1;
    case W_SWAP:
        t->at = W_CLAIM;
        if (fr_swap_if64(&s->work.word, t->word, t->word + 1)) {
            t->part = (unsigned char)fr_word_next(t->word);
            take_part(s, t->part, me);
            t->at = W_PART;
        }
        t->word = 0;
        return 1;
    case W_PART:
        if (!can_end(s))
            return 0;
        end_part(s, t->part);
        t->part = 0;
        t->at = W_DONE;
        return 1;
    case W_DONE:
        t->at = fr_add(&s->work.left, -1) == 0 ? W_FINISH : W_CLAIM;
        return 1;
    case W_FINISH:
        if (fr_swap(&s->work.waiting, 0))
            s->finished++;
        t->at = W_CLAIM;
        return 1;
    case W_WATCH: /* sees work, or loses patience */
        if (choice == 0) {
            if (!fr_work_watch(&s->work, me, 0))
                return 0;
            t->at = W_CLAIM;
            return 1;
        }
        t->at = W_SLEEP;
        return 1;
    case W_SLEEP:
        fr_sleep_begin(&s->asleep[me]);
        t->at = W_ASLEEP_WATCH;
        return 1;
    case W_ASLEEP_WATCH:
        t->at = fr_work_watch(&s->work, me, 0) ? W_END_SLEEP : W_BLOCKED;
        return 1;
    case W_END_SLEEP:
        t->at = fr_sleep_end(&s->asleep[me]) ? W_CLAIM : W_BLOCKED;
        return 1;
    case W_BLOCKED:
        if (!s->wake[me])
            return 0;
        s->wake[me]--;
        t->at = W_CLAIM;
        return 1;
    }
    return 0;
}

/* The states reached, in a table by hash; the moves, to go back from the ends. */
static state *states;
static uint32_t *table, *edges; /* edges: pairs from, to */
static size_t count, room, slots, edge_count, edge_room;

static uint64_t hash(const state *s)
{
    const unsigned char *p = (const unsigned char *)s;
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < sizeof *s; i += 8) {
        uint64_t w = 0;
        memcpy(&w, p + i, sizeof *s - i < 8 ? sizeof *s - i : 8);
        h = (h ^ w) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    return h;
}

static void *grown(void *old, size_t bytes)
{
    void *p = realloc(old, bytes);
    if (!p) {
        fprintf(stderr, "out of memory\n");
        exit(2);
    }
    return p;
}

static uint32_t place_of(const state *s)
{
    if (2 * (count + 1) > slots) {
        slots = slots ? 2 * slots : 1 << 16;
        table = grown(table, slots * sizeof *table);
        memset(table, 0xff, slots * sizeof *table);
        for (size_t i = 0; i < count; i++) {
            size_t at = hash(&states[i]) & (slots - 1);
            while (table[at] != UINT32_MAX)
                at = (at + 1) & (slots - 1);
            table[at] = (uint32_t)i;
        }
    }
    size_t at = hash(s) & (slots - 1);
    while (table[at] != UINT32_MAX) {
        if (memcmp(&states[table[at]], s, sizeof *s) == 0)
            return table[at];
        at = (at + 1) & (slots - 1);
    }
    if (count == room) {
        room = room ? 2 * room : 1 << 14;
        states = grown(states, room * sizeof *states);
    }
    memcpy(&states[count], s, sizeof *s);
    return table[at] = (uint32_t)count++;
}

static int ended(const state *s)
{
    for (int i = 0; i < CALLERS; i++)
        if (s->t[i].at != C_ENDED && !(s->t[i].at == C_RESERVE && s->t[i].call == calls[i]))
            return 0;
    for (int i = 1; i <= WORKERS; i++)
        if (s->t[CALLERS + i - 1].at != W_BLOCKED || s->wake[i] || !s->asleep[i])
            return 0;
    return !s->busy && !s->finished && !s->work.waiting && s->work.left == 0;
}

static void fail(const state *s, const char *what)
{
    printf("WRONG: %s\n", what);
    printf("word: call %u, workers %d, parts %d, next %d; left %d, waiting %d, finished %d, busy %d\n",
           (unsigned)(s->work.word >> 32), fr_word_workers(s->work.word), fr_word_parts(s->work.word),
           fr_word_next(s->work.word), s->work.left, s->work.waiting, s->finished, s->busy);
    for (int i = 0; i < CALLERS + WORKERS; i++)
        printf("thread %d at %d, call %d, part %d\n", i, s->t[i].at, s->t[i].call, s->t[i].part);
    exit(1);
}

static void read_plan(int caller, const char *text)
{
    while (*text && calls[caller] < CALLS) {
        call *c = &plan[caller][calls[caller]++];
        c->workers = (int)strtol(text, (char **)&text, 10);
        c->parts = (int)strtol(text + 1, (char **)&text, 10);
        for (; *text == 't' || *text == 's'; text++) {
            c->team |= *text == 't';
            c->timed |= *text == 's';
        }
        if (c->workers < 2 || c->workers > WORKERS + 1 || c->parts < c->workers || c->parts > MOST ||
            (*text && *text++ != ',')) {
            fprintf(stderr, "usage: pool_model 3x4,2x2ts 2x2\n");
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    state first, next;
    memset(&first, 0, sizeof first);
    fr_work_reset(&first.work);
    for (int i = 0; i < CALLERS && i + 1 < argc; i++)
        read_plan(i, argv[i + 1]);
    for (int i = 0; i < WORKERS; i++)
        first.t[CALLERS + i].at = W_CLAIM;
    place_of(&first);
    for (size_t at = 0; at < count; at++) {
        int moves = 0;
        for (int who = 0; who < CALLERS + WORKERS; who++) {
            for (int choice = 0; choice < 2; choice++) {
                memcpy(&next, &states[at], sizeof next);
                int moved = who < CALLERS ? move_caller(&next, who, choice)
                                          : move_worker(&next, who - CALLERS + 1, choice);
                if (wrong)
                    fail(&states[at], wrong);
                if (!moved)
                    continue;
                moves++;
                uint32_t to = place_of(&next);
                if (edge_count == edge_room) {
                    edge_room = edge_room ? 2 * edge_room : 1 << 16;
                    edges = grown(edges, edge_room * 2 * sizeof *edges);
                }
                edges[2 * edge_count] = (uint32_t)at;
                edges[2 * edge_count++ + 1] = to;
            }
        }
        if (!moves && !ended(&states[at]))
            fail(&states[at], "no thread can move, and not every call has ended");
    }
    /* Which states an end can be reached from: backwards from the ends. Moves lead to later states mostly, so few rounds
     * over the list from its end are enough. */
    unsigned char *good = grown(0, count);
    size_t ends = 0;
    for (size_t i = 0; i < count; i++)
        ends += good[i] = (unsigned char)ended(&states[i]);
    for (int changed = 1; changed;) {
        changed = 0;
        for (size_t i = edge_count; i-- > 0;)
            if (good[edges[2 * i + 1]] && !good[edges[2 * i]])
                changed = good[edges[2 * i]] = 1;
    }
    for (size_t i = 0; i < count; i++)
        if (!good[i])
            fail(&states[i], "no end can be reached from here");
    printf("%zu states, %zu moves, %zu ends\n", count, edge_count, ends);
    return 0;
}
