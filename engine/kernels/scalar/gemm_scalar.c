/* gemm_scalar.c - the product kernels of the scalar rung: the specification.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/gemm_kernels.h"

#include "kernels/bf16_loops.h"

#define MR 4
#define NR 8

/* acc[m][NR] += one run of k elements. */
static void add_run(float acc[MR][NR], const float *const a[MR], unsigned m,
                    const float *b, size_t n_k)
{
    for (size_t k = 0; k < n_k; k++)
        for (unsigned r = 0; r < m; r++)
            for (unsigned j = 0; j < NR; j++)
                acc[r][j] += a[r][k] * b[k * NR + j];
}

static void store(const struct gemm_tile *t, float acc[MR][NR])
{
    for (unsigned r = 0; r < t->m; r++) {
        for (unsigned j = 0; j < t->n; j++) {
            float v = acc[r][j];
            if (t->bias)
                v += t->bias[r][t->bias_at + j];
            if (t->res)
                v += t->res[r * t->ldc + j];
            t->c[r * t->ldc + j] = v * t->scale;
        }
    }
}

static void tile(const struct gemm_tile *t)
{
    float acc[MR][NR] = {{0}};
    const float *a[MR];
    const float *b = t->b;
    for (size_t run = 0; run < t->n_runs; run++) {
        for (unsigned r = 0; r < t->m; r++)
            a[r] = (const float *)t->a[r] + run * t->run_stride;
        add_run(acc, a, t->m, b, t->run_len);
        b += t->run_len * NR;
    }
    store(t, acc);
}

static void dots(const struct gemm_tile *t)
{
    size_t n_k = t->n_runs * t->run_len;
    for (unsigned r = 0; r < t->m; r++) {
        for (unsigned j = 0; j < t->n; j++) {
            const float *b = (const float *)t->b + j * n_k;
            float v = 0.0f;
            for (size_t run = 0; run < t->n_runs; run++) {
                const float *a = (const float *)t->a[r] + run * t->run_stride;
                for (size_t k = 0; k < t->run_len; k++)
                    v += a[k] * *b++;
            }
            if (t->bias)
                v += t->bias[r][t->bias_at + j];
            if (t->res)
                v += t->res[r * t->ldc + j];
            t->c[r * t->ldc + j] = v * t->scale;
        }
    }
}

static void outer(const struct gemm_outer *o)
{
    float acc[MR][NR] = {{0}};
    for (size_t y = 0; y < o->n_rows; y++) {
        for (size_t x = 0; x < o->n_cols; x++) {
            const float *b = o->b + y * o->b_row + x * o->b_step;
            for (unsigned r = 0; r < MR; r++) {
                float a = o->a[r][y * o->a_row + x * o->a_step];
                for (unsigned j = 0; j < NR; j++)
                    acc[r][j] += a * b[j];
            }
        }
    }
    for (unsigned i = 0; i < MR * NR; i++)
        o->c[i] += acc[i / NR][i % NR];
}

static void add_rows(float *sums, const float *x, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < n; j++)
            sums[j] += x[r * n + j];
}

static uint64_t burst(size_t rounds, float *sink)
{
    float acc[MR][NR];
    float x = *sink;
    for (unsigned i = 0; i < MR * NR; i++) /* all different, or they merge */
        acc[i / NR][i % NR] = (float)i;
    for (size_t i = 0; i < rounds; i++)
        for (unsigned r = 0; r < MR; r++)
            for (unsigned j = 0; j < NR; j++)
                acc[r][j] = acc[r][j] * x + x;
    for (unsigned i = 0; i < MR * NR; i++)
        *sink += acc[i / NR][i % NR];
    return (uint64_t)rounds * MR * NR * 2;
}

void gemm_kernels_scalar(struct gemm_kernels *g)
{
    *g = (struct gemm_kernels){
        .operand = DTYPE_F32,
        .mr = MR,
        .nr = NR,
        .ku = 1,
        .tile = tile,
        .dots = dots,
        .outer_mr = MR,
        .outer_nr = NR,
        .outer = outer,
        .add_rows = add_rows,
        .burst = burst,
        .round = loops_round_bf16,
    };
}
