/* resample.c - nearest upsampling, 2x2 means and FIR resampling, adjoints.
 *
 * Everything gathers: an output row (or, for adjoints, an input row) is one
 * piece of work that only reads, so pieces never write the same place.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/resample.h"

#include <string.h>

#include "ops/chunks.h"

#define MAX_TAPS  8
#define MAX_TERMS (MAX_TAPS * MAX_TAPS + 1)

static size_t nearest(size_t o, size_t in, size_t out)
{
    return o * in / out;
}

static void upsample_row(void *arg, size_t i, unsigned worker)
{
    const struct upsample_nearest_args *a = ((const struct vec_job *)arg)->args;
    size_t image = i / a->oh, iy = nearest(i % a->oh, a->h, a->oh);
    const float *x = a->x + (image * a->h + iy) * a->w * a->c;
    float *y = a->y + i * a->ow * a->c;

    for (size_t ox = 0; ox < a->ow; ox++)
        memcpy(y + ox * a->c, x + nearest(ox, a->w, a->ow) * a->c,
               a->c * sizeof *y);
}

void upsample_nearest(const struct op_ctx *ctx, const void *args)
{
    const struct upsample_nearest_args *a = args;

    vec_run(ctx, (size_t)a->n * a->oh, upsample_row, args);
}

/* The first output place whose nearest source is at least i. */
static size_t first_of(size_t i, size_t in, size_t out)
{
    return (i * out + in - 1) / in;
}

static void upsample_bwd_cell(const struct vector_kernels *vec,
                              const struct upsample_nearest_bwd_args *a,
                              size_t row, size_t ix)
{
    size_t image = row / a->h, iy = row % a->h;
    float *dx = a->dx + (row * a->w + ix) * a->c;
    size_t y_end = first_of(iy + 1, a->h, a->oh);
    size_t x_end = first_of(ix + 1, a->w, a->ow);

    if (!a->is_accumulating)
        memset(dx, 0, a->c * sizeof *dx);
    for (size_t oy = first_of(iy, a->h, a->oh); oy < y_end; oy++)
        for (size_t ox = first_of(ix, a->w, a->ow); ox < x_end; ox++) {
            const float *dy =
                a->dy + ((image * a->oh + oy) * a->ow + ox) * a->c;

            vec->axpby(a->c, 1, dx, 1, dy, 0, dx);
        }
}

static void upsample_bwd_row(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct upsample_nearest_bwd_args *a = job->args;

    for (size_t ix = 0; ix < a->w; ix++)
        upsample_bwd_cell(job->vec, a, i, ix);
}

void upsample_nearest_bwd(const struct op_ctx *ctx, const void *args)
{
    const struct upsample_nearest_bwd_args *a = args;

    vec_run(ctx, (size_t)a->n * a->h, upsample_bwd_row, args);
}

static void avg_pool2_row(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct avg_pool2_args *a = job->args;
    size_t oh = a->h / 2, ow = a->w / 2, row = (size_t)a->w * a->c;
    const float *x = a->x + (i / oh * a->h + i % oh * 2) * row;

    job->vec->mean_cells2(ow, a->c, x, x + row, a->y + i * ow * a->c);
}

void avg_pool2(const struct op_ctx *ctx, const void *args)
{
    const struct avg_pool2_args *a = args;

    vec_run(ctx, (size_t)a->n * (a->h / 2), avg_pool2_row, args);
}

static void avg_pool2_bwd_row(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct avg_pool2_bwd_args *a = job->args;
    size_t oh = a->h / 2, ow = a->w / 2, image = i / a->h, iy = i % a->h;
    float *dx = a->dx + i * a->w * a->c;

    for (size_t ix = 0; ix < a->w; ix++, dx += a->c) {
        bool is_covered = iy / 2 < oh && ix / 2 < ow;

        if (is_covered) {
            const float *dy =
                a->dy + ((image * oh + iy / 2) * ow + ix / 2) * a->c;

            job->vec->axpby(a->c, 0.25f, dy, 1, a->is_accumulating ? dx : NULL,
                            0, dx);
        } else if (!a->is_accumulating) {
            memset(dx, 0, a->c * sizeof *dx);
        }
    }
}

void avg_pool2_bwd(const struct op_ctx *ctx, const void *args)
{
    const struct avg_pool2_bwd_args *a = args;

    vec_run(ctx, (size_t)a->n * a->h, avg_pool2_bwd_row, args);
}

/* Along one axis: the samples that an output (or, for the adjoint, an input)
 * is made of, with their taps. */
struct axis_terms {
    size_t n;
    size_t at[MAX_TAPS];
    float tap[MAX_TAPS];
};

/* out[o] = sum over k of taps[n_taps - 1 - k] z[o down + k - pad0], where z is
 * x with up - 1 zeros after each sample. */
static struct axis_terms fir_gather(const struct fir_args *a, size_t o,
                                    uint32_t len)
{
    struct axis_terms t = {0};

    for (uint32_t k = 0; k < a->n_taps; k++) {
        int64_t z = (int64_t)o * a->down + k - a->pad0;

        if (z < 0 || z % a->up || z / a->up >= len)
            continue;
        t.at[t.n] = (size_t)(z / a->up);
        t.tap[t.n++] = a->taps[a->n_taps - 1 - k];
    }
    return t;
}

/* The outputs that input i went into: o down + k - pad0 = i up. */
static struct axis_terms fir_scatter(const struct fir_args *a, size_t i,
                                     uint32_t out_len)
{
    struct axis_terms t = {0};

    for (uint32_t k = 0; k < a->n_taps; k++) {
        int64_t o = (int64_t)i * a->up + a->pad0 - k;

        if (o < 0 || o % a->down || o / a->down >= out_len)
            continue;
        t.at[t.n] = (size_t)(o / a->down);
        t.tap[t.n++] = a->taps[a->n_taps - 1 - k];
    }
    return t;
}

/* dst = sum over ty x tx of planes src[image][rows][w][c]; with `start` not
 * NULL, that is the first term. */
static void fir_pixel(const struct vector_kernels *vec,
                      const struct axis_terms *ty, const struct axis_terms *tx,
                      const float *src, uint32_t w, uint32_t c,
                      const float *start, float *dst)
{
    const float *x[MAX_TERMS];
    float weight[MAX_TERMS];
    size_t n = 0;

    if (start) {
        x[n] = start;
        weight[n++] = 1;
    }
    for (size_t j = 0; j < ty->n; j++)
        for (size_t i = 0; i < tx->n; i++) {
            x[n] = src + (ty->at[j] * w + tx->at[i]) * c;
            weight[n++] = ty->tap[j] * tx->tap[i];
        }
    vec->weighted_sum(n, x, weight, c, dst);
}

static void fir_row(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct fir_args *a = job->args;
    const float *x = a->x + i / a->oh * a->h * a->w * a->c;
    struct axis_terms ty = fir_gather(a, i % a->oh, a->h);

    for (size_t ox = 0; ox < a->ow; ox++) {
        struct axis_terms tx = fir_gather(a, ox, a->w);

        fir_pixel(job->vec, &ty, &tx, x, a->w, a->c, NULL,
                  a->y + (i * a->ow + ox) * a->c);
    }
}

void fir_run(const struct op_ctx *ctx, const void *args)
{
    const struct fir_args *a = args;

    vec_run(ctx, (size_t)a->n * a->oh, fir_row, args);
}

static void fir_bwd_row(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct fir_bwd_args *b = job->args;
    const struct fir_args *a = &b->fwd;
    const float *dy = b->dy + i / a->h * a->oh * a->ow * a->c;
    struct axis_terms ty = fir_scatter(a, i % a->h, a->oh);

    for (size_t ix = 0; ix < a->w; ix++) {
        struct axis_terms tx = fir_scatter(a, ix, a->ow);
        float *dx = b->dx + (i * a->w + ix) * a->c;

        fir_pixel(job->vec, &ty, &tx, dy, a->ow, a->c,
                  b->is_accumulating ? dx : NULL, dx);
    }
}

void fir_bwd(const struct op_ctx *ctx, const void *args)
{
    const struct fir_bwd_args *b = args;

    vec_run(ctx, (size_t)b->fwd.n * b->fwd.h, fir_bwd_row, args);
}
