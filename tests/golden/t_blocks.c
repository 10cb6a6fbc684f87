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

#include <cmocka.h>

#include "base/compiler.h"
#include "block.h"
#include "format/weights.h"
#include "golden.h"
#include "nn/attention_block.h"
#include "nn/downsample.h"
#include "nn/fir.h"
#include "nn/resblock.h"
#include "nn/upsample.h"
#include "ops/elementwise.h"
#include "ops/embed.h"
#include "ops/graph.h"

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
    {"downsample_conv_pad0", downsample_pad0},
    {"downsample_conv_pad1", downsample_pad1},
    {"upsample_conv", build_upsample},
    {"attn_spatial_groupnorm", attention},
};

static void test_block(void **state)
{
    const struct block *block = *state;
    struct golden_tensor x, temb = {0}, want;
    struct weights *golden;
    struct graph *g;
    value_id in, vec = GRAPH_NO_VALUE, out;

    golden = golden_open_named("modules", block->name);
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
    assert_int_equal(graph_shape(g, out).h, want.h);
    assert_int_equal(graph_shape(g, out).w, want.w);
    assert_int_equal(graph_shape(g, out).c, want.c);
    block_check(block->name, g, golden,
                (float *[]){x.data, temb.data ? temb.data : x.data}, want.data,
                want.n_floats, TOLERANCE);
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
            char name[40];

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
