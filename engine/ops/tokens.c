/* tokens.c - what transformers need beside products and attention, threaded.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/tokens.h"

#include <math.h>
#include <string.h>

#include "ops/chunks.h"

static void layer_norm_piece(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct layer_norm_args *a = job->args;
    size_t step = chunk_rows(a->c), at = i * step;

    job->vec->layer_norm(chunk_len(a->rows, step, i), a->c, a->x + at * a->ldx,
                         a->ldx, a->gamma, a->beta, a->eps, a->y + at * a->c,
                         a->c);
}

void layer_norm(const struct op_ctx *ctx, const void *args)
{
    const struct layer_norm_args *a = args;

    vec_run(ctx, chunks_of(a->rows, chunk_rows(a->c)), layer_norm_piece, args);
}

static void glu_piece(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct glu_args *a = job->args;
    size_t step = chunk_rows(a->c), at = i * step;

    job->vec->glu(a->act, chunk_len(a->rows, step, i), a->c, a->x + at * a->ldx,
                  a->ldx, a->y + at * a->c, a->c);
}

void glu(const struct op_ctx *ctx, const void *args)
{
    const struct glu_args *a = args;

    vec_run(ctx, chunks_of(a->rows, chunk_rows(a->c)), glu_piece, args);
}

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
