/* norm.c - GroupNorm's statistics, its application, and its adjoint.
 *
 * Statistics read the data once: a block of rows stays in the cache while its
 * columns are summed and then squared about their own means; blocks and
 * columns of a group are joined in double about the group's mean (Chan, Golub
 * and LeVeque 1979, "Updating formulae and a pairwise algorithm for computing
 * sample variances").  Nothing is ever E[x^2] - E[x]^2.
 *
 * Adjoint of y = act(A xhat + B), A = gamma (1 + s), B = beta (1 + s) + t, for
 * each image, with du = dy act'(u) and sums over the image's places:
 *
 *     S1[c] = sum du,  S2[c] = sum du xhat
 *     dgamma += S2 (1 + s)   dbeta += S1 (1 + s)
 *     ds = gamma S2 + beta S1    dt = S1
 *     dx = rstd (A du - m1 - xhat m2),  m1 = sum over the group of A S1 / M,
 *                                       m2 = sum over the group of A S2 / M
 *
 * An image is one piece of work, so its second pass finds its data in the
 * second-level cache.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/norm.h"

#include <math.h>

#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/chunks.h"

/* Rows of one block: 16 KiB of x where the columns allow it, and never so
 * many that an f32 sum down a column loses more than 7 bits. */
#define BLOCK_FLOATS ((size_t)4096)
#define BLOCK_MAX    ((size_t)128)
#define BLOCK_MIN    ((size_t)16)

size_t group_norm_block(size_t c)
{
    size_t rows = BLOCK_FLOATS / c;

    if (rows > BLOCK_MAX)
        return BLOCK_MAX;
    return rows < BLOCK_MIN ? BLOCK_MIN : rows;
}

struct job {
    const struct op_ctx *ctx;
    const void *args;
};

/* -- statistics ---------------------------------------------------------- */

/* Scratch: for each image and block, c means and c centred sums of squares. */
size_t group_norm_stats_scratch(const struct kernel_table *k,
                                unsigned n_threads, uint32_t n, uint32_t hw,
                                uint32_t c)
{
    return (size_t)n * chunks_of(hw, group_norm_block(c)) * 2 * c *
           sizeof(float);
}

void group_norm_moments(const struct kernel_table *k, const float *x,
                        size_t n_pixels, size_t c, float *block)
{
    k->vec.moments(n_pixels, c, x, c, block, block + c);
}

static void moments_block(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct group_norm_stats_args *a = job->args;
    const struct vector_kernels *vec = &job->ctx->k->vec;
    size_t c = a->c0 + a->c1, step = group_norm_block(c);
    size_t per_image = chunks_of(a->hw, step);
    size_t image = i / per_image, block = i % per_image;
    size_t rows = chunk_len(a->hw, step, block);
    size_t row = image * a->hw + block * step;
    float *mean = (float *)(void *)job->ctx->scratch + i * 2 * c;
    float *m2 = mean + c;

    vec->moments(rows, a->c0, a->x0 + row * a->c0, a->c0, mean, m2);
    if (a->c1)
        vec->moments(rows, a->c1, a->x1 + row * a->c1, a->c1, mean + a->c0,
                     m2 + a->c0);
}

/* Mean and variance of channels c0 .. c0 + len of an image from its blocks. */
static void join_blocks(const struct group_norm_stats_args *a,
                        const float *blocks, size_t c0, size_t len,
                        double *out_mean, double *out_var)
{
    size_t c = a->c0 + a->c1, step = group_norm_block(c);
    size_t n_blocks = chunks_of(a->hw, step);
    double count = (double)a->hw * (double)len, sum = 0, m2 = 0;

    for (size_t b = 0; b < n_blocks; b++) {
        const float *mean = blocks + b * 2 * c + c0;
        double part = 0;

        for (size_t j = 0; j < len; j++)
            part += mean[j];
        sum += part * (double)chunk_len(a->hw, step, b);
    }
    *out_mean = sum / count;
    for (size_t b = 0; b < n_blocks; b++) {
        const float *mean = blocks + b * 2 * c + c0;
        double between = 0, within = 0;

        for (size_t j = 0; j < len; j++) {
            double d = mean[j] - *out_mean;

            between += d * d;
            within += mean[c + j];
        }
        m2 += within + between * (double)chunk_len(a->hw, step, b);
    }
    *out_var = m2 / count;
}

/* From the blocks of that image. */
static void group_stats(const struct group_norm_stats_args *a,
                        const float *blocks, size_t image, size_t group)
{
    size_t c = a->c0 + a->c1, len = c / a->groups, c0 = group * len;
    const float *e = a->e ? a->e + image * a->e_stride : NULL;
    double mean, var;

    join_blocks(a, blocks, c0, len, &mean, &var);

    double rstd = 1 / sqrt(var + (double)a->eps);

    for (size_t j = c0; j < c0 + len; j++) {
        double gain = e ? 1 + (double)e[j] : 1;
        double scale = (double)a->gamma[j] * rstd;
        double shift = (double)a->beta[j] - mean * scale;

        a->scale[image * c + j] = (float)(scale * gain);
        a->shift[image * c + j] =
            (float)(shift * gain + (e ? (double)e[c + j] : 0));
    }
    if (a->mean)
        a->mean[image * a->groups + group] = (float)mean;
    if (a->rstd)
        a->rstd[image * a->groups + group] = (float)rstd;
}

/* A batch is cut by images; few images by groups too. */
static size_t groups_a_piece(const struct group_norm_stats_args *a)
{
    return a->n >= 8 ? a->groups : 4;
}

static void stats_piece(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct group_norm_stats_args *a = job->args;
    size_t step = groups_a_piece(a), per_image = chunks_of(a->groups, step);
    size_t image = i / per_image, k = i % per_image;
    size_t n = chunk_len(a->groups, step, k), c = a->c0 + a->c1;
    const float *blocks = (const float *)(const void *)job->ctx->scratch +
                          image * chunks_of(a->hw, group_norm_block(c)) * 2 * c;

    for (size_t g = 0; g < n; g++)
        group_stats(a, blocks, image, k * step + g);
}

void group_norm_join(const struct group_norm_stats_args *args,
                     const float *blocks)
{
    for (size_t g = 0; g < args->groups; g++)
        group_stats(args, blocks, 0, g);
}

void group_norm_stats(const struct op_ctx *ctx, const void *args)
{
    const struct group_norm_stats_args *a = args;
    struct job job = {ctx, args};
    size_t c = a->c0 + a->c1;

    pool_run(ctx->pool, a->n * chunks_of(a->hw, group_norm_block(c)),
             moments_block, &job);
    pool_run(ctx->pool, a->n * chunks_of(a->groups, groups_a_piece(a)),
             stats_piece, &job);
}

/* -- application --------------------------------------------------------- */

static void affine_act_piece(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct affine_act_args *a = job->args;
    struct row_piece p = row_piece_at(a->hw, a->c, i);
    size_t at = (p.image * a->hw + p.row) * a->c, v = p.image * a->c;

    job->ctx->k->vec.affine_act(a->act, p.rows, a->c, a->x + at, a->c,
                                a->scale + v, a->shift + v, a->y + at, a->c);
}

static void act_piece(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct affine_act_args *a = job->args;
    size_t n = (size_t)a->n * a->hw * a->c, at = i * STREAM_CHUNK;
    size_t len = chunk_len(n, STREAM_CHUNK, i);

    job->ctx->k->vec.affine_act(a->act, 1, len, a->x + at, len, NULL, NULL,
                                a->y + at, len);
}

void affine_act(const struct op_ctx *ctx, const void *args)
{
    const struct affine_act_args *a = args;
    struct job job = {ctx, args};

    if (a->scale)
        pool_run(ctx->pool, row_pieces(a->n, a->hw, a->c), affine_act_piece,
                 &job);
    else
        pool_run(ctx->pool,
                 chunks_of((size_t)a->n * a->hw * a->c, STREAM_CHUNK),
                 act_piece, &job);
}

static void act_bwd_piece(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct act_bwd_args *a = job->args;
    size_t at = i * STREAM_CHUNK;

    job->ctx->k->vec.act_bwd(a->act, chunk_len(a->n, STREAM_CHUNK, i),
                             a->x + at, a->dy + at, a->dx + at,
                             a->is_accumulating);
}

void act_bwd(const struct op_ctx *ctx, const void *args)
{
    const struct act_bwd_args *a = args;
    struct job job = {ctx, args};

    pool_run(ctx->pool, chunks_of(a->n, STREAM_CHUNK), act_bwd_piece, &job);
}

/* -- adjoint ------------------------------------------------------------- */

#define BWD_VECTORS 8 /* of c floats, each worker's */

/* Scratch: S1 and S2 (later the shares of dbeta and dgamma) of each image in
 * double, then each worker's vectors. */
size_t group_norm_bwd_scratch(const struct kernel_table *k, unsigned n_threads,
                              uint32_t n, uint32_t hw, uint32_t c)
{
    return (size_t)n * 2 * c * sizeof(double) +
           n_threads * size_align(BWD_VECTORS * c * sizeof(float), 64);
}

static double *image_sums(const struct job *job, size_t image)
{
    const struct group_norm_bwd_args *a = job->args;

    return (double *)(void *)job->ctx->scratch + image * 2 * a->c;
}

static float *worker_vectors(const struct job *job, unsigned worker)
{
    const struct group_norm_bwd_args *a = job->args;
    unsigned char *base =
        job->ctx->scratch + (size_t)a->n * 2 * a->c * sizeof(double);

    return (float *)(void *)(base + worker * size_align(BWD_VECTORS * a->c *
                                                            sizeof(float),
                                                        64));
}

/* scale, shift and mean of one image's channels: u = scale x + shift. */
static void unfold_norm(const struct group_norm_bwd_args *a, size_t image,
                        float *scale, float *shift, float *mean)
{
    size_t len = a->c / a->groups;
    const float *e = a->e ? a->e + image * a->e_stride : NULL;

    for (size_t j = 0; j < a->c; j++) {
        size_t g = image * a->groups + j / len;
        double gain = e ? 1 + (double)e[j] : 1;
        double k = (double)a->gamma[j] * (double)a->rstd[g];
        double offset = (double)a->beta[j] - (double)a->mean[g] * k;

        mean[j] = a->mean[g];
        scale[j] = (float)(k * gain);
        shift[j] = (float)(offset * gain + (e ? (double)e[a->c + j] : 0));
    }
}

/* Weights of du, x - mean and 1 in dx, from the image's sums S1 and S2. */
static void weigh_dx(const struct group_norm_bwd_args *a, size_t image,
                     const double *s1, const double *s2, float *wa, float *wb,
                     float *wd)
{
    size_t len = a->c / a->groups;
    double count = (double)a->hw * (double)len;
    const float *e = a->e ? a->e + image * a->e_stride : NULL;

    for (size_t g = 0; g < a->groups; g++) {
        double rstd = (double)a->rstd[image * a->groups + g];
        double m1 = 0, m2 = 0;

        for (size_t j = g * len; j < (g + 1) * len; j++) {
            double gain = (double)a->gamma[j] * (e ? 1 + (double)e[j] : 1);

            m1 += gain * s1[j] / count;
            m2 += gain * s2[j] / count;
            wa[j] = (float)(gain * rstd);
        }
        for (size_t j = g * len; j < (g + 1) * len; j++) {
            wb[j] = (float)(-rstd * rstd * m2);
            wd[j] = (float)(-rstd * m1);
        }
    }
}

/* The image's shares of the parameters' and the scale-shift's adjoints; S1, S2
 * become the shares of dbeta, dgamma. */
static void share_sums(const struct group_norm_bwd_args *a, size_t image,
                       double *s1, double *s2)
{
    const float *e = a->e ? a->e + image * a->e_stride : NULL;

    if (!e)
        return;
    for (size_t j = 0; j < a->c; j++) {
        double gain = 1 + (double)e[j];

        if (a->de) {
            float *de = a->de + image * a->de_stride;

            de[j] = (float)((double)a->gamma[j] * s2[j] +
                            (double)a->beta[j] * s1[j]);
            de[a->c + j] = (float)s1[j];
        }
        s1[j] *= gain;
        s2[j] *= gain;
    }
}

/* du is kept unless NULL. */
static void sum_image(const struct job *job, struct norm_bwd_rows r,
                      size_t image, double *s1, double *s2, float *part,
                      float *du)
{
    const struct group_norm_bwd_args *a = job->args;
    size_t c = a->c, len = c / a->groups, step = group_norm_block(c);

    for (size_t j = 0; j < 2 * c; j++)
        s1[j] = 0;
    for (size_t row = 0; row < a->hw; row += step) {
        r.rows = a->hw - row < step ? a->hw - row : step;
        job->ctx->k->vec.norm_bwd_sums(&r, part, part + c,
                                       du ? du + row * c : NULL);
        for (size_t j = 0; j < 2 * c; j++)
            s1[j] += part[j];
        r.x += step * c;
        r.dy += step * c;
    }
    for (size_t j = 0; j < c; j++)
        s2[j] *= (double)a->rstd[image * a->groups + j / len];
}

static void group_norm_bwd_image(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct group_norm_bwd_args *a = job->args;
    size_t c = a->c, at = i * a->hw * c;
    float *v = worker_vectors(job, worker);
    float *scale = v, *shift = v + c, *mean = v + 2 * c;
    float *wa = v + 3 * c, *wb = v + 4 * c, *wd = v + 5 * c, *part = v + 6 * c;
    double *s1 = image_sums(job, i), *s2 = s1 + c;
    struct norm_bwd_rows r = {a->hw,      c,     a->act, a->x + at,
                              a->dy + at, scale, shift,  mean};

    /* Where dx is not read it holds du between the passes: the exponential is
     * taken once. */
    float *du = a->is_accumulating || a->act == ACT_NONE ? NULL : a->dx + at;

    unfold_norm(a, i, scale, shift, mean);
    sum_image(job, r, i, s1, s2, part, du);
    weigh_dx(a, i, s1, s2, wa, wb, wd);
    if (du) {
        r.act = ACT_NONE;
        r.dy = du;
    }
    job->ctx->k->vec.norm_bwd_apply(&r, wa, wb, wd, a->dx + at,
                                    a->is_accumulating);
    share_sums(a, i, s1, s2);
}

#define PARAM_COLUMNS 32

/* dbeta and dgamma of some channels: shares in the order of images. */
static void param_piece(void *arg, size_t i, unsigned worker)
{
    const struct job *job = arg;
    const struct group_norm_bwd_args *a = job->args;
    size_t c0 = i * PARAM_COLUMNS;
    size_t len = chunk_len(a->c, PARAM_COLUMNS, i);
    double dbeta[PARAM_COLUMNS] = {0}, dgamma[PARAM_COLUMNS] = {0};

    for (size_t image = 0; image < a->n; image++) {
        const double *s1 = image_sums(job, image) + c0;

        for (size_t j = 0; j < len; j++) {
            dbeta[j] += s1[j];
            dgamma[j] += s1[a->c + j];
        }
    }
    for (size_t j = 0; j < len; j++) {
        a->dbeta[c0 + j] += (float)dbeta[j];
        a->dgamma[c0 + j] += (float)dgamma[j];
    }
}

void group_norm_bwd(const struct op_ctx *ctx, const void *args)
{
    const struct group_norm_bwd_args *a = args;
    struct job job = {ctx, args};

    pool_run(ctx->pool, a->n, group_norm_bwd_image, &job);
    pool_run(ctx->pool, chunks_of(a->c, PARAM_COLUMNS), param_piece, &job);
}
