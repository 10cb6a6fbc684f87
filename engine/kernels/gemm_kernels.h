/* gemm_kernels.h - the product kernels of a rung.
 *
 * Two shapes of product serve convolutions, linear layers and their adjoints.
 *
 * tile   C[m][n] = scale * (res + bias + sum over runs and k of A * B)
 *
 *     Each of the m <= mr rows of A has a pointer of its own, so a tile may
 *     span the ends of image rows, and even images.  The sum goes over n_runs
 *     runs of run_len contiguous elements, run_stride elements apart: of a
 *     kh x kw convolution over an NHWC image with its border in place, each
 *     of the kh filter rows is one run of kw * channels elements.  B is a
 *     panel [n_runs * run_len / ku][nr][ku], zeros behind column n.
 *
 *     For each element of C the products are added in the order of k, for
 *     every m and n: a result does not depend on what else is in the tile.
 *
 * dots   the same as tile for few columns and any number of rows
 *
 *     Where n is far below nr a panel would be mostly zeros.  Here B is n rows
 *     of n_runs * run_len elements, and lanes go along k.
 *
 * Operands of a bf16 table hold bf16 values, in one of two ways: as 16 bits
 * where the rung multiplies them so, or as floats rounded to bf16 where it
 * has f32 products only.  The products of two bf16 values are exact in f32,
 * so both give the same numbers up to the order of sums.
 *
 * outer  C[mr][nr] += sum over n_rows rows of n_cols pixels of a * b
 *
 *     The adjoint of the weights: row r of C reads one float a pixel at a[r],
 *     all columns read nr contiguous floats a pixel at b.  Always f32.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_GEMM_KERNELS_H
#define KERNELS_GEMM_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/act.h"
#include "tensor/dtype.h"

#define GEMM_MAX_MR   16 /* rows, for arrays of pointers on the stack       */
#define GEMM_MAX_NR   32
#define GEMM_MAX_DOTS 4

struct gemm_tile {
    const void *const *a;     /* [m] rows, operand type                      */
    const float *const *bias; /* [m] rows, or NULL                           */
    size_t bias_at;           /* of the tile's first column in those rows    */
    const void *b;            /* panel, operand type, 64-byte aligned        */
    size_t n_runs, run_len, run_stride; /* elements                          */
    const float *res; /* first element, ldc floats a row, or NULL    */
    float *c;         /* may be res                                  */
    size_t ldc;
    float scale;
    unsigned m, n;
};

/* m rows of A as they lie, one behind the other: C = A B + bias + res, nr
 * columns. */
struct gemm_rows {
    const void *a; /* [m][k], operand type                                   */
    const void *b; /* panel                                                  */
    const void *next;  /* the panel that is wanted next, or NULL             */
    const float *bias; /* [nr], or NULL                                      */
    const float *res;  /* first element, ldc floats a row, or NULL           */
    float *c;          /* may be res                                         */
    size_t m, k, ldc;
};

struct gemm_outer {
    const float *const *a; /* [mr]; every pointer valid                     */
    size_t a_step, a_row;  /* floats between pixels, between rows           */
    const float *b;
    size_t b_step, b_row;
    size_t n_cols, n_rows;
    float *c; /* [mr][nr] dense, 64-byte aligned               */
};

struct gemm_kernels {
    enum dtype operand; /* how rows and panels are stored: F32, or BF16      */
    bool is_bf16;       /* their values are rounded to bf16                  */
    bool is_even;       /* tiles are faster if rows are evenly spaced        */
    unsigned mr, nr;    /* tile rows and columns                             */
    unsigned ku;        /* k elements side by side in a panel: 1, or 2       */
    bool is_blas;       /* products by the system's BLAS; tile is unused     */
    void (*tile)(const struct gemm_tile *t);
    /* The products of tile() for many rows, bit by bit.  k is a multiple of ku.
     * NULL: the rung has none. */
    void (*rows)(const struct gemm_rows *g);
    /* n <= GEMM_MAX_DOTS, any m.  NULL: the rung has none. */
    void (*dots)(const struct gemm_tile *t);
    unsigned outer_mr, outer_nr;
    void (*outer)(const struct gemm_outer *o);
    /* f32 to operands, rounding to nearest even, NaN staying NaN; numbers too
     * small to be normal may become 0.  NULL where all f32 are operands. */
    void (*narrow)(void *dst, const float *src, size_t n);
    /* narrow() of act(scale[j] x[j] + shift[j]) in one pass; scale, shift both
     * NULL: of act(x[j]).  NULL: the rung has none. */
    void (*narrow_act)(void *dst, enum act act, size_t n, const float *x,
                       const float *scale, const float *shift);
    /* A panel from k rows of n <= nr floats, ld apart: zeros behind column n
     * and, up to a multiple of ku, behind row k.  NULL where ku is 1. */
    void (*panel)(void *dst, const float *src, size_t ld, size_t k, unsigned n);
    /* f32 to f32 rounded to bf16, for kernels_use_bf16_operands(). */
    void (*round)(void *dst, const float *src, size_t n);
    /* sums[j] += x[r][j] over `rows` rows of n contiguous floats. */
    void (*add_rows)(float *sums, const float *x, size_t rows, size_t n);
    /* `rounds` rounds of independent multiply-adds in registers, the most that
     * this rung could ever do; returns the operations done.  *sink is written,
     * so that nothing is optimised away. */
    uint64_t (*burst)(size_t rounds, float *sink);
};

/* Each rung's part of the table; called by the rungs' table files. */
void gemm_kernels_scalar(struct gemm_kernels *g);
void gemm_kernels_avx2(struct gemm_kernels *g);
void gemm_kernels_avx512bf16(struct gemm_kernels *g); /* an overlay of avx2  */

#endif
