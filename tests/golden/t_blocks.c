/* t_blocks.c - every block against what the reference computed, on every rung
 * and by both lowerings.
 *
 * Tolerance: REFERENCE 7.2 allows a block 1e-5 of its largest output, for
 * sums of up to some hundred products in another order.  Measured: 6e-7 by
 * direct sums, 2.4e-6 through Winograd's transforms.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "format/weights.h"
#include "golden.h"
#include "nn/attention_block.h"
#include "nn/downsample.h"
#include "nn/fir.h"
#include "nn/resblock.h"
#include "nn/upsample.h"
#include "ops/elementwise.h"
#include "ops/graph.h"
#include "ops/lower.h"
#include "ops/plan.h"

#define TOLERANCE 1e-5

struct block {
    const char *name;
    value_id (*build)(struct graph *g, value_id x, value_id temb);
};

static value_id build_resblock(struct graph *g, value_id x, value_id temb,
                               struct resblock_spec spec)
{
    spec.groups_in = spec.groups_out = 8;
    spec.act = ACT_SILU;
    if (spec.eps == 0)
        spec.eps = 1e-6F;
    if (spec.out_divisor == 0)
        spec.out_divisor = 1;
    return resblock(g, "w", x, graph_act(g, temb, ACT_SILU), &spec);
}

static value_id resnet_default(struct graph *g, value_id x, value_id temb)
{
    return build_resblock(g, x, temb,
                          (struct resblock_spec){.cout = 64, .eps = 1e-5F});
}

static value_id resnet_scale_shift(struct graph *g, value_id x, value_id temb)
{
    return build_resblock(g, x, temb,
                          (struct resblock_spec){.cout = 32,
                                                 .eps = 1e-5F,
                                                 .is_scale_shift = true});
}

static value_id resnet_down_avg(struct graph *g, value_id x, value_id temb)
{
    return build_resblock(
        g, x, temb,
        (struct resblock_spec){.cout = 32, .resample = RESBLOCK_DOWN});
}

static value_id resnet_up_nearest(struct graph *g, value_id x, value_id temb)
{
    return build_resblock(
        g, x, temb,
        (struct resblock_spec){.cout = 32, .resample = RESBLOCK_UP});
}

static value_id resnet_down_fir(struct graph *g, value_id x, value_id temb)
{
    return build_resblock(g, x, temb,
                          (struct resblock_spec){.cout = 32,
                                                 .resample = RESBLOCK_FIR_DOWN,
                                                 .has_shortcut = true,
                                                 .out_divisor = sqrt(2.0)});
}

static value_id resnet_up_fir(struct graph *g, value_id x, value_id temb)
{
    return build_resblock(g, x, temb,
                          (struct resblock_spec){.cout = 32,
                                                 .resample = RESBLOCK_FIR_UP,
                                                 .has_shortcut = true,
                                                 .out_divisor = sqrt(2.0)});
}

static value_id fir_down_skip(struct graph *g, value_id x, value_id temb)
{
    (void)temb;
    return fir_down(g, x);
}

static value_id fir_up_skip(struct graph *g, value_id x, value_id temb)
{
    (void)temb;
    return fir_up(g, x);
}

static value_id build_fir_down_conv(struct graph *g, value_id x, value_id temb)
{
    (void)temb;
    return fir_down_conv(g, "w", x, 16);
}

static value_id build_fir_up_conv(struct graph *g, value_id x, value_id temb)
{
    (void)temb;
    return fir_up_conv(g, "w", x, 16);
}

static value_id downsample_pad0(struct graph *g, value_id x, value_id temb)
{
    (void)temb;
    return downsample_conv(g, "w", x, 0);
}

static value_id downsample_pad1(struct graph *g, value_id x, value_id temb)
{
    (void)temb;
    return downsample_conv(g, "w", x, 1);
}

static value_id build_upsample(struct graph *g, value_id x, value_id temb)
{
    (void)temb;
    return upsample_conv(g, "w", x);
}

static value_id attention(struct graph *g, value_id x, value_id temb)
{
    (void)temb;
    return attention_block(g, "w", x,
                           &(struct attention_spec){.head_dim = 8,
                                                    .groups = 8,
                                                    .eps = 1e-5F,
                                                    .out_divisor = sqrt(2.0)});
}

static const struct block blocks[] = {
    {"resnet_default", resnet_default},
    {"resnet_scale_shift", resnet_scale_shift},
    {"resnet_down_avg", resnet_down_avg},
    {"resnet_up_nearest", resnet_up_nearest},
    {"resnet_down_fir", resnet_down_fir},
    {"resnet_up_fir", resnet_up_fir},
    {"fir_down_skip", fir_down_skip},
    {"fir_up_skip", fir_up_skip},
    {"fir_down_conv", build_fir_down_conv},
    {"fir_up_conv", build_fir_up_conv},
    {"downsample_conv_pad0", downsample_pad0},
    {"downsample_conv_pad1", downsample_pad1},
    {"upsample_conv", build_upsample},
    {"attn_spatial_groupnorm", attention},
};

/* Weights of the golden by parameter, as the files hold them. */
static void bind_params(const struct graph *g, const struct weights *golden,
                        const float **params)
{
    for (size_t i = 0; i < graph_n_params(g); i++) {
        const struct graph_param *p = graph_param_at(g, (param_id)i);
        const struct tensor_view *t = weights_find(golden, p->name);
        void *copy;

        if (!t)
            fail_msg("the golden lacks %s", p->name);
        assert_int_equal(t->n, p->n);
        assert_int_equal(alloc_aligned(&copy, t->n, sizeof(float), NULL),
                         UNSTIR_OK);
        dtype_load(copy, t->data, t->dtype, t->n);
        params[i] = copy;
    }
}

static void run_plan(const struct plan *plan, void *x, void *temb, void *y)
{
    void *externals[] = {x, temb ? temb : y, y};
    struct unstir_error err = {0};
    void *arena;

    assert_int_equal(alloc_aligned(&arena, plan_arena_bytes(plan), 1, NULL),
                     UNSTIR_OK);
    if (plan_run(plan, NULL, arena, externals, NULL, &err))
        fail_msg("%s", err.detail);
    alloc_free(arena);
}

static void check_lowering(const struct block *block, const struct graph *g,
                           const float *const *params, const char *isa,
                           enum lower_mode mode, struct golden_tensor *x,
                           struct golden_tensor *temb,
                           const struct golden_tensor *want)
{
    struct unstir_error err = {0};
    struct kernel_table table;
    struct packs *packs;
    struct plan *plan;
    char what[96];
    void *y;

    assert_true(kernels_select(&table, isa));
    if (packs_new(&packs, g, &table, mode, params, &err) ||
        lower_inference(&plan, g, packs, 1, &err))
        fail_msg("%s", err.detail);
    assert_int_equal(alloc_aligned(&y, want->n_floats, sizeof(float), NULL),
                     UNSTIR_OK);
    run_plan(plan, x->data, temb->data, y);
    snprintf(what, sizeof what, "%s %s %s", block->name, isa,
             mode == LOWER_FUSED ? "fused" : "plain");
    golden_check(what, golden_max_error(y, want->data, want->n_floats),
                 TOLERANCE);
    alloc_free(y);
    plan_free(plan);
    packs_free(packs);
}

static void test_block(void **state)
{
    const struct block *block = *state;
    struct golden_tensor x, temb = {0}, want;
    struct unstir_error err = {0};
    const float *params[32];
    struct weights *golden;
    struct graph *g;
    value_id in, vec = GRAPH_NO_VALUE, out;
    char path[128];

    snprintf(path, sizeof path, "tests/data/modules/%s.safetensors",
             block->name);
    golden = golden_open(path);
    x = golden_get(golden, "in.x");
    want = golden_get(golden, "out.out");
    assert_int_equal(graph_new(&g, NULL), UNSTIR_OK);
    in = graph_input(g, "x", (struct shape){x.n, x.h, x.w, x.c});
    if (golden_has(golden, "in.temb")) {
        temb = golden_get(golden, "in.temb");
        vec = graph_input(g, "temb", (struct shape){temb.n, 1, 1, temb.c});
    } else {
        vec = graph_input(g, "unused", (struct shape){1, 1, 1, 1});
    }
    out = block->build(g, in, vec);
    graph_output(g, "out", out);
    if (graph_status(g, &err))
        fail_msg("%s", err.detail);
    assert_int_equal(graph_shape(g, out).h, want.h);
    assert_int_equal(graph_shape(g, out).w, want.w);
    assert_int_equal(graph_shape(g, out).c, want.c);
    assert_true(graph_n_params(g) <= 32);
    bind_params(g, golden, params);
    for (size_t i = 0; golden_rung(i); i++) {
        check_lowering(block, g, params, golden_rung(i), LOWER_REFERENCE, &x,
                       &temb, &want);
        check_lowering(block, g, params, golden_rung(i), LOWER_FUSED, &x, &temb,
                       &want);
    }
    for (size_t i = 0; i < graph_n_params(g); i++)
        alloc_free((void *)params[i]);
    graph_free(g);
    golden_tensor_fini(&x);
    golden_tensor_fini(&temb);
    golden_tensor_fini(&want);
    weights_close(golden);
}

/* The four combinations of flip_sin_to_cos and freq_shift. */
static void test_timestep_embeddings(void **state)
{
    struct weights *golden =
        golden_open("tests/data/modules/timestep_embeddings.safetensors");
    struct golden_tensor t = golden_get(golden, "t");

    (void)state;
    for (int flip = 0; flip < 2; flip++) {
        for (int shift = 0; shift < 2; shift++) {
            struct golden_tensor want;
            struct op_ctx ctx = {0};
            float y[5 * 32];
            char name[32];

            snprintf(name, sizeof name, "emb_flip%d_shift%d", flip, shift);
            want = golden_get(golden, name);
            assert_int_equal(want.n_floats, 5 * 32);
            time_embed(&ctx,
                       &(struct time_embed_args){.n = 5,
                                                 .dim = 32,
                                                 .is_cos_first = flip,
                                                 .freq_shift = (float)shift,
                                                 .scale = 1,
                                                 .max_period = 10000,
                                                 .t = t.data,
                                                 .y = y});
            /* t * frequency is rounded to f32 on both sides: at t = 999 the
             * argument is uncertain by 999 * 2^-24. */
            golden_check(name, golden_max_error(y, want.data, 5 * 32), 6e-5);
            golden_tensor_fini(&want);
        }
    }
    golden_tensor_fini(&t);
    weights_close(golden);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(blocks) + 1];

    for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
        tests[i] = (struct CMUnitTest){.name = blocks[i].name,
                                       .test_func = test_block,
                                       .initial_state = (void *)&blocks[i]};
    tests[ARRAY_LEN(blocks)] =
        (struct CMUnitTest)cmocka_unit_test(test_timestep_embeddings);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
