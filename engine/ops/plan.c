/* plan.c - building a plan, placing its buffers, running it.
 *
 * A step's argument struct is kept as bytes with its pointers unset.  A run
 * copies it to the stack and writes the pointers there, so that one plan can
 * be run by many threads at once, each with its own arena.
 *
 * Placement: buffers by falling size; each goes to the lowest offset where
 * no placed buffer with an overlapping life stands.  That is quadratic in
 * the number of buffers and done once (a network has some hundreds).
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/plan.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/pool.h"
#include "base/size.h"

#define ALIGN 64

struct buffer {
    bool is_external; /* bound at each run; else in the arena                */
    size_t bytes;
    size_t first, last; /* steps that name it; first > last: none           */
    size_t at;          /* offset in the arena, or number of the external   */
};

struct slot {
    size_t args_offset;
    size_t byte_offset;
    buffer_id buffer;
};

struct step {
    plan_fn fn;
    size_t args_at, args_bytes; /* in the bytes of all arguments             */
    size_t slot_at, n_slots;
    size_t scratch_bytes;
    size_t name_at;
    const char *kind; /* NULL: as its name                                   */
    double flop;
    struct plan_product product; /* without a way: not described             */
};

struct plan {
    struct step *steps;
    size_t n_steps, cap_steps;
    struct slot *slots;
    size_t n_slots, cap_slots;
    struct buffer *buffers;
    size_t n_buffers, cap_buffers;
    unsigned char *args;
    size_t n_args, cap_args;
    char *names;
    size_t n_names, cap_names;
    size_t n_externals;
    size_t scratch_at, scratch_bytes, arena_bytes;
    const struct kernel_table *table;
    unsigned n_threads;
};

struct plan_builder {
    struct plan *plan;
    enum unstir_status status;
    struct unstir_error err;
};

/* -- building ---------------------------------------------------------- */

enum unstir_status plan_builder_new(struct plan_builder **out,
                                    const struct kernel_table *table,
                                    unsigned n_threads,
                                    struct unstir_error *err)
{
    enum unstir_status status;
    struct plan_builder *b;

    *out = NULL;
    TRY(alloc_zero(&b, 1, sizeof *b, err));
    status = alloc_zero(&b->plan, 1, sizeof *b->plan, err);
    if (status != UNSTIR_OK) {
        alloc_free(b);
        return status;
    }
    b->plan->table = table;
    b->plan->n_threads = n_threads ? n_threads : 1;
    *out = b;
    return UNSTIR_OK;
}

void plan_builder_free(struct plan_builder *b)
{
    if (!b)
        return;
    plan_free(b->plan);
    alloc_free(b);
}

/* Make room for `more` items of `size` behind n; false keeps the error. */
static bool grow(struct plan_builder *b, void *array, size_t *cap, size_t n,
                 size_t more, size_t size)
{
    if (b->status == UNSTIR_OK)
        b->status = alloc_grow(array, cap, n + more, size, &b->err);
    return b->status == UNSTIR_OK;
}

static buffer_id add_buffer(struct plan_builder *b, bool is_external,
                            size_t bytes)
{
    struct plan *plan = b->plan;

    if (!grow(b, &plan->buffers, &plan->cap_buffers, plan->n_buffers, 1,
              sizeof *plan->buffers))
        return PLAN_NO_BUFFER;
    if (bytes > PTRDIFF_MAX - ALIGN) {
        b->status = error_set(&b->err, UNSTIR_ERR_LIMIT,
                              "plan: a buffer of %zu bytes", bytes);
        return PLAN_NO_BUFFER;
    }
    plan->buffers[plan->n_buffers] = (struct buffer){
        .is_external = is_external,
        .bytes = size_align(bytes, ALIGN),
        .first = SIZE_MAX,
        .at = is_external ? plan->n_externals++ : 0,
    };
    return (buffer_id)plan->n_buffers++;
}

buffer_id plan_buffer(struct plan_builder *b, size_t bytes)
{
    return add_buffer(b, false, bytes);
}

buffer_id plan_external(struct plan_builder *b)
{
    return add_buffer(b, true, 0);
}

static size_t add_name(struct plan_builder *b, const char *name)
{
    struct plan *plan = b->plan;
    size_t n = strlen(name) + 1, at = plan->n_names;

    if (!grow(b, &plan->names, &plan->cap_names, plan->n_names, n, 1))
        return 0;
    memcpy(plan->names + at, name, n);
    plan->n_names += n;
    return at;
}

/* Arguments start at multiples of 16, so that no copy straddles needlessly. */
static size_t add_args(struct plan_builder *b, const void *args, size_t n)
{
    struct plan *plan = b->plan;
    size_t at = plan->n_args, room = size_align(n, 16);

    if (!grow(b, &plan->args, &plan->cap_args, plan->n_args, room, 1))
        return 0;
    memcpy(plan->args + at, args, n);
    plan->n_args += room;
    return at;
}

static void name_buffer(struct plan *plan, buffer_id id, size_t step)
{
    struct buffer *buf = &plan->buffers[id];

    if (buf->first > step)
        buf->first = step;
    buf->last = step;
}

static void add_slots(struct plan_builder *b, const struct plan_slot *slots,
                      size_t n, size_t args_bytes)
{
    struct plan *plan = b->plan;

    if (!grow(b, &plan->slots, &plan->cap_slots, plan->n_slots, n,
              sizeof *plan->slots))
        return;
    for (size_t i = 0; i < n; i++) {
        const struct plan_slot *s = &slots[i];

        if (s->buffer == PLAN_NO_BUFFER)
            continue;
        if (s->buffer >= plan->n_buffers ||
            s->args_offset + sizeof(void *) > args_bytes) {
            b->status = error_set(&b->err, UNSTIR_ERR_INTERNAL,
                                  "plan: step %zu has a wrong slot %zu",
                                  plan->n_steps, i);
            return;
        }
        plan->slots[plan->n_slots++] =
            (struct slot){s->args_offset, s->byte_offset, s->buffer};
        name_buffer(plan, s->buffer, plan->n_steps);
    }
}

void plan_add(struct plan_builder *b, const char *name, plan_fn fn,
              const void *args, size_t args_bytes, size_t scratch_bytes,
              const struct plan_slot *slots, size_t n_slots)
{
    struct plan *plan = b->plan;
    struct step step = {.fn = fn, .args_bytes = args_bytes};

    if (b->status != UNSTIR_OK)
        return;
    if (args_bytes > PLAN_MAX_ARGS || n_slots > PLAN_MAX_SLOTS) {
        b->status =
            error_set(&b->err, UNSTIR_ERR_INTERNAL,
                      "plan: %s has %zu bytes of arguments (at most "
                      "%d) and %zu slots (at most %d)",
                      name, args_bytes, PLAN_MAX_ARGS, n_slots, PLAN_MAX_SLOTS);
        return;
    }
    if (!grow(b, &plan->steps, &plan->cap_steps, plan->n_steps, 1,
              sizeof *plan->steps))
        return;
    step.scratch_bytes = scratch_bytes;
    step.name_at = add_name(b, name);
    step.args_at = add_args(b, args, args_bytes);
    step.slot_at = plan->n_slots;
    add_slots(b, slots, n_slots, args_bytes);
    step.n_slots = plan->n_slots - step.slot_at;
    if (scratch_bytes > plan->scratch_bytes)
        plan->scratch_bytes = scratch_bytes;
    if (b->status == UNSTIR_OK)
        plan->steps[plan->n_steps++] = step;
}

/* -- placing ----------------------------------------------------------- */

static int by_falling_size(const void *a, const void *b)
{
    const struct buffer *x = *(struct buffer *const *)a;
    const struct buffer *y = *(struct buffer *const *)b;

    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x < y ? -1 : x > y; /* a stable order: equal plans, equal layout */
}

static int by_rising_offset(const void *a, const void *b)
{
    const struct buffer *x = *(struct buffer *const *)a;
    const struct buffer *y = *(struct buffer *const *)b;

    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x < y ? -1 : x > y;
}

static bool lives_overlap(const struct buffer *x, const struct buffer *y)
{
    return x->first <= y->last && y->first <= x->last;
}

/* The lowest gap for `buf` between the placed buffers that live with it;
 * `near` has room for n_placed. */
static size_t lowest_gap(const struct buffer *buf, struct buffer **placed,
                         size_t n_placed, struct buffer **near)
{
    size_t n = 0, at = 0;

    for (size_t i = 0; i < n_placed; i++)
        if (lives_overlap(buf, placed[i]))
            near[n++] = placed[i];
    qsort(near, n, sizeof(struct buffer *), by_rising_offset);
    for (size_t i = 0; i < n; i++) {
        if (near[i]->at >= at + buf->bytes)
            break;
        if (near[i]->at + near[i]->bytes > at)
            at = near[i]->at + near[i]->bytes;
    }
    return at;
}

static enum unstir_status place_buffers(struct plan *plan,
                                        struct unstir_error *err)
{
    struct buffer **order, **near;
    size_t n = 0, end = 0;

    TRY(alloc_zero(&order, 2 * plan->n_buffers + 1, sizeof *order, err));
    near = order + plan->n_buffers;
    for (size_t i = 0; i < plan->n_buffers; i++) {
        struct buffer *buf = &plan->buffers[i];

        if (!buf->is_external && buf->first <= buf->last)
            order[n++] = buf;
    }
    qsort(order, n, sizeof(struct buffer *), by_falling_size);
    for (size_t i = 0; i < n; i++) {
        order[i]->at = lowest_gap(order[i], order, i, near);
        if (order[i]->at + order[i]->bytes > end)
            end = order[i]->at + order[i]->bytes;
    }
    alloc_free(order);
    if (end > PTRDIFF_MAX - plan->scratch_bytes - 2 * ALIGN)
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "plan: %zu bytes of buffers are too many", end);
    plan->scratch_at = end;
    plan->arena_bytes = end + size_align(plan->scratch_bytes, ALIGN);
    return UNSTIR_OK;
}

enum unstir_status plan_finish(struct plan **out, struct plan_builder *b,
                               struct unstir_error *err)
{
    enum unstir_status status = b->status;

    *out = NULL;
    if (status != UNSTIR_OK) {
        if (err)
            *err = b->err;
    } else {
        status = place_buffers(b->plan, err);
    }
    if (status == UNSTIR_OK) {
        *out = b->plan;
        b->plan = NULL;
    }
    plan_builder_free(b);
    return status;
}

void plan_free(struct plan *plan)
{
    if (!plan)
        return;
    alloc_free(plan->steps);
    alloc_free(plan->slots);
    alloc_free(plan->buffers);
    alloc_free(plan->args);
    alloc_free(plan->names);
    alloc_free(plan);
}

/* -- reading ----------------------------------------------------------- */

size_t plan_arena_bytes(const struct plan *plan)
{
    return plan->arena_bytes;
}

size_t plan_bytes(const struct plan *plan)
{
    return sizeof *plan + plan->cap_steps * sizeof *plan->steps +
           plan->cap_slots * sizeof *plan->slots +
           plan->cap_buffers * sizeof *plan->buffers + plan->cap_args +
           plan->cap_names;
}

size_t plan_n_steps(const struct plan *plan)
{
    return plan->n_steps;
}

void plan_describe(struct plan_builder *b, const struct plan_product *product)
{
    if (b->status == UNSTIR_OK && b->plan->n_steps > 0)
        b->plan->steps[b->plan->n_steps - 1].product = *product;
}

void plan_tell(struct plan_builder *b, const char *kind, double flop)
{
    struct step *step;

    if (b->status != UNSTIR_OK || b->plan->n_steps == 0)
        return;
    step = &b->plan->steps[b->plan->n_steps - 1];
    step->kind = kind;
    step->flop = flop;
}

const struct plan_product *plan_step_product(const struct plan *plan, size_t i)
{
    const struct plan_product *product = &plan->steps[i].product;

    return product->way ? product : NULL;
}

const char *plan_step_name(const struct plan *plan, size_t i)
{
    return plan->names + plan->steps[i].name_at;
}

const char *plan_step_kind(const struct plan *plan, size_t i)
{
    const char *kind = plan->steps[i].kind;

    return kind ? kind : plan_step_name(plan, i);
}

double plan_step_flop(const struct plan *plan, size_t i)
{
    return plan->steps[i].flop;
}

size_t plan_buffer_offset(const struct plan *plan, buffer_id id)
{
    return plan->buffers[id].at;
}

/* -- running ----------------------------------------------------------- */

static void *address_of(const struct plan *plan, const struct slot *slot,
                        unsigned char *arena, void *const *externals)
{
    const struct buffer *buf = &plan->buffers[slot->buffer];
    unsigned char *base = buf->is_external ? (unsigned char *)externals[buf->at]
                                           : arena + buf->at;

    return base ? base + slot->byte_offset : NULL;
}

static void run_step(const struct plan *plan, const struct step *step,
                     const struct op_ctx *ctx, unsigned char *arena,
                     void *const *externals)
{
    union {
        max_align_t align;
        unsigned char bytes[PLAN_MAX_ARGS];
    } args;

    memcpy(args.bytes, plan->args + step->args_at, step->args_bytes);
    for (size_t i = 0; i < step->n_slots; i++) {
        const struct slot *slot = &plan->slots[step->slot_at + i];
        void *p = address_of(plan, slot, arena, externals);

        memcpy(args.bytes + slot->args_offset, &p, sizeof p);
    }
    step->fn(ctx, args.bytes);
}

static enum unstir_status check_pool(const struct plan *plan,
                                     const struct pool *pool,
                                     struct unstir_error *err)
{
    unsigned n = pool ? pool_threads(pool) : 1;

    if (n > plan->n_threads)
        return error_set(err, UNSTIR_ERR_INTERNAL,
                         "plan: made for %u threads, run with %u",
                         plan->n_threads, n);
    return UNSTIR_OK;
}

static struct op_ctx context_of(const struct plan *plan, struct pool *pool,
                                unsigned char *arena)
{
    return (struct op_ctx){
        .k = plan->table,
        .pool = pool,
        .scratch = arena + plan->scratch_at,
        .scratch_bytes = plan->scratch_bytes,
    };
}

enum unstir_status plan_run(const struct plan *plan, struct pool *pool,
                            void *arena, void *const *externals,
                            const struct cancel *cancel,
                            struct unstir_error *err)
{
    struct op_ctx ctx = context_of(plan, pool, arena);

    TRY(check_pool(plan, pool, err));
    for (size_t i = 0; i < plan->n_steps; i++) {
        if (cancel_is_raised(cancel))
            return error_set(err, UNSTIR_ERR_CANCELLED, "cancelled");
        run_step(plan, &plan->steps[i], &ctx, arena, externals);
    }
    return UNSTIR_OK;
}

static double now_s(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

enum unstir_status plan_run_timed(const struct plan *plan, struct pool *pool,
                                  void *arena, void *const *externals,
                                  struct plan_time *times,
                                  struct unstir_error *err)
{
    struct op_ctx ctx = context_of(plan, pool, arena);

    TRY(check_pool(plan, pool, err));
    for (size_t i = 0; i < plan->n_steps; i++) {
        double cpu = now_s(CLOCK_PROCESS_CPUTIME_ID);
        double start = now_s(CLOCK_MONOTONIC);

        run_step(plan, &plan->steps[i], &ctx, arena, externals);
        times[i].s += now_s(CLOCK_MONOTONIC) - start;
        times[i].cpu_s += now_s(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    }
    return UNSTIR_OK;
}
