/* t_ops_no_alloc.c - no operation allocates: the engine's count of allocations
 * stays as it was while every operation of this family runs on two threads.
 *
 * SPDX-License-Identifier: MIT
 */
#include "numbers.h"

#include "base/alloc.h"
#include "base/compiler.h"
#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/embed.h"
#include "ops/optim.h"
#include "ops/norm.h"
#include "ops/resample.h"

#define N    2
#define SIDE 8
#define HW   (SIDE * SIDE)
#define C    12
#define ALL  (N * HW * C)

/* Memory that all operations share; what they compute does not matter. */
struct memory {
    float x[4 * ALL], y[4 * ALL], z[4 * ALL], v[4 * ALL], d[4 * ALL];
    float small[8][2 * N * C];
    double sum;
};

static void run_norms(const struct op_ctx *ctx, struct memory *m)
{
    float *gamma = m->small[0], *beta = m->small[1], *e = m->small[2];
    float *scale = m->small[3], *shift = m->small[4];
    float *mean = m->small[5], *rstd = m->small[6], *de = m->small[7];
    struct group_norm_stats_args stats = {
        N,    HW,    8,    C - 8, 4,     2 * C, 1e-5f, m->x,
        m->y, gamma, beta, e,     scale, shift, mean,  rstd};
    struct affine_act_args apply = {N,    HW,    C,     ACT_SILU,
                                    m->x, scale, shift, m->y};
    struct group_norm_bwd_args bwd = {
        N,    HW,   C,     4,    2 * C, 2 * C, ACT_SILU, false, m->x, m->y,
        mean, rstd, gamma, beta, e,     m->z,  scale,    shift, de};
    struct act_bwd_args act = {ALL, ACT_MISH, false, m->x, m->y, m->z};

    group_norm_stats(ctx, &stats);
    affine_act(ctx, &apply);
    group_norm_bwd(ctx, &bwd);
    act_bwd(ctx, &act);
}

static void run_attention(const struct op_ctx *ctx, struct memory *m)
{
    struct attention_args a = {N, 2,    C / 2, HW,   HW,   C,    C,    C,
                               C, 0.5f, false, m->x, m->y, m->z, m->v, m->d};
    struct attention_bwd_args bwd = {a, m->x, m->v, m->z, m->y};

    attention_run(ctx, &a);
    attention_bwd(ctx, &bwd);
}

static void run_resampling(const struct op_ctx *ctx, struct memory *m)
{
    struct upsample_nearest_args up = {N,        SIDE,     SIDE, C,
                                       2 * SIDE, 2 * SIDE, m->x, m->y};
    struct upsample_nearest_bwd_args up_bwd = {
        N, SIDE, SIDE, C, 2 * SIDE, 2 * SIDE, false, m->y, m->x};
    struct avg_pool2_args pool = {N, SIDE, SIDE, C, m->x, m->y};
    struct avg_pool2_bwd_args pool_bwd = {N, SIDE, SIDE, C, true, m->y, m->x};
    struct fir_args fir = {N,        SIDE,     SIDE, C,
                           SIDE / 2, SIDE / 2, 1,    2,
                           4,        1,        1,    {0.1f, 0.4f, 0.4f, 0.1f},
                           m->x,     m->y};
    struct fir_bwd_args fir_b = {fir, false, m->y, m->z};

    upsample_nearest(ctx, &up);
    upsample_nearest_bwd(ctx, &up_bwd);
    avg_pool2(ctx, &pool);
    avg_pool2_bwd(ctx, &pool_bwd);
    fir_run(ctx, &fir);
    fir_bwd(ctx, &fir_b);
}

static void run_streams(const struct op_ctx *ctx, struct memory *m)
{
    float *v = m->small[0], *e = m->small[1], *id = m->small[2];
    struct axpby_args sum = {ALL, 1, 2, 3, m->x, m->y, m->z};
    struct add_vec_args add = {N, HW, C, C, m->x, v, m->y};
    struct add_vec_bwd_args add_b = {N, HW, C, C, false, m->x, v};
    struct scale_shift_args ss = {N, HW, C, 2 * C, m->x, e, m->y};
    struct scale_shift_bwd_args ss_b = {
        N, HW, C, 2 * C, 2 * C, false, m->x, e, m->y, m->z, m->small[3]};
    struct copy_columns_args copy = {N * HW, 5, C, 2, C, 0, true, m->x, m->y};
    struct div_vec_args quotient = {N, HW * C, m->x, v, m->y};

    id[0] = id[1] = 1;

    struct time_embed_args time = {N, C, true, 0, 1, 10000, id, m->y};
    struct fourier_embed_args fourier = {N, C, true, true, id, v, m->y};
    struct lookup_args look = {N, C, 3, id, m->x, m->y};
    struct lookup_bwd_args look_b = {N, C, 3, id, m->y, m->z};

    axpby(ctx, &sum);
    add_vec(ctx, &add);
    add_vec_bwd(ctx, &add_b);
    scale_shift(ctx, &ss);
    scale_shift_bwd(ctx, &ss_b);
    copy_columns(ctx, &copy);
    div_vec(ctx, &quotient);
    time_embed(ctx, &time);
    fourier_embed(ctx, &fourier);
    lookup(ctx, &look);
    lookup_bwd(ctx, &look_b);
}

static void run_training(const struct op_ctx *ctx, struct memory *m)
{
    struct squared_error_args error = {N,    HW * C, m->x,       m->y,
                                       NULL, m->z,   m->small[0]};
    struct sum_squares_args squares = {ALL, m->x, &m->sum};
    struct adamw_args step = {.n = ALL,
                              .lr = 1e-3f,
                              .beta1 = 0.9f,
                              .beta2 = 0.999f,
                              .eps = 1e-8f,
                              .c1 = 0.1f,
                              .c2 = 0.001f,
                              .grad_scale = 1,
                              .p = m->x,
                              .g = m->y,
                              .m = m->z,
                              .v = m->v,
                              .ema = m->d};

    squared_error(ctx, &error);
    sum_squares(ctx, &squares);
    adamw(ctx, &step);
}

static void check_count(void (*family)(const struct op_ctx *ctx,
                                       struct memory *m))
{
    static struct memory m;
    struct kernel_table tables[MAX_RUNGS];
    size_t n = rungs(tables);

    for (size_t r = 0; r < n; r++) {
        struct bench b;
        uint64_t before;

        for (size_t i = 0; i < ARRAY_LEN(m.x); i++)
            m.x[i] = m.y[i] = m.z[i] = m.v[i] = (float)(i % 17) * 0.1f;
        bench_open(&b, &tables[r], 2, 1 << 18);
        before = alloc_test_count();
        family(&b.ctx, &m);
        assert_int_equal(alloc_test_count(), before);
        bench_close(&b);
    }
}

static void test_norms(void **state)
{
    check_count(run_norms);
}
static void test_attention(void **state)
{
    check_count(run_attention);
}
static void test_resampling(void **state)
{
    check_count(run_resampling);
}
static void test_streams(void **state)
{
    check_count(run_streams);
}
static void test_training(void **state)
{
    check_count(run_training);
}

/* The count itself counts. */
static void test_the_count_counts(void **state)
{
    uint64_t before = alloc_test_count();
    void *p;

    assert_int_equal(alloc_zero(&p, 1, 8, NULL), UNSTIR_OK);
    alloc_free(p);
    assert_true(alloc_test_count() > before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_resampling),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_the_count_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
