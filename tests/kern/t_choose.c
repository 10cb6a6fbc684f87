/* t_choose.c - the rules of ops/choose.c: which algorithm and operands layers
 * get, whatever company they keep.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "ops/choose.h"
#include "ops/graph.h"
#include "tables.h"

/* -- algorithms ------------------------------------------------------------ */

static const struct row {
    const char *isa;
    uint32_t edge, cin, cout, kernel, stride;
    const char *way, *operands;
} rows[] = {
    {"scalar", 16, 64, 64, 3, 1, "tiles", "f32"},
    {"scalar", 16, 64, 4, 3, 1, "dots", "f32"},
    {"portable", 16, 64, 4, 3, 1, "blas", "f32"},
    {"avx2", 16, 64, 64, 3, 1, "winograd f4", "f32"},
    {"avx2", 5, 16, 16, 3, 1, "winograd f4", "f32"},
    {"avx2", 16, 2560, 1280, 3, 1, "winograd f4", "f32"},
    {"avx2", 4, 16, 16, 3, 1, "tiles", "f32"},
    {"avx2", 16, 12, 16, 3, 1, "tiles", "f32"},
    {"avx2", 16, 64, 60, 3, 1, "tiles", "f32"},
    {"avx2", 16, 64, 64, 3, 2, "tiles", "f32"},
    {"avx2", 16, 64, 64, 1, 1, "tiles", "f32"},
    {"avx2", 16, 64, 4, 3, 1, "dots", "f32"},
    {"avx2", 16, 4, 4, 3, 1, "tiles", "f32"},
    {"avx2 bf16", 16, 64, 32, 3, 1, "winograd f2", "bf16 in f32"},
    {"avx2 bf16", 4, 32, 32, 3, 1, "winograd f2", "bf16 in f32"},
    {"avx2 bf16", 3, 32, 32, 3, 1, "tiles", "bf16 in f32"},
    {"avx2 bf16", 16, 16, 32, 3, 1, "tiles", "bf16 in f32"},
    {"avx2 bf16", 16, 64, 16, 3, 1, "tiles", "bf16 in f32"},
    {"emulated", 16, 64, 32, 3, 1, "winograd f2", "bf16"},
    {"emulated", 16, 1280, 1280, 3, 1, "winograd f2", "bf16"},
    {"emulated", 15, 1280, 1280, 3, 1, "tiles", "bf16"},
    {"emulated", 15, 1280, 640, 3, 1, "winograd f2", "bf16"},
    {"emulated", 16, 64, 4, 3, 1, "tiles", "bf16"},
};

static struct conv2d_shape square(uint32_t n, uint32_t edge, uint32_t c0,
                                  uint32_t cout, uint32_t kernel,
                                  uint32_t stride, uint32_t out)
{
    return (struct conv2d_shape){.n = n,
                                 .h = edge,
                                 .w = edge,
                                 .c0 = c0,
                                 .up_h = edge,
                                 .up_w = edge,
                                 .cout = cout,
                                 .kh = kernel,
                                 .kw = kernel,
                                 .stride = stride,
                                 .pad_t = kernel / 2,
                                 .pad_l = kernel / 2,
                                 .oh = out,
                                 .ow = out};
}

static void check_row(const struct row *r)
{
    uint32_t out = (r->edge + r->stride - 1) / r->stride;
    struct conv2d_shape s =
        square(1, r->edge, r->cin, r->cout, r->kernel, r->stride, out);
    struct kernel_table k;

    if (!tables_select(&k, r->isa))
        return;
    for (s.n = 1; s.n <= 64; s.n *= 8) {
        enum conv_way way = choose_conv(&k, &s, false);
        if (strcmp(choose_name(&k, way), r->way) != 0 ||
            strcmp(choose_operand_name(&k, way), r->operands) != 0)
            fail_msg("%s, %u pictures of %u, %u -> %u, kernel %u, stride %u: "
                     "%s of %s, wanted %s of %s",
                     r->isa, s.n, r->edge, r->cin, r->cout, r->kernel,
                     r->stride, choose_name(&k, way),
                     choose_operand_name(&k, way), r->way, r->operands);
    }
}

static void algorithms_by_shape_and_rung(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check_row(&rows[i]);
}

/* -- adjoints ---------------------------------------------------------------- */

static const struct adjoint_row {
    const char *isa;
    uint32_t n, edge, cin, cout, kernel, stride;
    enum adjoint_way input, weights;
} adjoint_rows[] = {
    {"avx2", 2, 16, 64, 64, 3, 1, ADJOINT_WINOGRAD, ADJOINT_WINOGRAD},
    {"avx2", 1, 16, 64, 64, 3, 1, ADJOINT_WINOGRAD, ADJOINT_DIRECT},
    {"avx2", 6, 7, 64, 64, 3, 1, ADJOINT_WINOGRAD, ADJOINT_WINOGRAD},
    {"avx2", 5, 7, 64, 64, 3, 1, ADJOINT_WINOGRAD, ADJOINT_DIRECT},
    {"avx2", 2, 16, 64, 64, 1, 1, ADJOINT_DIRECT, ADJOINT_DIRECT},
    {"avx2", 2, 16, 64, 64, 3, 2, ADJOINT_PHASES, ADJOINT_DIRECT},
    {"avx2", 2, 1, 64, 64, 3, 2, ADJOINT_DIRECT, ADJOINT_DIRECT},
    {"avx2", 2, 16, 4, 64, 3, 2, ADJOINT_DIRECT, ADJOINT_DIRECT},
    {"avx2", 2, 16, 64, 4, 3, 1, ADJOINT_DIRECT, ADJOINT_SWAPPED},
    {"avx2", 2, 16, 64, 5, 3, 1, ADJOINT_DIRECT, ADJOINT_DIRECT},
    {"avx2", 2, 16, 3, 4, 1, 1, ADJOINT_DIRECT, ADJOINT_DIRECT},
    {"scalar", 2, 16, 64, 64, 3, 1, ADJOINT_DIRECT, ADJOINT_DIRECT},
    {"scalar", 2, 16, 64, 64, 3, 2, ADJOINT_PHASES, ADJOINT_DIRECT},
    {"avx2 bf16", 6, 7, 64, 64, 3, 1, ADJOINT_WINOGRAD, ADJOINT_WINOGRAD},
    {"emulated", 6, 7, 64, 64, 3, 1, ADJOINT_WINOGRAD, ADJOINT_WINOGRAD},
    {"emulated", 5, 7, 64, 64, 3, 1, ADJOINT_WINOGRAD, ADJOINT_PAIRS},
    {"emulated", 6, 7, 64, 64, 3, 2, ADJOINT_PHASES, ADJOINT_PAIRS},
    {"emulated", 6, 7, 64, 64, 1, 1, ADJOINT_DIRECT, ADJOINT_PAIRS},
    {"avx2 bf16", 6, 7, 64, 64, 1, 1, ADJOINT_DIRECT, ADJOINT_DIRECT},
    {"emulated", 2, 16, 64, 40, 3, 1, ADJOINT_DIRECT, ADJOINT_DIRECT},
    {"emulated", 2, 16, 64, 4, 3, 1, ADJOINT_DIRECT, ADJOINT_SWAPPED},
    {"portable", 2, 16, 64, 4, 3, 1, ADJOINT_DIRECT, ADJOINT_DIRECT},
    {"portable", 2, 16, 64, 64, 3, 2, ADJOINT_PHASES, ADJOINT_DIRECT},
};

static void adjoints_by_shape_and_rung(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(adjoint_rows); i++) {
        const struct adjoint_row *r = &adjoint_rows[i];
        uint32_t out = (r->edge + r->stride - 1) / r->stride;
        struct conv2d_shape s =
            square(r->n, r->edge, r->cin, r->cout, r->kernel, r->stride, out);
        struct conv2d_shape t =
            square(r->n, out, r->cout, r->cin, r->kernel, r->stride, r->edge);
        struct kernel_table k;

        if (!tables_select(&k, r->isa))
            continue;
        enum adjoint_way input = choose_input_adjoint(&k, &t);
        enum adjoint_way weights = choose_weights_adjoint(&k, &s);
        if (input != r->input || weights != r->weights)
            fail_msg("row %zu: %s, %u pictures of %u, %u -> %u, kernel %u, "
                     "stride %u: %d and %d, wanted %d and %d",
                     i, r->isa, r->n, r->edge, r->cin, r->cout, r->kernel,
                     r->stride, (int)input, (int)weights, (int)r->input,
                     (int)r->weights);
    }
}

/* -- operands -------------------------------------------------------------- */

static void operands_by_place_and_shape(void **state)
{
    static const struct {
        struct choose_product p;
        enum choose_operands f32, bf16, int8; /* by precision, on f32        */
    } wanted[] = {
        {{PRODUCT_BODY, 64, 64, 1, 1, 1, false},
         OPERANDS_RUNG,
         OPERANDS_EXACT,
         OPERANDS_INT8},
        {{PRODUCT_BODY, 65, 65, 1, 1, 1, false},
         OPERANDS_RUNG,
         OPERANDS_RUNG,
         OPERANDS_INT8},
        {{PRODUCT_BODY, 64, 64, 3, 3, 1, false},
         OPERANDS_RUNG,
         OPERANDS_RUNG,
         OPERANDS_RUNG},
        {{PRODUCT_BODY, 64, 64, 1, 1, 2, false},
         OPERANDS_RUNG,
         OPERANDS_EXACT,
         OPERANDS_RUNG},
        {{PRODUCT_BODY, 64, 64, 1, 1, 1, true},
         OPERANDS_RUNG,
         OPERANDS_EXACT,
         OPERANDS_RUNG},
        {{PRODUCT_BODY, 31, 64, 1, 1, 1, false},
         OPERANDS_RUNG,
         OPERANDS_EXACT,
         OPERANDS_RUNG},
        {{PRODUCT_BODY, INT8_MAX_K + 1, 64, 1, 1, 1, false},
         OPERANDS_RUNG,
         OPERANDS_EXACT,
         OPERANDS_RUNG},
        {{PRODUCT_EDGE, 64, 320, 1, 1, 1, false},
         OPERANDS_RUNG,
         OPERANDS_EXACT,
         OPERANDS_RUNG},
        {{PRODUCT_EDGE, 320, 4, 3, 3, 1, false},
         OPERANDS_RUNG,
         OPERANDS_EXACT,
         OPERANDS_RUNG},
        {{PRODUCT_EDGE, 768, 768, 1, 1, 1, false},
         OPERANDS_RUNG,
         OPERANDS_RUNG,
         OPERANDS_RUNG},
        {{PRODUCT_STEP, 128, 1152, 1, 1, 1, false},
         OPERANDS_RUNG,
         OPERANDS_EXACT,
         OPERANDS_RUNG},
        {{PRODUCT_STEP, 320, 1280, 1, 1, 1, false},
         OPERANDS_RUNG,
         OPERANDS_RUNG,
         OPERANDS_RUNG},
    };
    struct kernel_table f32, bf16, int8;

    (void)state;
    assert_true(kernels_select(&f32, "scalar"));
    bf16 = int8 = f32;
    kernels_use_bf16_operands(&bf16);
    kernels_use_int8(&int8);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        const struct choose_product *p = &wanted[i].p;
        if (choose_operands(&f32, p) != wanted[i].f32 ||
            choose_operands(&bf16, p) != wanted[i].bf16 ||
            choose_operands(&int8, p) != wanted[i].int8)
            fail_msg(
                "row %zu: got %d, %d, %d", i, (int)choose_operands(&f32, p),
                (int)choose_operands(&bf16, p), (int)choose_operands(&int8, p));
    }
}

/* A network in small: a picture of 3 channels, a timestep. */
static void roles_by_place(void **state)
{
    static const struct {
        const char *prefix;
        enum product_role role;
    } wanted[] = {{"time", PRODUCT_STEP}, {"time_proj", PRODUCT_STEP},
                  {"in", PRODUCT_EDGE},   {"skip", PRODUCT_EDGE},
                  {"mid", PRODUCT_BODY},  {"out", PRODUCT_EDGE}};
    struct conv2d_spec spec = {.cout = 8, .k = 1, .stride = 1};
    enum product_role roles[32];
    size_t n_found = 0;
    struct graph *g;
    value_id x, t, y;

    (void)state;
    assert_int_equal(graph_new(&g, NULL), UNSTIR_OK);
    x = graph_input(g, "sample", (struct shape){1, 4, 4, 3});
    t = graph_input(g, "timestep", (struct shape){1, 1, 1, 1});
    t = graph_time_embed(g, t, 8, true, 0);
    t = graph_act(g, graph_linear(g, "time", t, 8, false), ACT_SILU);
    t = graph_linear(g, "time_proj", t, 8, false);
    y = graph_add_vec(g, graph_conv2d(g, "in", x, &spec), t);
    y = graph_conv2d(g, "mid", graph_act(g, y, ACT_SILU), &spec);
    y = graph_add(g, y, graph_conv2d(g, "skip", x, &spec));
    graph_output(g, "out", graph_conv2d(g, "out", y, &spec));
    assert_int_equal(graph_status(g, NULL), UNSTIR_OK);
    assert_true(graph_n_ops(g) <= ARRAY_LEN(roles));
    assert_int_equal(choose_roles(roles, g, NULL), UNSTIR_OK);
    for (size_t i = 0; i < graph_n_ops(g); i++) {
        const struct graph_op *op = graph_op_at(g, i);
        if (op->kind != OP_CONV2D && op->kind != OP_LINEAR)
            continue;
        for (size_t j = 0; j < ARRAY_LEN(wanted); j++) {
            const char *name = graph_param_at(g, op->param[0])->name;
            size_t n = strlen(wanted[j].prefix);
            if (strncmp(name, wanted[j].prefix, n) != 0 || name[n] != '.')
                continue;
            if (roles[i] != wanted[j].role)
                fail_msg("%s: role %d, wanted %d", name, (int)roles[i],
                         (int)wanted[j].role);
            n_found++;
        }
    }
    assert_int_equal(n_found, ARRAY_LEN(wanted));
    graph_free(g);
}

/* DDPM CIFAR-10 is packed; the parts of Stable Diffusion 1.5 are only where
 * operands have 16 bits. */
static void big_networks_are_not_packed_for_all_sizes(void **state)
{
    static const uint64_t parts[] = {49400000, 85000000, 859000000};
    struct kernel_table f32 = {.gemm.operand = DTYPE_F32};
    struct kernel_table bf16 = {.gemm.operand = DTYPE_BF16};

    (void)state;
    assert_int_equal(choose_keeping(&f32, 35700000), KEEP_PACKED);
    assert_int_equal(choose_keeping(&bf16, 35700000), KEEP_PACKED);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        assert_int_equal(choose_keeping(&f32, parts[i]), KEEP_IN_PLACE);
        assert_int_equal(choose_keeping(&bf16, parts[i]), KEEP_USUAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(big_networks_are_not_packed_for_all_sizes),
        cmocka_unit_test(algorithms_by_shape_and_rung),
        cmocka_unit_test(adjoints_by_shape_and_rung),
        cmocka_unit_test(operands_by_place_and_shape),
        cmocka_unit_test(roles_by_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
