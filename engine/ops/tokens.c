/* tokens.c - what transformers need beside products and attention, threaded.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/tokens.h"

#include <math.h>
#include <string.h>

#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/chunks.h"

/* -- rows, as floats or as operands ---------------------------------------- */

/* Rows at .. at + n of an operation, to y. */
typedef void (*rows_fn)(const struct vector_kernels *vec, const void *args,
                        size_t at, size_t n, float *y);

struct rows_job {
    const struct op_ctx *ctx;
    const void *args;
    rows_fn fn;
    size_t rows, c;
    void *y;
    bool is_narrow;
};

static size_t row_bytes(size_t c)
{
    return size_align(c * sizeof(float), 64);
}

size_t tokens_narrow_scratch(unsigned n_threads, uint32_t c)
{
    return n_threads * row_bytes(c);
}

static void rows_piece(void *arg, size_t i, unsigned worker)
{
    const struct rows_job *job = arg;
    const struct gemm_kernels *g = &job->ctx->k->gemm;
    const struct vector_kernels *vec = &job->ctx->k->vec;
    size_t at = i * chunk_rows(job->c);
    size_t n = chunk_len(job->rows, chunk_rows(job->c), i);
    char *scratch = (char *)job->ctx->scratch;
    float *row;

    if (!job->is_narrow) {
        job->fn(vec, job->args, at, n, (float *)job->y + at * job->c);
        return;
    }
    row = (float *)(void *)(scratch + worker * row_bytes(job->c));
    for (size_t r = at; r < at + n; r++) {
        job->fn(vec, job->args, r, 1, row);
        g->narrow((char *)job->y + r * job->c * dtype_size(g->operand), row,
                  job->c);
    }
}

static void run_rows(struct rows_job job)
{
    pool_run(job.ctx->pool, chunks_of(job.rows, chunk_rows(job.c)), rows_piece,
             &job);
}

static void layer_norm_rows(const struct vector_kernels *vec, const void *args,
                            size_t at, size_t n, float *y)
{
    const struct layer_norm_args *a = args;

    vec->layer_norm(n, a->c, a->x + at * a->ldx, a->ldx, a->gamma, a->beta,
                    a->eps, y, a->c);
}

void layer_norm(const struct op_ctx *ctx, const void *args)
{
    const struct layer_norm_args *a = args;

    run_rows((struct rows_job){.ctx = ctx,
                               .args = a,
                               .fn = layer_norm_rows,
                               .rows = a->rows,
                               .c = a->c,
                               .y = a->y,
                               .is_narrow = a->is_narrow});
}

static void glu_rows(const struct vector_kernels *vec, const void *args,
                     size_t at, size_t n, float *y)
{
    const struct glu_args *a = args;

    vec->glu(a->act, n, a->c, a->x + at * a->ldx, a->ldx, y, a->c);
}

void glu(const struct op_ctx *ctx, const void *args)
{
    const struct glu_args *a = args;

    run_rows((struct rows_job){.ctx = ctx,
                               .args = a,
                               .fn = glu_rows,
                               .rows = a->rows,
                               .c = a->c,
                               .y = a->y,
                               .is_narrow = a->is_narrow});
}

/* -- the others ------------------------------------------------------------ */

static void mul_vec_piece(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct mul_vec_args *a = job->args;
    struct row_piece p = row_piece_at(a->hw, a->c, i);
    const float *v = a->v + p.image * a->v_stride;
    size_t at = (p.image * a->hw + p.row) * a->c;

    for (size_t r = 0; r < p.rows; r++, at += a->c)
        for (size_t j = 0; j < a->c; j++)
            a->y[at + j] = a->x[at + j] * v[j];
}

void mul_vec(const struct op_ctx *ctx, const void *args)
{
    const struct mul_vec_args *a = args;

    vec_run(ctx, row_pieces(a->n, a->hw, a->c), mul_vec_piece, args);
}

static void add_rows_piece(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct add_rows_args *a = job->args;
    size_t per_image = chunks_of(a->m, STREAM_CHUNK);
    size_t image = i / per_image, k = i % per_image;
    size_t at = image * a->m + k * STREAM_CHUNK;

    job->vec->axpby(chunk_len(a->m, STREAM_CHUNK, k), 1, a->x + at, 1,
                    a->r + k * STREAM_CHUNK, 0, a->y + at);
}

void add_rows(const struct op_ctx *ctx, const void *args)
{
    const struct add_rows_args *a = args;

    vec_run(ctx, a->n * chunks_of(a->m, STREAM_CHUNK), add_rows_piece, args);
}

/* [sin | cos] of an angle, `quarter` apart. */
static void put_wave(float *y, uint32_t quarter, double angle)
{
    y[0] = (float)sin(angle);
    y[quarter] = (float)cos(angle);
}

static void grid_embed_row(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct grid_embed_args *a = job->args;
    uint32_t half = a->c / 2, quarter = a->c / 4;
    /* Places are rounded to f32 where the reference rounds. */
    float dy = (float)a->h / a->extent, dx = (float)a->w / a->extent;

    for (uint32_t k = 0; k < quarter; k++) {
        double frequency = pow(10000, -(double)k / quarter);

        for (uint32_t j = 0; j < a->w; j++) {
            float *y = a->y + (i * a->w + j) * a->c + k;

            put_wave(y, quarter, (double)((float)j / dx) * frequency);
            put_wave(y + half, quarter, (double)((float)i / dy) * frequency);
        }
    }
}

void grid_embed(const struct op_ctx *ctx, const void *args)
{
    const struct grid_embed_args *a = args;

    vec_run(ctx, a->h, grid_embed_row, args);
}

/* One row of pixels. */
static void unpatch_row(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct unpatch_args *a = job->args;
    size_t p = a->patch, run_len = p * a->c, token = p * run_len;
    size_t row = i / p, sub = i % p; /* row counts over all images */
    const float *x = a->x + row * a->w * token + sub * run_len;
    float *y = a->y + i * a->w * run_len;

    for (size_t j = 0; j < a->w; j++)
        memcpy(y + j * run_len, x + j * token, run_len * sizeof *y);
}

void unpatch(const struct op_ctx *ctx, const void *args)
{
    const struct unpatch_args *a = args;

    vec_run(ctx, (size_t)a->n * a->h * a->patch, unpatch_row, args);
}

#define NEAREST_ROWS 64

static const float *nearest_code(const struct nearest_args *a, const float *x)
{
    const float *best = a->table;
    float least = INFINITY;

    for (uint32_t k = 0; k < a->n_codes; k++) {
        const float *code = a->table + (size_t)k * a->c;
        float sum = 0;

        for (uint32_t j = 0; j < a->c; j++)
            sum += (x[j] - code[j]) * (x[j] - code[j]);
        if (sum < least) {
            least = sum;
            best = code;
        }
    }
    return best;
}

static void nearest_piece(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct nearest_args *a = job->args;
    size_t rows = chunk_len(a->rows, NEAREST_ROWS, i);

    for (size_t r = 0; r < rows; r++) {
        size_t at = (i * NEAREST_ROWS + r) * a->c;

        memcpy(a->y + at, nearest_code(a, a->x + at), a->c * sizeof *a->y);
    }
}

void nearest(const struct op_ctx *ctx, const void *args)
{
    const struct nearest_args *a = args;

    vec_run(ctx, chunks_of(a->rows, NEAREST_ROWS), nearest_piece, args);
}
