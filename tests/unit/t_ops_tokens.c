/* t_ops_tokens.c - the operations of transformers against plain loops in
 * double, with any number of threads.
 *
 * Where an operation only moves floats or rounds once, bits are compared; the
 * kernels' own bounds are in tests/kern/t_vector.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include "numbers.h"

#include "base/alloc.h"
#include "base/compiler.h"
#include "ops/conv2d.h"
#include "ops/linear_glu.h"
#include "ops/plan.h"
#include "ops/tokens.h"

/* Run fn on every rung with 1, 2 and 4 threads: y must not depend on their
 * number.  Leaves the last rung's y. */
static void run_everywhere(plan_fn fn, const void *args, float *y, size_t n)
{
    struct kernel_table tables[MAX_RUNGS];
    size_t n_tables = rungs(tables);

    for (size_t r = 0; r < n_tables; r++) {
        float *first = NULL;

        for (unsigned threads = 1; threads <= 4; threads *= 2) {
            struct bench b;

            bench_open(&b, &tables[r], threads, 0);
            fn(&b.ctx, args);
            bench_close(&b);
            if (!first)
                first = numbers_copy(y, n);
            assert_memory_equal(first, y, n * sizeof *y);
            assert_guards("y", y, n);
        }
        numbers_free(first);
    }
}

/* Rows in many pieces: 40 rows of 3000 are 8 pieces. */
static void test_norm_and_glu_in_pieces(void **state)
{
    enum { ROWS = 40, C = 3000, LD = 2 * C + 5 };
    float *x = numbers_random(ROWS * LD, 1, 1), *y = numbers_new(ROWS * C);
    struct layer_norm_args norm = {ROWS, C, LD, 1e-5f, x, NULL, NULL, y, false};
    struct glu_args gate = {ROWS, C, LD, ACT_GELU, x, y, false};

    run_everywhere(layer_norm, &norm, y, ROWS * C);
    for (size_t r = 0; r < ROWS; r++) {
        double sum = 0, squares = 0;

        for (size_t j = 0; j < C; j++) {
            sum += y[r * C + j];
            squares += (double)y[r * C + j] * y[r * C + j];
        }
        assert_near("mean", "", r, sum / C, 0, 1e-6);
        assert_near("variance", "", r, squares / C, 1, 2e-5 + 1e-5);
    }
    run_everywhere(glu, &gate, y, ROWS * C);
    for (size_t i = 0; i < ROWS * C; i++) {
        const float *at = x + i / C * LD + i % C;
        double wanted = at[0] * ref_act(ACT_GELU, at[C]);

        assert_near("glu", "", i, y[i], wanted,
                    (8 + at[C] * at[C]) * EPS * fabs(wanted) + 1e-30);
    }
    numbers_free(x);
    numbers_free(y);
}

/* Rows stored as operands are the floats, narrowed. */
static void check_narrow(const struct kernel_table *k, plan_fn fn,
                         const void *floats, const void *args, const float *y,
                         const void *narrow, size_t n)
{
    size_t size = dtype_size(k->gemm.operand);
    float *want = numbers_new(n);

    for (unsigned threads = 1; threads <= 4; threads *= 2) {
        struct bench b;

        bench_open(&b, k, threads, tokens_narrow_scratch(threads, 3000));
        fn(&b.ctx, floats);
        fn(&b.ctx, args);
        bench_close(&b);
        k->gemm.narrow(want, y, n);
        assert_memory_equal(narrow, want, n * size);
        assert_guards("narrow", narrow, n);
    }
    numbers_free(want);
}

static void test_rows_of_operands(void **state)
{
    enum { ROWS = 40, C = 3000, LD = 2 * C + 5 };
    float *x = numbers_random(ROWS * LD, 1, 1), *y = numbers_new(ROWS * C);
    float *z = numbers_new(ROWS * C); /* has room for operands of any size */
    struct layer_norm_args norm = {ROWS, C, LD, 1e-5f, x, NULL, NULL, y, false};
    struct layer_norm_args norm_z = norm;
    struct glu_args gate = {ROWS, C, LD, ACT_GELU, x, y, false};
    struct glu_args gate_z = gate;
    struct kernel_table tables[MAX_RUNGS];
    size_t n_tables = rungs(tables);

    norm_z.y = gate_z.y = z;
    norm_z.is_narrow = gate_z.is_narrow = true;
    for (size_t r = 0; r < n_tables; r++) {
        if (!tables[r].gemm.narrow)
            continue;
        check_narrow(&tables[r], layer_norm, &norm, &norm_z, y, z, ROWS * C);
        check_narrow(&tables[r], glu, &gate, &gate_z, y, z, ROWS * C);
    }
    numbers_free(x);
    numbers_free(y);
    numbers_free(z);
}

/* The same from operands, to operands or floats: by blocks. */
static void check_gated_operands(const struct kernel_table *k, unsigned threads,
                                 struct linear_glu_args a, size_t n_x,
                                 size_t n_y, bool is_narrow)
{
    struct conv2d_shape stripe = linear_glu_stripe(&a.linear.s);
    float *x = numbers_new(n_x), *y = numbers_new(n_y),
          *want = numbers_new(n_y);
    struct bench b;

    k->gemm.narrow(x, a.linear.x0, n_x);
    if (is_narrow)
        k->gemm.narrow(want, a.y, n_y);
    else
        memcpy(want, a.y, n_y * sizeof *want);
    a.linear.x0 = x;
    a.linear.has_operands = true;
    a.is_narrow = is_narrow;
    a.y = y;
    bench_open(&b, k, threads,
               linear_glu_scratch(&a.linear.s,
                                  conv2d_scratch_of(k, threads, &stripe,
                                                    &(struct conv2d_kind){
                                                        .is_plain = true,
                                                        .has_operands = true}),
                                  threads));
    linear_glu(&b.ctx, &a);
    bench_close(&b);
    assert_memory_equal(
        y, want, n_y * (is_narrow ? dtype_size(k->gemm.operand) : sizeof *y));
    assert_guards("y", y, n_y);
    numbers_free(x);
    numbers_free(y);
    numbers_free(want);
}

/* In stripes the bits are those of the product and the gate one by one: 230
 * rows of 10,240 are three stripes, the last a short one. */
static void check_gated(const struct kernel_table *k, unsigned threads)
{
    enum { ROWS = 230, CIN = 24, COUT = 10240 };
    float *x = numbers_random(ROWS * CIN, 5, 1);
    float *w = numbers_random(COUT * CIN, 6, 1);
    float *bias = numbers_random(COUT, 7, 1);
    float *v = numbers_new((size_t)ROWS * COUT);
    float *y = numbers_new((size_t)ROWS * COUT / 2);
    float *want = numbers_new((size_t)ROWS * COUT / 2);
    struct linear_glu_args a = {.linear = {.s = {1, 1, ROWS, CIN, 0, 1, ROWS,
                                                 COUT, 1, 1, 1, 0, 0, 1, ROWS},
                                           .out_scale = 1,
                                           .x0 = x,
                                           .bias = bias,
                                           .y = v},
                                .run = conv2d_run,
                                .act = ACT_GELU,
                                .y = y};
    struct conv2d_shape stripe = linear_glu_stripe(&a.linear.s);
    struct glu_args gate = {ROWS, COUT / 2, COUT, ACT_GELU, v, want, false};
    struct bench b;
    void *packed;

    assert_true(linear_glu_fits(&a.linear.s));
    assert_int_equal(stripe.w, 98);
    assert_int_equal(alloc_aligned(&packed,
                                   conv2d_packed_bytes(k, CIN, COUT, 1, 1), 1,
                                   NULL),
                     UNSTIR_OK);
    conv2d_pack(k, packed, w, CIN, COUT, 1, 1);
    a.linear.w = packed;
    bench_open(&b, k, threads, conv2d_scratch(k, threads, &a.linear.s));
    conv2d_run(&b.ctx, &a.linear);
    glu(&b.ctx, &gate);
    bench_close(&b);
    bench_open(&b, k, threads,
               linear_glu_scratch(
                   &a.linear.s, conv2d_scratch(k, threads, &stripe), threads));
    linear_glu(&b.ctx, &a);
    bench_close(&b);
    assert_memory_equal(y, want, (size_t)ROWS * COUT / 2 * sizeof *y);
    assert_guards("y", y, (size_t)ROWS * COUT / 2);
    for (unsigned narrow = 0; narrow < 2 && k->gemm.operand == DTYPE_BF16;
         narrow++)
        check_gated_operands(k, threads, a, (size_t)ROWS * CIN,
                             (size_t)ROWS * COUT / 2, narrow);
    alloc_free(packed);
    numbers_free(x);
    numbers_free(w);
    numbers_free(bias);
    numbers_free(v);
    numbers_free(y);
    numbers_free(want);
}

static void test_gated_products_in_stripes(void **state)
{
    struct kernel_table tables[MAX_RUNGS];
    size_t n_tables = rungs(tables);

    for (size_t r = 0; r < n_tables; r++)
        if (!tables[r].gemm.is_blas) /* whose bits depend on the height */
            for (unsigned threads = 1; threads <= 3; threads += 2)
                check_gated(&tables[r], threads);
}

static void test_vectors_and_rows(void **state)
{
    enum { N = 3, HW = 700, C = 33, STRIDE = 40 };
    size_t n = (size_t)N * HW * C;
    float *x = numbers_random(n, 2, 1), *y = numbers_new(n);
    float *v = numbers_random(N * STRIDE, 3, 1);
    float *r = numbers_random(HW * C, 4, 1);
    struct mul_vec_args mul = {N, HW, C, STRIDE, x, v, y};
    struct add_rows_args add = {N, HW * C, x, r, y};

    run_everywhere(mul_vec, &mul, y, n);
    for (size_t i = 0; i < n; i++)
        assert_true(y[i] == x[i] * v[i / (HW * C) * STRIDE + i % C]);
    run_everywhere(add_rows, &add, y, n);
    for (size_t i = 0; i < n; i++)
        assert_true(y[i] == x[i] + r[i % (HW * C)]);
    numbers_free(x);
    numbers_free(y);
    numbers_free(v);
    numbers_free(r);
}

/* A grid of 6 x 10 whose places run to 4: the column comes first. */
static void test_grid_embed(void **state)
{
    enum { H = 6, W = 10, C = 12, QUARTER = C / 4 };
    float *y = numbers_new(H * W * C);
    struct grid_embed_args a = {H, W, C, 4, y};

    run_everywhere(grid_embed, &a, y, H * W * C);
    for (size_t i = 0; i < H * W * C; i++) {
        size_t place = i / C, c = i % C, k = c % QUARTER;
        float scaled = c < C / 2 ? (float)(place % W) / (W / 4.0f)
                                 : (float)(place / W) / (H / 4.0f);
        double angle = scaled * pow(10000, -(double)k / QUARTER);

        assert_near("grid_embed", "", i, y[i],
                    c / QUARTER % 2 ? cos(angle) : sin(angle), EPS);
    }
    numbers_free(y);
}

static void test_unpatch(void **state)
{
    enum { N = 2, H = 3, W = 5, C = 2, P = 4, TOTAL = N * H * W * C * P * P };
    float *x = numbers_random(TOTAL, 6, 1), *y = numbers_new(TOTAL);
    struct unpatch_args a = {N, H, W, C, P, x, y};

    run_everywhere(unpatch, &a, y, TOTAL);
    for (size_t n = 0; n < N; n++)
        for (size_t i = 0; i < H * P; i++)
            for (size_t j = 0; j < W * P; j++)
                for (size_t c = 0; c < C; c++) {
                    size_t token = (n * H + i / P) * W + j / P;
                    size_t cell = i % P * P + j % P;
                    float wanted = x[(token * P * P + cell) * C + c];

                    assert_true(y[((n * H * P + i) * W * P + j) * C + c] ==
                                wanted);
                }
    numbers_free(x);
    numbers_free(y);
}

/* Codes themselves are found again; of equals the first is taken. */
static void test_nearest(void **state)
{
    enum { CODES = 200, C = 3, ROWS = 300 };
    float *table = numbers_random(CODES * C, 7, 1);
    float *x = numbers_random(ROWS * C, 8, 1), *y = numbers_new(ROWS * C);
    struct nearest_args a = {ROWS, C, CODES, x, table, y};

    memcpy(table + 7 * C, table + 3 * C, C * sizeof *table);
    memcpy(x, table + 7 * C, C * sizeof *x);
    run_everywhere(nearest, &a, y, ROWS * C);
    assert_memory_equal(y, table + 3 * C, C * sizeof *y);
    for (size_t r = 0; r < ROWS; r++) {
        double got = 0, least = INFINITY;

        for (size_t j = 0; j < C; j++)
            got += pow((double)y[r * C + j] - x[r * C + j], 2);
        for (size_t k = 0; k < CODES; k++) {
            double d = 0;

            for (size_t j = 0; j < C; j++)
                d += pow((double)table[k * C + j] - x[r * C + j], 2);
            least = fmin(least, d);
        }
        assert_near("distance", "", r, got, least, 4 * EPS * least);
    }
    numbers_free(table);
    numbers_free(x);
    numbers_free(y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norm_and_glu_in_pieces),
        cmocka_unit_test(test_rows_of_operands),
        cmocka_unit_test(test_gated_products_in_stripes),
        cmocka_unit_test(test_vectors_and_rows),
        cmocka_unit_test(test_grid_embed),
        cmocka_unit_test(test_unpatch),
        cmocka_unit_test(test_nearest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
