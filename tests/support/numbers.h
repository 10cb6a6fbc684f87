/* numbers.h - what tests of kernels and operations share: random tensors,
 * guarded memory, all rungs of this CPU, comparison with a told bound.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTS_SUPPORT_NUMBERS_H
#define TESTS_SUPPORT_NUMBERS_H

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/pool.h"
#include "base/rng.h"
#include "kernels/kernels.h"
#include "ops/op.h"

#define EPS       1.1920929e-7 /* 2^-23, the spacing of floats at 1 */
#define MAX_RUNGS 8
#define GUARD     16 /* floats before and behind guarded memory */
#define SENTINEL  12345.6789f

/* Tables of every rung that this CPU runs; their number. */
static inline size_t rungs(struct kernel_table *tables)
{
    size_t n = 0;

    for (size_t i = 0; i < kernels_ladder_len && n < MAX_RUNGS; i++)
        if (kernels_select(&tables[n], kernels_ladder[i].isa))
            n++;
    return n;
}

/* n floats, not aligned, between sentinels; numbers_free(). */
static inline float *numbers_new(size_t n)
{
    float *base = test_malloc((n + 2 * GUARD + 1) * sizeof *base);

    for (size_t i = 0; i < n + 2 * GUARD + 1; i++)
        base[i] = SENTINEL;
    return base + GUARD + 1;
}

static inline float *numbers_random(size_t n, uint64_t seed, float scale)
{
    float *x = numbers_new(n);
    struct rng rng;

    rng_seed(&rng, seed);
    rng_normal_f32(&rng, x, n);
    for (size_t i = 0; i < n; i++)
        x[i] *= scale;
    return x;
}

static inline float *numbers_copy(const float *from, size_t n)
{
    float *x = numbers_new(n);

    for (size_t i = 0; i < n; i++)
        x[i] = from[i];
    return x;
}

static inline void assert_guards(const char *what, const float *x, size_t n)
{
    for (size_t i = 0; i < GUARD; i++)
        if (x[-1 - (ptrdiff_t)i] != SENTINEL || x[n + i] != SENTINEL)
            fail_msg("%s: wrote %zu floats outside of %zu", what, i + 1, n);
}

static inline void numbers_free(float *x)
{
    if (x)
        test_free(x - GUARD - 1);
}

static inline void assert_near(const char *what, const char *isa, size_t i,
                               double got, double wanted, double bound)
{
    if (!(fabs(got - wanted) <= bound))
        fail_msg("%s, %s, [%zu]: got %.9g, wanted %.9g, off by %.3g, "
                 "allowed %.3g",
                 what, isa, i, got, wanted, fabs(got - wanted), bound);
}

/* An operation's surroundings: a table, threads, scratch with a guard. */
struct bench {
    struct op_ctx ctx;
    struct pool *pool;
    size_t scratch_bytes;
};

static inline void bench_open(struct bench *b, const struct kernel_table *k,
                              unsigned n_threads, size_t scratch_bytes)
{
    b->pool = NULL;
    if (n_threads > 1)
        assert_int_equal(pool_new(&b->pool, n_threads, 0, NULL), UNSTIR_OK);
    b->scratch_bytes = scratch_bytes;
    b->ctx.k = k;
    b->ctx.pool = b->pool;
    b->ctx.scratch = aligned_alloc(64, (scratch_bytes + 191) & ~(size_t)63);
    b->ctx.scratch_bytes = scratch_bytes;
    assert_non_null(b->ctx.scratch);
    memset(b->ctx.scratch, 0x5a, (scratch_bytes + 191) & ~(size_t)63);
}

static inline void bench_close(struct bench *b)
{
    for (size_t i = 0; i < 64; i++)
        if (b->ctx.scratch[b->scratch_bytes + i] != 0x5a)
            fail_msg("wrote behind %zu bytes of scratch", b->scratch_bytes);
    free(b->ctx.scratch);
    pool_free(b->pool);
}

/* -- activations in double, the textbook formulas ------------------------- */

static inline double ref_act(enum act act, double x)
{
    switch (act) {
    case ACT_SILU:
        return x / (1 + exp(-x));
    case ACT_MISH:
        return x * tanh(x > 30 ? x : log1p(exp(x)));
    case ACT_GELU:
        return 0.5 * x * erfc(-x * sqrt(0.5));
    case ACT_RELU:
        return x > 0 ? x : 0;
    case ACT_GELU_TANH:
        return x / (1 + exp(-sqrt(8 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case ACT_QUICK_GELU:
        return x / (1 + exp(-1.702 * x));
    case ACT_TANH:
        return tanh(x);
    default:
        return x;
    }
}

#endif
