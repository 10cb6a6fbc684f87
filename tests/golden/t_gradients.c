/* t_gradients.c - gradients of whole networks against the reference's.
 *
 * For each parameter tensor |g - ref| / |ref| <= 1e-4 (Euclidean norms), on
 * every rung this machine can run, for three networks: plain, with attention,
 * with class embedding and scale-shift.
 *
 * Tolerance.  Activations and gradients are sums of at most about 2,000
 * products rounded to single precision (2^-24 each); through the 40 or so
 * layers of these networks errors grow like a random walk to about
 * sqrt(40 * 2000) * 2^-24 = 1.7e-5 of a typical element, and Winograd's
 * transforms multiply them by at most about 5.  1e-4 is what the reference
 * itself differs from double by under a change of its convolution algorithm.
 *
 * Operands of bf16 err by some 2.4e-3 a product in the mean square, in the 80
 * layers of forth and back sqrt(80) * 2.4e-3 = 2.1e-2 of a typical element, and
 * Winograd's adjoint for the weights doubles its own.  Sums over pixels that
 * mostly cancel, as the biases of attention have, keep the errors: 1e-1.  The
 * loss, of outputs that err by half of that without a common sign: 5e-3.
 *
 * A bias in front of a norm has no influence at all: its true gradient is
 * zero but for rounding, so tensors whose reference norm is below 1e-9 of the
 * largest are held to that share of the largest instead.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/weights.h"
#include "kernels/kernels.h"
#include "model/network.h"
#include "must.h"
#include "ops/graph.h"
#include "ops/plan.h"
#include "train/adjoint.h"
#include "train/params.h"

#define TOLERANCE      1e-4
#define TOLERANCE_BF16 1e-1
#define LOSS_BF16      5e-3
#define N_PICTURES     3

struct fixture {
    struct weights *golden;
    struct json *config;
    struct graph *graph;
    struct params params;
    uint32_t h, w;
};

static const struct tensor_view *find(const struct fixture *f, const char *name)
{
    const struct tensor_view *t = weights_find(f->golden, name);
    if (!t)
        fail_msg("golden has no tensor %s", name);
    return t;
}

static void fixture_open(struct fixture *f, const char *name)
{
    struct unstir_error err;
    char path[256];
    memset(f, 0, sizeof *f);
    snprintf(path, sizeof path, "tests/data/gradients/%s.safetensors", name);
    must(safetensors_open(&f->golden, path, &err), &err);
    const char *text = weights_metadata(f->golden, "config");
    assert_non_null(text);
    must(json_parse(&f->config, text, strlen(text), &err), &err);
    const struct tensor_view *x = find(f, "in.sample");
    f->h = (uint32_t)x->dims[1];
    f->w = (uint32_t)x->dims[2];
    must(network_graph(&f->graph, f->config, N_PICTURES, f->h, f->w, &err),
         &err);
    must(params_init(&f->params, f->graph, &err), &err);
    size_t n = graph_n_params(f->graph);
    float **at;
    must(alloc_zero(&at, n, sizeof *at, &err), &err);
    for (size_t i = 0; i < n; i++)
        at[i] = f->params.p + f->params.offset[i];
    must(network_draw(f->graph, 11, at, &err), &err);
    alloc_free(at);
}

static void fixture_close(struct fixture *f)
{
    params_fini(&f->params);
    graph_free(f->graph);
    json_free(f->config);
    weights_close(f->golden);
}

/* A copy with an aligned address of its own. */
static float *copy_of(const struct tensor_view *t)
{
    struct unstir_error err;
    float *x;
    must(alloc_aligned(&x, t->n, sizeof *x, &err), &err);
    memcpy(x, t->data, t->n_bytes);
    return x;
}

static void run_plan(struct fixture *f, const struct kernel_table *table,
                     struct pool *pool, float *loss)
{
    struct unstir_error err;
    struct train_packs packs;
    struct plan *plan;
    void *arena, *externals[8];
    float *inputs[4];
    float weight[N_PICTURES] = {1, 1, 1};
    size_t n = 0;
    unsigned n_threads = pool_threads(pool);
    must(train_packs_init(&packs, f->graph, table, &f->params, &err), &err);
    must(lower_training(&plan, f->graph, table, &f->params, &packs,
                        TRAIN_LOSS_SQUARES, n_threads, &err),
         &err);
    must(alloc_aligned(&arena, plan_arena_bytes(plan), 1, &err), &err);
    struct op_ctx ctx = {.k = table, .pool = pool};
    struct repack_args repack = {packs.jobs, packs.n_jobs};
    train_repack(&ctx, &repack);
    inputs[n++] = copy_of(find(f, "in.sample"));
    inputs[n++] = copy_of(find(f, "in.timestep"));
    if (graph_n_inputs(f->graph) > 2)
        inputs[n++] = copy_of(find(f, "in.label"));
    inputs[n++] = copy_of(find(f, "in.target"));
    for (size_t i = 0; i < n; i++)
        externals[i] = inputs[i];
    externals[n] = weight;
    externals[n + 1] = loss;
    memset(f->params.g, 0, f->params.n * sizeof(float));
    must(plan_run(plan, pool, arena, externals, NULL, &err), &err);
    for (size_t i = 0; i < n; i++)
        alloc_free(inputs[i]);
    alloc_free(arena);
    plan_free(plan);
    train_packs_fini(&packs);
}

static double norm(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sqrt(sum);
}

static double distance(const float *x, const float *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    return sqrt(sum);
}

static void compare(const struct fixture *f, const char *name, const char *isa,
                    double tolerance)
{
    double worst = 0, largest = 0;
    int n_bad = 0;
    for (param_id p = 0; p < graph_n_params(f->graph); p++) {
        char key[200];
        const struct graph_param *gp = graph_param_at(f->graph, p);
        snprintf(key, sizeof key, "grad.%s", gp->name);
        const struct tensor_view *t = find(f, key);
        assert_int_equal(t->n, gp->n);
        largest = fmax(largest, norm(t->data, t->n));
    }
    for (param_id p = 0; p < graph_n_params(f->graph); p++) {
        char key[200];
        const struct graph_param *gp = graph_param_at(f->graph, p);
        snprintf(key, sizeof key, "grad.%s", gp->name);
        const struct tensor_view *t = find(f, key);
        double ref = norm(t->data, t->n);
        double d = distance(f->params.g + f->params.offset[p], t->data, t->n);
        double e = ref > 1e-9 * largest ? d / ref : d / largest;
        worst = fmax(worst, e);
        if (e <= tolerance)
            continue;
        print_message("%s on %s: %s: wanted %.0e, got %.2e (norm %.3e)\n", name,
                      isa, gp->name, tolerance, e, ref);
        n_bad++;
    }
    print_message("%s on %s: worst %.2e\n", name, isa, worst);
    assert_int_equal(n_bad, 0);
}

static void check_network(const char *name)
{
    struct unstir_error err;
    struct fixture f;
    fixture_open(&f, name);
    const struct tensor_view *wanted = find(&f, "loss");
    for (size_t i = 0; i < kernels_ladder_len; i++) {
        struct kernel_table table;
        struct pool *pool;
        float loss[N_PICTURES];
        if (!kernels_select(&table, kernels_ladder[i].isa))
            continue;
        bool is_bf16 = table.gemm.is_bf16;
        double tolerance = is_bf16 ? TOLERANCE_BF16 : TOLERANCE;
        double on_loss = is_bf16 ? LOSS_BF16 : TOLERANCE;
        must(pool_new(&pool, 2, 0, &err), &err);
        run_plan(&f, &table, pool, loss);
        pool_free(pool);
        for (int j = 0; j < N_PICTURES; j++) {
            float ref = ((const float *)wanted->data)[j];
            if (fabsf(loss[j] - ref) > on_loss * ref)
                fail_msg("%s on %s: loss %d: wanted %.7g, got %.7g", name,
                         table.isa, j, ref, loss[j]);
        }
        compare(&f, name, table.isa, tolerance);
    }
    fixture_close(&f);
}

static void test_plain(void **state)
{
    check_network("plain");
}

static void test_attention(void **state)
{
    check_network("attention");
}

static void test_class_scale_shift(void **state)
{
    check_network("class_scale_shift");
}

/* The same bits whatever the number of threads. */
static void test_threads(void **state)
{
    struct unstir_error err;
    struct fixture f;
    struct kernel_table table;
    float loss[2][N_PICTURES], *first;
    fixture_open(&f, "class_scale_shift");
    assert_true(kernels_select(&table, NULL));
    must(alloc_aligned(&first, f.params.n, sizeof *first, &err), &err);
    static const unsigned counts[] = {1, 2, 4};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        struct pool *pool;
        must(pool_new(&pool, counts[i], 0, &err), &err);
        run_plan(&f, &table, pool, loss[i > 0]);
        pool_free(pool);
        if (i == 0)
            memcpy(first, f.params.g, f.params.n * sizeof *first);
        assert_memory_equal(loss[0], loss[i > 0], sizeof loss[0]);
        assert_memory_equal(first, f.params.g, f.params.n * sizeof *first);
    }
    alloc_free(first);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_class_scale_shift),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
