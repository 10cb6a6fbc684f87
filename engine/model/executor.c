/* executor.c - one worker's threads, arena and plans, and evaluation by them.
 *
 * Plans are kept by network and size, the least recently used going first
 * when there are too many or they take too much.  The arena grows to the
 * hungriest plan used so far.  After the first evaluation of a size nothing
 * is allocated any more (tests/unit/t_network.c counts).
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/pool.h"
#include "model/network.h"
#include "model/network_parts.h"
#include "ops/plan.h"

#define MAX_PLANS      32
#define MAX_PLAN_BYTES (16U << 20)

struct cached_plan {
    struct plan *plan; /* NULL: a free place                                 */
    const struct network *net;
    uint64_t opened_ns;
    uint32_t n, h, w;
    uint64_t used_at; /* in evaluations of the executor                      */
};

struct executor {
    struct pool *pool;
    struct arena arena;
    size_t max_arena_bytes;
    struct cached_plan plans[MAX_PLANS];
    size_t plan_bytes;
    uint64_t n_evals;
};

enum unstir_status executor_new(struct executor **out, unsigned n_threads,
                                int nice, size_t max_arena_bytes,
                                struct unstir_error *err)
{
    struct executor *x;
    enum unstir_status status;
    void *p;

    *out = NULL;
    TRY(alloc_zero(&p, 1, sizeof *x, err));
    x = p;
    x->max_arena_bytes = max_arena_bytes ? max_arena_bytes : SIZE_MAX;
    status = pool_new(&x->pool, n_threads, nice, err);
    if (status != UNSTIR_OK) {
        alloc_free(x);
        return status;
    }
    *out = x;
    return UNSTIR_OK;
}

void executor_free(struct executor *x)
{
    if (!x)
        return;
    for (size_t i = 0; i < MAX_PLANS; i++)
        plan_free(x->plans[i].plan);
    arena_fini(&x->arena);
    pool_free(x->pool);
    alloc_free(x);
}

unsigned executor_threads(const struct executor *x)
{
    return pool_threads(x->pool);
}

struct pool *executor_pool(struct executor *x)
{
    return x->pool;
}

/* -- plans ------------------------------------------------------------- */

static void drop_plan(struct executor *x, struct cached_plan *c)
{
    x->plan_bytes -= plan_bytes(c->plan);
    plan_free(c->plan);
    *c = (struct cached_plan){.plan = NULL};
}

static struct cached_plan *least_recent(struct executor *x)
{
    struct cached_plan *found = NULL;

    for (size_t i = 0; i < MAX_PLANS; i++) {
        struct cached_plan *c = &x->plans[i];

        if (c->plan && (!found || c->used_at < found->used_at))
            found = c;
    }
    return found;
}

static struct cached_plan *free_place(struct executor *x, size_t bytes)
{
    struct cached_plan *old;

    while (x->plan_bytes + bytes > MAX_PLAN_BYTES &&
           (old = least_recent(x)) != NULL)
        drop_plan(x, old);
    for (size_t i = 0; i < MAX_PLANS; i++)
        if (!x->plans[i].plan)
            return &x->plans[i];
    old = least_recent(x);
    drop_plan(x, old);
    return old;
}

static bool is_plan_of(const struct cached_plan *c, const struct network *net,
                       const struct network_io *io)
{
    return c->plan && c->net == net && c->opened_ns == net->opened_ns &&
           c->n == io->n && c->h == io->h && c->w == io->w;
}

static enum unstir_status check_arena(const struct executor *x,
                                      const struct plan *plan,
                                      const struct network_io *io,
                                      struct unstir_error *err)
{
    if (plan_arena_bytes(plan) <= x->max_arena_bytes)
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_LIMIT,
                     "%u picture(s) of %u x %u need %zu bytes to compute; the "
                     "ceiling is %zu",
                     io->n, io->w, io->h, plan_arena_bytes(plan),
                     x->max_arena_bytes);
}

static enum unstir_status find_plan(struct executor *x, struct plan **out,
                                    const struct network *net,
                                    const struct network_io *io,
                                    struct unstir_error *err)
{
    enum unstir_status status;
    struct cached_plan *place;
    struct plan *plan;

    for (size_t i = 0; i < MAX_PLANS; i++) {
        if (is_plan_of(&x->plans[i], net, io)) {
            x->plans[i].used_at = x->n_evals;
            *out = x->plans[i].plan;
            return UNSTIR_OK;
        }
    }
    TRY(network_plan(&plan, net, io->n, io->h, io->w, pool_threads(x->pool),
                     err));
    status = check_arena(x, plan, io, err);
    if (status != UNSTIR_OK) {
        plan_free(plan);
        return status;
    }
    place = free_place(x, plan_bytes(plan));
    *place = (struct cached_plan){plan,  net,   net->opened_ns, io->n,
                                  io->h, io->w, x->n_evals};
    x->plan_bytes += plan_bytes(plan);
    *out = plan;
    return UNSTIR_OK;
}

/* -- evaluating -------------------------------------------------------- */

/* Whole numbers 0 .. rows - 1; rows 0: anything. */
static enum unstir_status check_rows(const char *what, const float *x,
                                     uint32_t n, uint32_t rows,
                                     struct unstir_error *err)
{
    for (uint32_t i = 0; rows && i < n; i++)
        if (!(x[i] >= 0 && x[i] < (float)rows) || x[i] != floorf(x[i]))
            return error_set(err, UNSTIR_ERR_ARG,
                             "%s is %g; it must be a whole number, 0 to %u",
                             what, (double)x[i], rows - 1);
    return UNSTIR_OK;
}

static enum unstir_status check_io(const struct network *net,
                                   const struct network_io *io,
                                   struct unstir_error *err)
{
    const struct model_facts *facts = &net->facts;

    if (io->n == 0 || !io->sample || !io->timestep || !io->out)
        return error_set(err, UNSTIR_ERR_ARG,
                         "an evaluation needs pictures, timesteps and a place "
                         "for the result");
    if (facts->has_label && !io->label)
        return error_set(err, UNSTIR_ERR_ARG,
                         "the network is class-conditional: a label is needed");
    if (!facts->has_label && io->label)
        return error_set(err, UNSTIR_ERR_ARG,
                         "the network is not class-conditional: no label is "
                         "possible");
    TRY(check_rows("the timestep", io->timestep, io->n, facts->timestep_rows,
                   err));
    if (io->label)
        TRY(check_rows("the class", io->label, io->n, facts->label_rows, err));
    return UNSTIR_OK;
}

enum unstir_status network_eval(const struct network *net, struct executor *x,
                                const struct network_io *io,
                                const struct cancel *cancel,
                                struct unstir_error *err)
{
    void *externals[4];
    size_t n = 0;
    struct plan *plan;

    TRY(check_io(net, io, err));
    x->n_evals++;
    TRY(find_plan(x, &plan, net, io, err));
    TRY(arena_reserve(&x->arena, plan_arena_bytes(plan), err));
    externals[n++] = (void *)io->sample;
    externals[n++] = (void *)io->timestep;
    if (net->facts.has_label)
        externals[n++] = (void *)io->label;
    externals[n] = io->out;
    return plan_run(plan, x->pool, x->arena.base, externals, cancel, err);
}

enum unstir_status network_arena_bytes(const struct network *net, uint32_t n,
                                       uint32_t h, uint32_t w, size_t *bytes,
                                       struct unstir_error *err)
{
    struct plan *plan;

    *bytes = 0;
    TRY(network_plan(&plan, net, n, h, w, pool_usable_cpus(), err));
    *bytes = plan_arena_bytes(plan);
    plan_free(plan);
    return UNSTIR_OK;
}
