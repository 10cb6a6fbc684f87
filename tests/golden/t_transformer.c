/* t_transformer.c - the blocks of transformers against what the reference
 * computed, on every rung and by both lowerings.
 *
 * Tolerance: REFERENCE 7.2 allows a block 1e-5 of its largest output, for
 * sums of up to some hundred products in another order.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "block.h"
#include "format/weights.h"
#include "golden.h"
#include "nn/transformer.h"

#define TOLERANCE 1e-5

struct block {
    const char *name;
    value_id (*build)(struct graph *g, value_id x, value_id context);
    bool is_picture; /* else x is tokens */
};

static value_id cross(struct graph *g, value_id x, value_id context)
{
    return token_attention(g, "w", x, context, 4, 8, false);
}

static value_id basic(struct graph *g, value_id x, value_id context)
{
    return transformer_block(g, "w", x,
                             &(struct transformer_spec){.heads = 4,
                                                        .head_dim = 8,
                                                        .context = context});
}

static value_id conv_proj(struct graph *g, value_id x, value_id context)
{
    return transformer2d(g, "w", x,
                         &(struct transformer_spec){.heads = 4,
                                                    .head_dim = 8,
                                                    .n_blocks = 1,
                                                    .groups = 8,
                                                    .context = context});
}

static value_id linear_proj(struct graph *g, value_id x, value_id context)
{
    return transformer2d(g, "w", x,
                         &(struct transformer_spec){.heads = 4,
                                                    .head_dim = 8,
                                                    .n_blocks = 2,
                                                    .groups = 8,
                                                    .has_linear_proj = true,
                                                    .context = context});
}

static const struct block blocks[] = {
    {"attn_cross", cross, false},
    {"basic_transformer_block", basic, false},
    {"transformer2d_conv_proj", conv_proj, true},
    {"transformer2d_linear_proj", linear_proj, true},
};

static void test_block(void **state)
{
    const struct block *block = *state;
    struct golden_tensor x, context, want;
    struct weights *golden;
    struct graph *g;
    value_id in, ctx;

    golden = golden_open_named("modules", block->name);
    x = block->is_picture ? golden_get(golden, "in.x")
                          : golden_tokens(golden, "in.x");
    want = block->is_picture ? golden_get(golden, "out.out")
                             : golden_tokens(golden, "out.out");
    context = golden_tokens(golden, "in.ctx");
    assert_int_equal(graph_new(&g, NULL), UNSTIR_OK);
    in = graph_input(g, "x", (struct shape){x.n, x.h, x.w, x.c});
    ctx = graph_input(g, "context",
                      (struct shape){context.n, 1, context.w, context.c});
    graph_output(g, "out", block->build(g, in, ctx));
    block_check(block->name, g, golden, (float *[]){x.data, context.data},
                want.data, want.n_floats, TOLERANCE);
    graph_free(g);
    golden_tensor_fini(&x);
    golden_tensor_fini(&context);
    golden_tensor_fini(&want);
    weights_close(golden);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(blocks)];

    for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
        tests[i] = (struct CMUnitTest){.name = blocks[i].name,
                                       .test_func = test_block,
                                       .initial_state = (void *)&blocks[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
