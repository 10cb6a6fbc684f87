/* executor.c - one worker's threads, arena and plans, and evaluation by them.
 *
 * Plans are kept by network, part and size, the least recently used going
 * first when there are too many or they take too much.  The arena grows to the
 * hungriest plan used so far.  After the first evaluation of a size nothing
 * is allocated any more (tests/unit/t_network.c counts).
 *
 * A network with a head or a text (ops/lower.h) is evaluated in parts: rows.c
 * keeps the rows that heads computed, text_rows.c those of the texts of the
 * last batch, and the body reads those of its pictures.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/compiler.h"
#include "base/pool.h"
#include "model/network.h"
#include "model/network_parts.h"
#include "model/profile.h"
#include "model/rows.h"
#include "model/text_rows.h"
#include "ops/plan.h"

#define MAX_PLANS      32
#define MAX_PLAN_BYTES (16U << 20)

/* Networks whose rows are kept, and the bytes for each: a whole schedule of
 * 1,000 steps of a small network, 200 of a large one. */
#define MAX_ROW_SETS  4
#define MAX_ROW_BYTES ((size_t)16 << 20)

/* Rows that a head computes at once: few plans, and weights are read once for
 * many rows. */
static const uint32_t head_batches[] = {16, 4, 1};
#define MAX_HEAD_BATCH 16

struct cached_plan {
    struct plan *plan; /* NULL: a free place                                 */
    const struct network *net;
    uint64_t opened_ns;
    enum lower_part part;
    struct model_size size; /* 0 what the part does not depend on            */
    uint64_t used_at; /* in evaluations of the executor                      */
};

struct row_set {
    struct rows *rows; /* NULL: a free place                                 */
    const struct network *net;
    uint64_t opened_ns;
    uint64_t used_at;
};

struct executor {
    struct pool *pool;
    struct arena arena;
    size_t max_arena_bytes;
    struct cached_plan plans[MAX_PLANS];
    size_t plan_bytes;
    struct row_set row_sets[MAX_ROW_SETS];
    float *row_memory; /* rows of a batch, keys and rows of a head           */
    size_t row_memory_floats;
    struct text_rows text_rows;
    uint64_t n_evals;
    struct profile *profile; /* NULL: no time is taken                       */
};

enum unstir_status executor_new_placed(struct executor **out,
                                       unsigned n_threads, int nice,
                                       enum unstir_pin pin,
                                       size_t max_arena_bytes,
                                       struct unstir_error *err)
{
    struct executor *x;
    enum unstir_status status;

    *out = NULL;
    TRY(alloc_zero(&x, 1, sizeof *x, err));
    x->max_arena_bytes = max_arena_bytes ? max_arena_bytes : SIZE_MAX;
    status = pool_new_placed(&x->pool, n_threads, nice, pin, err);
    if (status != UNSTIR_OK) {
        alloc_free(x);
        return status;
    }
    *out = x;
    return UNSTIR_OK;
}

enum unstir_status executor_new(struct executor **out, unsigned n_threads,
                                int nice, size_t max_arena_bytes,
                                struct unstir_error *err)
{
    return executor_new_placed(out, n_threads, nice, UNSTIR_PIN_AUTO,
                               max_arena_bytes, err);
}

void executor_free(struct executor *x)
{
    if (!x)
        return;
    for (size_t i = 0; i < MAX_PLANS; i++)
        plan_free(x->plans[i].plan);
    for (size_t i = 0; i < MAX_ROW_SETS; i++)
        rows_free(x->row_sets[i].rows);
    alloc_free(x->row_memory);
    text_rows_fini(&x->text_rows);
    arena_fini(&x->arena);
    pool_free(x->pool);
    alloc_free(x);
}

unsigned executor_threads(const struct executor *x)
{
    return pool_threads(x->pool);
}

void executor_set_profile(struct executor *x, struct profile *profile)
{
    x->profile = profile;
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

static bool is_plan_of(const struct cached_plan *c,
                       const struct cached_plan *wanted)
{
    return c->plan && c->net == wanted->net &&
           c->opened_ns == wanted->opened_ns && c->part == wanted->part &&
           c->size.n == wanted->size.n && c->size.h == wanted->size.h &&
           c->size.w == wanted->size.w &&
           c->size.context_len == wanted->size.context_len;
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

/* The smallest graph that has a part: edges and tokens that it does not depend
 * on are as few as can be. */
static struct model_size whole_size(const struct network *net,
                                    struct model_size size)
{
    if (size.h == 0)
        size.h = size.w = network_smallest_edge(&net->facts);
    if (size.context_len == 0)
        size.context_len = 1;
    return size;
}

static struct model_size size_of_part(enum lower_part part, uint32_t n,
                                      const struct network_io *io)
{
    struct model_size size = {n, io->h, io->w, io->context_len};

    if (part == LOWER_HEAD)
        size.context_len = 0;
    if (part == LOWER_HEAD || part == LOWER_TEXT)
        size.h = size.w = 0;
    return size;
}

static enum unstir_status new_plan(struct executor *x,
                                   struct cached_plan *wanted,
                                   const struct network_io *io,
                                   struct unstir_error *err)
{
    const struct network *net = wanted->net;
    struct model_size size = whole_size(net, wanted->size);
    enum unstir_status status;

    TRY(network_plan(&wanted->plan, net, wanted->part, &size,
                     pool_threads(x->pool), err));
    status = check_arena(x, wanted->plan, io, err);
    if (status != UNSTIR_OK) {
        plan_free(wanted->plan);
        return status;
    }
    *free_place(x, plan_bytes(wanted->plan)) = *wanted;
    x->plan_bytes += plan_bytes(wanted->plan);
    return UNSTIR_OK;
}

/* The plan of a part for n pictures of io's size. */
static enum unstir_status find_plan(struct executor *x, struct plan **out,
                                    const struct network *net,
                                    enum lower_part part, uint32_t n,
                                    const struct network_io *io,
                                    struct unstir_error *err)
{
    struct cached_plan wanted = {.net = net,
                                 .opened_ns = net->opened_ns,
                                 .part = part,
                                 .size = size_of_part(part, n, io),
                                 .used_at = x->n_evals};

    for (size_t i = 0; i < MAX_PLANS; i++) {
        if (is_plan_of(&x->plans[i], &wanted)) {
            x->plans[i].used_at = x->n_evals;
            *out = x->plans[i].plan;
            return UNSTIR_OK;
        }
    }
    TRY(new_plan(x, &wanted, io, err));
    *out = wanted.plan;
    return UNSTIR_OK;
}

/* In the arena, which is large enough. */
static enum unstir_status run_plan(struct executor *x, const struct plan *plan,
                                   void *const *externals,
                                   const struct cancel *cancel,
                                   struct unstir_error *err)
{
    enum unstir_status status;

    pool_hold(x->pool);
    status = x->profile ? profile_run(x->profile, plan, x->pool, x->arena.base,
                                      externals, err)
                        : plan_run(plan, x->pool, x->arena.base, externals,
                                   cancel, err);
    pool_release(x->pool);
    return status;
}

/* Run it.  rows, text_rows: of the pictures, or NULL. */
static enum unstir_status
run_part(struct executor *x, const struct network *net, enum lower_part part,
         const struct network_io *io, float *rows, float *text_rows,
         const struct cancel *cancel, struct unstir_error *err)
{
    const struct model_facts *facts = &net->facts;
    void *externals[11];
    size_t n = 0;
    struct plan *plan;

    TRY(find_plan(x, &plan, net, part, io->n, io, err));
    TRY(arena_reserve(&x->arena, plan_arena_bytes(plan), err));
    externals[n++] = (void *)io->sample;
    if (facts->has_timestep)
        externals[n++] = (void *)io->timestep;
    if (facts->has_label)
        externals[n++] = (void *)io->label;
    if (facts->context_width)
        externals[n++] = (void *)io->context;
    if (facts->pooled_width) {
        externals[n++] = (void *)io->text_embeds;
        externals[n++] = (void *)io->time_ids;
    }
    if (facts->guidance_width)
        externals[n++] = (void *)io->timestep_cond;
    externals[n++] = io->out;
    externals[n++] = rows;
    externals[n++] = text_rows;
    externals[n] = io->deep;
    return run_plan(x, plan, externals, cancel, err);
}

enum unstir_status executor_run_plan(struct executor *x,
                                     const struct plan *plan, const char *what,
                                     void *const *externals,
                                     const struct cancel *cancel,
                                     struct unstir_error *err)
{
    if (plan_arena_bytes(plan) > x->max_arena_bytes)
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "%s needs %zu bytes to compute; the ceiling is %zu",
                         what, plan_arena_bytes(plan), x->max_arena_bytes);
    TRY(arena_reserve(&x->arena, plan_arena_bytes(plan), err));
    return run_plan(x, plan, externals, cancel, err);
}

/* -- rows -------------------------------------------------------------- */

/* Rows on their way from heads to a batch of pictures. */
struct row_work {
    struct executor *x;
    const struct network *net;
    const struct network_io *io;
    const struct cancel *cancel;
    struct rows *rows;
    size_t n_key, n_row, n_label; /* floats */
    float *of_pictures;           /* [io->n][n_row]                          */
    /* Of the head to be run. */
    float *timestep, *label, *out;
    uint32_t n; /* keys that wait */
    float *key; /* one, being put together */
};

static enum unstir_status find_rows(struct executor *x, struct rows **out,
                                    const struct network *net, size_t n_key,
                                    struct unstir_error *err)
{
    struct row_set *place = &x->row_sets[0];
    struct rows *rows;

    for (size_t i = 0; i < MAX_ROW_SETS; i++) {
        struct row_set *set = &x->row_sets[i];

        if (set->rows && set->net == net && set->opened_ns == net->opened_ns) {
            set->used_at = x->n_evals;
            *out = set->rows;
            return UNSTIR_OK;
        }
        if (set->used_at < place->used_at)
            place = set;
    }
    TRY(rows_new(&rows, n_key, net->rows.step, MAX_ROW_BYTES, err));
    rows_free(place->rows);
    *place = (struct row_set){rows, net, net->opened_ns, x->n_evals};
    *out = rows;
    return UNSTIR_OK;
}

static float *cut_floats(float **memory, size_t n)
{
    float *piece = *memory;

    *memory += n;
    return piece;
}

static enum unstir_status row_work_init(struct row_work *w,
                                        struct unstir_error *err)
{
    struct executor *x = w->x;
    const struct model_facts *facts = &w->net->facts;
    size_t total;
    void *p;

    w->n_row = w->net->rows.step;
    w->n_label = facts->has_label ? facts->label_width : 0;
    w->n_key = 1 + w->n_label;
    TRY(find_rows(x, &w->rows, w->net, w->n_key, err));
    total = (w->io->n + (size_t)MAX_HEAD_BATCH) * w->n_row +
            (MAX_HEAD_BATCH + (size_t)1) * w->n_key;
    if (total > x->row_memory_floats) {
        TRY(alloc_aligned(&p, total, sizeof(float), err));
        alloc_free(x->row_memory);
        x->row_memory = p;
        x->row_memory_floats = total;
    }
    float *memory = x->row_memory;
    w->of_pictures = cut_floats(&memory, w->io->n * w->n_row);
    w->out = cut_floats(&memory, MAX_HEAD_BATCH * w->n_row);
    w->timestep = cut_floats(&memory, MAX_HEAD_BATCH);
    w->label = cut_floats(&memory, MAX_HEAD_BATCH * w->n_label);
    w->key = cut_floats(&memory, w->n_key);
    return UNSTIR_OK;
}

/* Of place i among timesteps and labels. */
static const float *make_key(const struct row_work *w, const float *timestep,
                             const float *label, size_t i)
{
    w->key[0] = timestep[i];
    if (w->n_label)
        memcpy(w->key + 1, label + i * w->n_label, w->n_label * sizeof(float));
    return w->key;
}

static const float *picture_key(const struct row_work *w, size_t i)
{
    return make_key(w, w->io->timestep, w->io->label, i);
}

/* Compute the rows of all keys that wait and keep them. */
static enum unstir_status run_heads(struct row_work *w,
                                    struct unstir_error *err)
{
    for (uint32_t at = 0, i = 0; at < w->n;) {
        struct network_io io = *w->io;

        while (head_batches[i] > w->n - at)
            i++;
        io.n = head_batches[i];
        io.sample = NULL;
        io.timestep = w->timestep + at;
        io.label = w->label + at * w->n_label;
        io.out = NULL;
        TRY(run_part(w->x, w->net, LOWER_HEAD, &io, w->out, NULL, w->cancel,
                     err));
        for (uint32_t k = 0; k < io.n; k++)
            memcpy(
                rows_put(w->rows, make_key(w, w->timestep, w->label, at + k)),
                w->out + k * w->n_row, w->n_row * sizeof(float));
        at += io.n;
    }
    w->n = 0;
    return UNSTIR_OK;
}

/* Let w->key wait if it is new; *n_left counts down. */
static enum unstir_status want_row(struct row_work *w, size_t *n_left,
                                   struct unstir_error *err)
{
    if (rows_find(w->rows, w->key))
        return UNSTIR_OK;
    for (uint32_t i = 0; i < w->n; i++)
        if (memcmp(&w->timestep[i], w->key, sizeof(float)) == 0 &&
            (w->n_label == 0 || memcmp(w->label + i * w->n_label, w->key + 1,
                                       w->n_label * sizeof(float)) == 0))
            return UNSTIR_OK;
    w->timestep[w->n] = w->key[0];
    if (w->n_label)
        memcpy(w->label + w->n * w->n_label, w->key + 1,
               w->n_label * sizeof(float));
    w->n++;
    (*n_left)--;
    return w->n == MAX_HEAD_BATCH ? run_heads(w, err) : UNSTIR_OK;
}

/* Rows of the pictures from i on and of what is said to come, as many as can
 * be kept without pushing out each other. */
static enum unstir_status fill_rows(struct row_work *w, size_t i,
                                    struct unstir_error *err)
{
    size_t n_left = (rows_capacity(w->rows) + 1) / 2;
    const struct network_io *io = w->io;

    for (; i < io->n && n_left > 0; i++) {
        (void)picture_key(w, i);
        TRY(want_row(w, &n_left, err));
    }
    for (size_t k = 0; io->ahead && n_left > 0 &&
                       io->ahead(io->ahead_arg, k, w->key, w->key + 1);
         k++)
        TRY(want_row(w, &n_left, err));
    return run_heads(w, err);
}

static enum unstir_status gather_rows(struct row_work *w,
                                      struct unstir_error *err)
{
    TRY(row_work_init(w, err));
    for (size_t i = 0; i < w->io->n; i++) {
        const float *row = rows_find(w->rows, picture_key(w, i));

        if (!row) {
            TRY(fill_rows(w, i, err));
            row = rows_find(w->rows, picture_key(w, i));
        }
        memcpy(w->of_pictures + i * w->n_row, row, w->n_row * sizeof(float));
    }
    return UNSTIR_OK;
}

/* -- texts ------------------------------------------------------------- */

/* Rows of the contexts of a batch: each that is not there is computed. */
static enum unstir_status gather_texts(struct executor *x,
                                       const struct network *net,
                                       const struct network_io *io,
                                       const struct cancel *cancel,
                                       struct unstir_error *err)
{
    struct text_rows *t = &x->text_rows;
    size_t n_key = (size_t)io->context_len * net->facts.context_width;
    size_t n_row = (size_t)io->context_len * net->rows.text;
    struct network_io one = *io;

    TRY(text_rows_reserve(t, net, io->n, n_key, n_row, err));
    one.n = 1;
    for (size_t i = 0; i < io->n; i++) {
        one.context = io->context + i * n_key;
        if (text_rows_find(t, i, one.context))
            continue;
        TRY(run_part(x, net, LOWER_TEXT, &one, NULL, text_rows_begin(t, i),
                     cancel, err));
        text_rows_end(t, i, one.context);
    }
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

static enum unstir_status check_conditions(const struct model_facts *facts,
                                           const struct network_io *io,
                                           struct unstir_error *err)
{
    const struct {
        const char *name;
        const float *given;
        uint32_t width;
    } conditions[] = {
        {"a text (context)", io->context, facts->context_width},
        {"text_embeds", io->text_embeds, facts->pooled_width},
        {"time_ids", io->time_ids, facts->n_time_ids},
        {"timestep_cond", io->timestep_cond, facts->guidance_width},
    };

    for (size_t i = 0; i < ARRAY_LEN(conditions); i++)
        if ((conditions[i].given != NULL) != (conditions[i].width > 0))
            return error_set(
                err, UNSTIR_ERR_ARG, "the network %s %s, and %s given",
                conditions[i].width ? "needs" : "knows no", conditions[i].name,
                conditions[i].given ? "one is" : "none is");
    return UNSTIR_OK;
}

static enum unstir_status check_io(const struct network *net,
                                   const struct network_io *io,
                                   struct unstir_error *err)
{
    const struct model_facts *facts = &net->facts;

    if (io->n == 0 || !io->sample || !io->out ||
        (facts->has_timestep && !io->timestep))
        return error_set(err, UNSTIR_ERR_ARG,
                         "an evaluation needs pictures, timesteps and a place "
                         "for the result");
    if (io->deep ? !net->info.is_deep : io->is_shallow)
        return error_set(err, UNSTIR_ERR_ARG,
                         io->deep ? "the network has no shallow layers that "
                                    "could be evaluated alone"
                                  : "what the deep layers left is missing");
    TRY(check_conditions(facts, io, err));
    if (facts->has_label && !io->label)
        return error_set(err, UNSTIR_ERR_ARG,
                         "the network is class-conditional: a label is needed");
    if (!facts->has_label && io->label)
        return error_set(err, UNSTIR_ERR_ARG,
                         "the network is not class-conditional: no label is "
                         "possible");
    if (facts->has_timestep)
        TRY(check_rows("the timestep", io->timestep, io->n,
                       facts->timestep_rows, err));
    if (io->label)
        TRY(check_rows("the class", io->label, io->n, facts->label_rows, err));
    return UNSTIR_OK;
}

static enum lower_part body_of(const struct network_io *io)
{
    if (!io->deep)
        return LOWER_BODY;
    return io->is_shallow ? LOWER_BODY_SHALLOW : LOWER_BODY_DEEP;
}

enum unstir_status network_eval(const struct network *net, struct executor *x,
                                const struct network_io *io,
                                const struct cancel *cancel,
                                struct unstir_error *err)
{
    struct row_work w = {.x = x, .net = net, .io = io, .cancel = cancel};

    TRY(network_check_loaded(net, err)); /* plans may outlive the weights */
    TRY(check_io(net, io, err));
    x->n_evals++;
    if (net->rows.step == 0 && net->rows.text == 0)
        return run_part(x, net, LOWER_WHOLE, io, NULL, NULL, cancel, err);
    if (net->rows.step)
        TRY(gather_rows(&w, err));
    if (net->rows.text)
        TRY(gather_texts(x, net, io, cancel, err));
    return run_part(x, net, body_of(io), io, w.of_pictures, x->text_rows.rows,
                    cancel, err);
}

static enum unstir_status add_arena_bytes(const struct network *net,
                                          enum lower_part part,
                                          struct model_size size, size_t *bytes,
                                          struct unstir_error *err)
{
    struct plan *plan;

    TRY(network_plan(&plan, net, part, &size, pool_usable_cpus(), err));
    if (plan_arena_bytes(plan) > *bytes)
        *bytes = plan_arena_bytes(plan);
    plan_free(plan);
    return UNSTIR_OK;
}

enum unstir_status network_arena_bytes(const struct network *net, uint32_t n,
                                       uint32_t h, uint32_t w, size_t *bytes,
                                       struct unstir_error *err)
{
    struct model_size size = {n, h, w, NETWORK_CONTEXT_LEN};
    struct model_size head = {.n = MAX_HEAD_BATCH};
    struct model_size text = {.n = 1, .context_len = NETWORK_CONTEXT_LEN};

    *bytes = 0;
    if (net->rows.step == 0 && net->rows.text == 0)
        return add_arena_bytes(net, LOWER_WHOLE, size, bytes, err);
    if (net->rows.step)
        TRY(add_arena_bytes(net, LOWER_HEAD, whole_size(net, head), bytes,
                            err));
    if (net->rows.text)
        TRY(add_arena_bytes(net, LOWER_TEXT, whole_size(net, text), bytes,
                            err));
    return add_arena_bytes(net, LOWER_BODY, size, bytes, err);
}
