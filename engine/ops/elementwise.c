/* elementwise.c - sums, scalings, copies and vectors a picture, threaded.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/elementwise.h"

#include <string.h>

#include "ops/chunks.h"

static void axpby_piece(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct axpby_args *a = job->args;
    size_t at = i * STREAM_CHUNK;

    job->vec->axpby(chunk_len(a->n, STREAM_CHUNK, i), a->a, a->x0 + at, a->b,
                    a->x1 ? a->x1 + at : NULL, a->c, a->y + at);
}

void axpby(const struct op_ctx *ctx, const void *args)
{
    const struct axpby_args *a = args;

    vec_run(ctx, chunks_of(a->n, STREAM_CHUNK), axpby_piece, args);
}

static void add_vec_piece(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct add_vec_args *a = job->args;
    struct row_piece p = row_piece_at(a->hw, a->c, i);
    size_t at = (p.image * a->hw + p.row) * a->c;

    job->vec->scale_shift(p.rows, a->c, a->x + at, NULL,
                          a->v + p.image * a->v_stride, a->y + at, false);
}

void add_vec(const struct op_ctx *ctx, const void *args)
{
    const struct add_vec_args *a = args;

    vec_run(ctx, row_pieces(a->n, a->hw, a->c), add_vec_piece, args);
}

/* Columns of one image that an adjoint sums at a time; rows of one f32 sum. */
#define SUM_COLUMNS 64
#define SUM_ROWS    128

static size_t column_groups(size_t c)
{
    return chunks_of(c, SUM_COLUMNS);
}

/* Columns of x, or of x y (unless NULL): f32 sums of at most SUM_ROWS rows,
 * joined in double. */
static void sum_columns(const struct vector_kernels *vec, size_t hw, size_t c,
                        size_t ld, const float *x, const float *y,
                        double *total)
{
    float part[SUM_COLUMNS];

    for (size_t j = 0; j < c; j++)
        total[j] = 0;
    for (size_t row = 0; row < hw; row += SUM_ROWS) {
        size_t rows = hw - row < SUM_ROWS ? hw - row : SUM_ROWS;

        if (y)
            vec->column_dots(rows, c, x + row * ld, y + row * ld, ld, part);
        else
            vec->column_sums(rows, c, x + row * ld, ld, part);
        for (size_t j = 0; j < c; j++)
            total[j] += part[j];
    }
}

static void add_vec_bwd_piece(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct add_vec_bwd_args *a = job->args;
    size_t image = i / column_groups(a->c), group = i % column_groups(a->c);
    size_t c0 = group * SUM_COLUMNS;
    size_t c = chunk_len(a->c, SUM_COLUMNS, group);
    float *dv = a->dv + image * a->dv_stride + c0;
    double total[SUM_COLUMNS];

    sum_columns(job->vec, a->hw, c, a->c, a->dy + image * a->hw * a->c + c0,
                NULL, total);
    for (size_t j = 0; j < c; j++)
        dv[j] = (a->is_accumulating ? dv[j] : 0) + (float)total[j];
}

void add_vec_bwd(const struct op_ctx *ctx, const void *args)
{
    const struct add_vec_bwd_args *a = args;

    vec_run(ctx, a->n * column_groups(a->c), add_vec_bwd_piece, args);
}

static void scale_shift_piece(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct scale_shift_args *a = job->args;
    struct row_piece p = row_piece_at(a->hw, a->c, i);
    size_t at = (p.image * a->hw + p.row) * a->c;
    const float *e = a->e + p.image * a->e_stride;

    job->vec->scale_shift(p.rows, a->c, a->x + at, e, e + a->c, a->y + at,
                          false);
}

void scale_shift(const struct op_ctx *ctx, const void *args)
{
    const struct scale_shift_args *a = args;

    vec_run(ctx, row_pieces(a->n, a->hw, a->c), scale_shift_piece, args);
}

/* de of one image and SUM_COLUMNS columns: sums of dy x and of dy.  Done
 * before dx is written, which may be dy. */
static void scale_shift_de_piece(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct scale_shift_bwd_args *a = job->args;
    size_t image = i / column_groups(a->c), group = i % column_groups(a->c);
    size_t c0 = group * SUM_COLUMNS;
    size_t c = chunk_len(a->c, SUM_COLUMNS, group);
    size_t at = image * a->hw * a->c + c0;
    float *de = a->de + image * a->de_stride + c0;
    double shift[SUM_COLUMNS], scale[SUM_COLUMNS];

    sum_columns(job->vec, a->hw, c, a->c, a->dy + at, NULL, shift);
    sum_columns(job->vec, a->hw, c, a->c, a->dy + at, a->x + at, scale);
    for (size_t j = 0; j < c; j++) {
        de[j] = (float)scale[j];
        de[a->c + j] = (float)shift[j];
    }
}

static void scale_shift_dx_piece(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct scale_shift_bwd_args *a = job->args;
    struct row_piece p = row_piece_at(a->hw, a->c, i);
    size_t at = (p.image * a->hw + p.row) * a->c;

    job->vec->scale_shift(p.rows, a->c, a->dy + at,
                          a->e + p.image * a->e_stride, NULL, a->dx + at,
                          a->is_accumulating);
}

void scale_shift_bwd(const struct op_ctx *ctx, const void *args)
{
    const struct scale_shift_bwd_args *a = args;

    vec_run(ctx, a->n * column_groups(a->c), scale_shift_de_piece, args);
    vec_run(ctx, row_pieces(a->n, a->hw, a->c), scale_shift_dx_piece, args);
}

static void copy_columns_piece(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct copy_columns_args *a = job->args;
    size_t step = chunk_rows(a->c), rows = chunk_len(a->rows, step, i);
    const float *src = a->src + i * step * a->src_c + a->src_c0;
    float *dst = a->dst + i * step * a->dst_c + a->dst_c0;

    for (size_t r = 0; r < rows; r++, src += a->src_c, dst += a->dst_c) {
        if (a->is_accumulating)
            job->vec->axpby(a->c, 1, dst, 1, src, 0, dst);
        else
            memcpy(dst, src, a->c * sizeof *dst);
    }
}

void copy_columns(const struct op_ctx *ctx, const void *args)
{
    const struct copy_columns_args *a = args;

    vec_run(ctx, chunks_of(a->rows, chunk_rows(a->c)), copy_columns_piece,
            args);
}

static void div_vec_piece(void *arg, size_t i, unsigned worker)
{
    const struct vec_job *job = arg;
    const struct div_vec_args *a = job->args;
    size_t per_image = chunks_of(a->m, STREAM_CHUNK);
    size_t image = i / per_image, k = i % per_image;
    size_t at = image * a->m + k * STREAM_CHUNK;

    job->vec->div_scalar(chunk_len(a->m, STREAM_CHUNK, k), a->x + at,
                         a->v[image], a->y + at);
}

void div_vec(const struct op_ctx *ctx, const void *args)
{
    const struct div_vec_args *a = args;

    vec_run(ctx, a->n * chunks_of(a->m, STREAM_CHUNK), div_vec_piece, args);
}
