/* t_graph.c - shapes, names, uses and the first error of graphs.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "ops/graph.h"

static struct graph *new_graph(void)
{
    struct graph *g;

    assert_int_equal(graph_new(&g, NULL), UNSTIR_OK);
    return g;
}

static value_id picture(struct graph *g, uint32_t h, uint32_t w, uint32_t c)
{
    return graph_input(g, "x", (struct shape){2, h, w, c});
}

static void check_shape(const struct graph *g, value_id v, uint32_t h,
                        uint32_t w, uint32_t c)
{
    struct shape s = graph_shape(g, v);

    if (s.n != 2 || s.h != h || s.w != w || s.c != c)
        fail_msg("got %u x %u x %u x %u, wanted 2 x %u x %u x %u", s.n, s.h,
                 s.w, s.c, h, w, c);
}

static void test_shapes(void **state)
{
    static const float taps[4] = {0.125F, 0.375F, 0.375F, 0.125F};
    struct graph *g = new_graph();
    value_id x = picture(g, 9, 8, 16);
    struct conv2d_spec spec = {
        .cout = 8, .k = 3, .stride = 2, .pad_b = 1, .pad_r = 1};

    (void)state;
    check_shape(g, graph_conv2d(g, "a", x, &spec), 4, 4, 8);
    spec.pad_t = spec.pad_l = 1;
    check_shape(g, graph_conv2d(g, "b", x, &spec), 5, 4, 8);
    check_shape(g, graph_linear(g, "c", x, 5, true), 9, 8, 5);
    check_shape(g, graph_avg_pool2(g, x), 4, 4, 16);
    check_shape(g, graph_upsample(g, x, 18, 16), 18, 16, 16);
    check_shape(g, graph_fir(g, x, 1, 2, taps, 4, 1, 1), 4, 4, 16);
    check_shape(g, graph_fir(g, x, 2, 1, taps, 4, 2, 1), 18, 16, 16);
    check_shape(g, graph_concat(g, x, x), 9, 8, 32);
    check_shape(g, graph_reshape(g, x, 1, 72), 1, 72, 16);
    assert_int_equal(graph_status(g, NULL), UNSTIR_OK);
    graph_free(g);
}

static void test_parameters_and_uses(void **state)
{
    struct graph *g = new_graph();
    value_id x = picture(g, 4, 4, 8), y;
    const struct graph_param *p;

    (void)state;
    y = graph_linear(g, "net.fc", x, 3, true);
    y = graph_add(g, y, y);
    graph_output(g, "out", y);
    assert_int_equal(graph_n_params(g), 2);
    p = graph_param_at(g, 0);
    assert_string_equal(p->name, "net.fc.weight");
    assert_int_equal(p->role, PARAM_LINEAR_WEIGHT);
    assert_int_equal(p->dims[0], 3);
    assert_int_equal(p->dims[1], 8);
    assert_int_equal(p->fan_in, 8);
    p = graph_param_at(g, 1);
    assert_string_equal(p->name, "net.fc.bias");
    assert_int_equal(p->role, PARAM_BIAS);
    assert_int_equal(p->fan_in, 8);
    assert_int_equal(graph_value_at(g, y)->n_uses, 1);
    assert_int_equal(graph_value_at(g, graph_op_at(g, 1)->out)->n_uses, 2);
    assert_string_equal(graph_value_at(g, y)->name, "out");
    assert_int_equal(graph_n_inputs(g), 1);
    assert_int_equal(graph_n_outputs(g), 1);
    graph_free(g);
}

static void test_flops(void **state)
{
    struct graph *g = new_graph();
    value_id x = picture(g, 4, 4, 8), t, q;
    struct conv2d_spec spec = {.cout = 6,
                               .k = 3,
                               .stride = 1,
                               .pad_t = 1,
                               .pad_l = 1,
                               .pad_b = 1,
                               .pad_r = 1};
    double want = 0;

    (void)state;
    graph_conv2d(g, "conv", x, &spec);
    want += 2.0 * 2 * 16 * 6 * 8 * 9;
    t = graph_reshape(g, x, 1, 16);
    q = graph_linear(g, "q", t, 8, true);
    want += 2.0 * 2 * 16 * 8 * 8;
    graph_attention(g, q, q, q, 2, 0.5F);
    want += 2 * (2.0 * 2 * 16 * 16 * 8);
    assert_true(graph_flops(g) == want);
    graph_free(g);
}

/* What does not fit, and a word that the error must have. */
static value_id add_other(struct graph *g, value_id x)
{
    return graph_add(g, x, graph_avg_pool2(g, x));
}

static value_id odd_groups(struct graph *g, value_id x)
{
    return graph_group_norm(g, "norm1", x, 3, 1e-5F);
}

static value_id tiny_conv(struct graph *g, value_id x)
{
    struct conv2d_spec spec = {.cout = 1, .k = 11, .stride = 1};

    return graph_conv2d(g, "conv9", x, &spec);
}

static value_id huge(struct graph *g, value_id x)
{
    return graph_upsample(g, x, UINT32_MAX, UINT32_MAX);
}

static value_id two_shapes(struct graph *g, value_id x)
{
    (void)graph_linear(g, "fc", x, 3, true);
    return graph_linear(g, "fc", x, 4, true);
}

static value_id bad_heads(struct graph *g, value_id x)
{
    x = graph_reshape(g, x, 1, 64);
    return graph_attention(g, x, x, x, 3, 1);
}

static value_id wrong_vector(struct graph *g, value_id x)
{
    return graph_add_vec(g, x, x);
}

static value_id no_value(struct graph *g, value_id x)
{
    return graph_act(g, x + 100, ACT_SILU);
}

static value_id long_name(struct graph *g, value_id x)
{
    char name[400];

    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    return graph_linear(g, name, x, 3, true);
}

static void test_misfits_are_told(void **state)
{
    static const struct {
        value_id (*build)(struct graph *g, value_id x);
        const char *word;
    } cases[] = {
        {add_other, "added"},     {odd_groups, "norm1"}, {tiny_conv, "conv9"},
        {huge, "too large"},      {two_shapes, "fc"},    {bad_heads, "3 heads"},
        {wrong_vector, "vector"}, {no_value, "value"},   {long_name, "long"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct graph *g = new_graph();
        struct unstir_error err = {0};
        value_id x = picture(g, 8, 8, 16);

        assert_int_equal(cases[i].build(g, x), GRAPH_NO_VALUE);
        /* Nothing crashes afterwards, and the first error stays. */
        graph_output(g, "out", graph_act(g, GRAPH_NO_VALUE, ACT_SILU));
        assert_int_not_equal(graph_status(g, &err), UNSTIR_OK);
        if (!strstr(err.detail, cases[i].word))
            fail_msg("case %zu: \"%s\" lacks \"%s\"", i, err.detail,
                     cases[i].word);
        graph_free(g);
    }
}

static void test_no_memory_is_told(void **state)
{
    bool is_done = false;

    (void)state;
    for (long k = 1; !is_done && k < 100; k++) {
        struct graph *g = NULL;
        enum unstir_status status;

        alloc_test_fail_after(k);
        status = graph_new(&g, NULL);
        if (status == UNSTIR_OK) {
            value_id x = picture(g, 4, 4, 8);

            graph_output(g, "out", graph_linear(g, "fc", x, 3, true));
            status = graph_status(g, NULL);
        }
        alloc_test_fail_after(0);
        is_done = status == UNSTIR_OK;
        if (!is_done)
            assert_int_equal(status, UNSTIR_ERR_NOMEM);
        graph_free(g);
    }
    assert_true(is_done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_parameters_and_uses),
        cmocka_unit_test(test_flops),
        cmocka_unit_test(test_misfits_are_told),
        cmocka_unit_test(test_no_memory_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
