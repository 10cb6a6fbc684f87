/* params.c - lay out, draw, load and pack the parameters of a graph.
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/params.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/affix.h"
#include "base/alloc.h"
#include "base/rng.h"
#include "base/size.h"
#include "format/weights.h"
#include "train/grow.h"

#define ALIGN_FLOATS 16

static int is_trained(const struct graph_param *gp)
{
    return gp->role != PARAM_FOURIER;
}

static int is_matrix(const struct graph_param *gp)
{
    return gp->role == PARAM_CONV_WEIGHT || gp->role == PARAM_LINEAR_WEIGHT;
}

static enum unstir_status params_layout(struct params *s, const struct graph *g,
                                        struct unstir_error *err)
{
    s->n_params = graph_n_params(g);
    TRY(alloc_zero(&s->offset, s->n_params, sizeof *s->offset, err));
    for (int trained = 1; trained >= 0; trained--) {
        for (param_id p = 0; p < s->n_params; p++) {
            const struct graph_param *gp = graph_param_at(g, p);
            if (is_trained(gp) != trained)
                continue;
            s->offset[p] = s->n;
            if (!size_add(s->n, size_align(gp->n, ALIGN_FLOATS), &s->n))
                return error_set(err, UNSTIR_ERR_LIMIT, "too many parameters");
        }
        if (trained)
            s->n_trained = s->n;
    }
    return UNSTIR_OK;
}

enum unstir_status params_init(struct params *s, const struct graph *g,
                               struct unstir_error *err)
{
    memset(s, 0, sizeof *s);
    enum unstir_status status = params_layout(s, g, err);
    float **const arrays[] = {&s->p, &s->g, &s->m, &s->v, &s->ema};
    for (size_t i = 0; status == UNSTIR_OK && i < ARRAY_LEN(arrays); i++)
        status = alloc_aligned(arrays[i], s->n, sizeof(float), err);
    if (status != UNSTIR_OK)
        params_fini(s);
    return status;
}

void params_fini(struct params *s)
{
    alloc_free(s->offset);
    alloc_free(s->p);
    alloc_free(s->g);
    alloc_free(s->m);
    alloc_free(s->v);
    alloc_free(s->ema);
    memset(s, 0, sizeof *s);
}

/* -- first values -------------------------------------------------------- */

/* Layers that end a residual branch, and the network's last one. */
static int starts_at_zero(const char *name)
{
    static const char *const layers[] = {"conv2", "to_out.0", "conv_out"};
    for (size_t i = 0; i < ARRAY_LEN(layers); i++)
        for (int is_bias = 0; is_bias < 2; is_bias++) {
            char tail[32];
            snprintf(tail, sizeof tail, "%s.%s", layers[i],
                     is_bias ? "bias" : "weight");
            if (affix_ends(name, tail))
                return 1;
        }
    return 0;
}

static void draw_one(struct rng *rng, const struct graph_param *gp, float *x)
{
    float bound = 1.0f / sqrtf((float)(gp->fan_in ? gp->fan_in : 1));
    switch (gp->role) {
    case PARAM_CONV_WEIGHT:
    case PARAM_LINEAR_WEIGHT:
    case PARAM_BIAS:
        if (starts_at_zero(gp->name))
            bound = 0;
        rng_fill_uniform_f32(rng, x, gp->n);
        for (size_t i = 0; i < gp->n; i++)
            x[i] = (2 * x[i] - 1) * bound + 0.0f; /* never -0 */
        break;
    case PARAM_NORM_WEIGHT:
        for (size_t i = 0; i < gp->n; i++)
            x[i] = 1;
        break;
    case PARAM_NORM_BIAS:
        break;
    case PARAM_TABLE:
        rng_normal_f32(rng, x, gp->n);
        break;
    case PARAM_FOURIER:
        /* Of deviation 2: with the 16 that is usual neighbouring levels of
         * noise have nothing in common, and a short training has to learn each
         * by itself.  As half precision has them: rounded when a model is
         * written, they would turn the angles it was trained with. */
        rng_normal_f32(rng, x, gp->n);
        for (size_t i = 0; i < gp->n; i++)
            x[i] = rintf(x[i] * 128) / 64;
        break;
    }
}

enum unstir_status params_draw(struct params *s, const struct graph *g,
                               uint64_t seed, struct unstir_error *err)
{
    struct rng rng;
    (void)err;
    rng_seed(&rng, seed);
    for (param_id p = 0; p < s->n_params; p++)
        draw_one(&rng, graph_param_at(g, p), s->p + s->offset[p]);
    return UNSTIR_OK;
}

static enum unstir_status load_one(float *x, const struct graph_param *gp,
                                   const struct weights *w, const char *name,
                                   struct unstir_error *err)
{
    const struct tensor_view *t = weights_find(w, name);
    if (!t)
        return error_set(err, UNSTIR_ERR_FORMAT, "tensor \"%s\" is missing",
                         name);
    int fits = t->rank == gp->rank && t->n == gp->n;
    for (uint32_t i = 0; fits && i < gp->rank; i++)
        fits = t->dims[i] == gp->dims[i];
    if (!fits)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "tensor \"%s\" has %zu elements in %u dimensions; "
                         "the network wants %zu in %u",
                         name, t->n, t->rank, gp->n, gp->rank);
    dtype_load(x, t->data, t->dtype, t->n);
    return UNSTIR_OK;
}

/* The first tensor of the file that nothing is named after. */
static const char *left_over(const struct weights *w, const struct graph *g)
{
    for (size_t i = 0; i < weights_len(w); i++) {
        param_id p = 0;
        char from[GROW_NAME_MAX];
        const char *name = weights_at(w, i)->name;
        for (; p < graph_n_params(g); p++)
            if (grow_source(g, w, graph_param_at(g, p)->name, from) ==
                    GROW_TAKEN &&
                strcmp(from, name) == 0)
                break;
        if (p == graph_n_params(g))
            return name;
    }
    return NULL;
}

enum unstir_status params_load(struct params *s, const struct graph *g,
                               const struct weights *w,
                               struct unstir_error *err)
{
    size_t n_taken = 0;
    for (param_id p = 0; p < s->n_params; p++) {
        const struct graph_param *gp = graph_param_at(g, p);
        float *x = s->p + s->offset[p];
        char from[GROW_NAME_MAX];
        switch (grow_source(g, w, gp->name, from)) {
        case GROW_TAKEN:
            TRY(load_one(x, gp, w, from, err));
            n_taken++;
            break;
        case GROW_DRAWN:
            break;
        case GROW_PASSING:
            grow_pass(x, gp->dims[0], gp->dims[1]);
            break;
        case GROW_ZERO:
            memset(x, 0, gp->n * sizeof *x);
            break;
        }
    }
    if (n_taken == weights_len(w))
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_FORMAT,
                     "tensor \"%s\" has no place in the network: the model has "
                     "more layers, levels or attention than it",
                     left_over(w, g));
}

void params_start_mean(struct params *s)
{
    memcpy(s->ema, s->p, s->n * sizeof *s->p);
}

/* -- packs --------------------------------------------------------------- */

static struct conv2d_pack_job job_of(const struct graph_param *gp,
                                     const float *w, bool is_adjoint)
{
    int is_conv = gp->role == PARAM_CONV_WEIGHT;
    return (struct conv2d_pack_job){
        .w = w,
        .cout = gp->dims[0],
        .cin = gp->dims[1],
        .kh = is_conv ? gp->dims[2] : 1,
        .kw = is_conv ? gp->dims[3] : 1,
        .is_adjoint = is_adjoint,
    };
}

static size_t job_bytes(const struct kernel_table *table,
                        const struct conv2d_pack_job *j)
{
    size_t n = j->is_adjoint
                   ? conv2d_packed_bytes(table, j->cout, j->cin, j->kh, j->kw)
                   : conv2d_packed_bytes(table, j->cin, j->cout, j->kh, j->kw);
    return size_align(n, 64);
}

enum unstir_status train_packs_init(struct train_packs *t,
                                    const struct graph *g,
                                    const struct kernel_table *table,
                                    const struct params *s,
                                    struct unstir_error *err)
{
    enum unstir_status status;
    size_t bytes = 0, n = 0, at = 0;
    memset(t, 0, sizeof *t);
    for (param_id p = 0; p < s->n_params; p++)
        n += is_matrix(graph_param_at(g, p)) ? 2 : 0;
    status = alloc_zero(&t->jobs, n, sizeof *t->jobs, err);
    if (status == UNSTIR_OK)
        status = alloc_zero(&t->forward, s->n_params, sizeof *t->forward, err);
    if (status == UNSTIR_OK)
        status = alloc_zero(&t->adjoint, s->n_params, sizeof *t->adjoint, err);
    if (status != UNSTIR_OK)
        goto out;
    for (param_id p = 0; p < s->n_params; p++) {
        const struct graph_param *gp = graph_param_at(g, p);
        for (int adj = 0; is_matrix(gp) && adj < 2; adj++) {
            t->jobs[t->n_jobs] = job_of(gp, s->p + s->offset[p], adj);
            bytes += job_bytes(table, &t->jobs[t->n_jobs++]);
        }
    }
    status = alloc_aligned(&t->memory, bytes, 1, err);
    if (status != UNSTIR_OK)
        goto out;
    n = 0;
    for (param_id p = 0; p < s->n_params; p++) {
        for (int adj = 0; is_matrix(graph_param_at(g, p)) && adj < 2; adj++) {
            struct conv2d_pack_job *j = &t->jobs[n++];
            j->dst = t->memory + at;
            at += job_bytes(table, j);
            (adj ? t->adjoint : t->forward)[p] = j->dst;
        }
    }
out:
    if (status != UNSTIR_OK)
        train_packs_fini(t);
    return status;
}

void train_packs_fini(struct train_packs *t)
{
    alloc_free(t->jobs);
    alloc_free(t->forward);
    alloc_free(t->adjoint);
    alloc_free(t->memory);
    memset(t, 0, sizeof *t);
}

void train_repack(const struct op_ctx *ctx, const void *args)
{
    const struct repack_args *a = args;
    conv2d_pack_many(ctx, a->jobs, a->n);
}
