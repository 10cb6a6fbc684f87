/* t_unet2d_config.c - configurations of UNet2DModel: defaults, null against
 * absent, and what is refused by which words.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "format/json.h"
#include "model/network.h"
#include "model/unet2d.h"
#include "ops/graph.h"

static enum unstir_status parse(struct unet2d_config *c, const char *text,
                                struct unstir_error *err)
{
    struct json *json;
    enum unstir_status status;

    if (json_parse(&json, text, strlen(text), err))
        fail_msg("%s: %s", text, err->detail);
    status = unet2d_parse(c, json, err);
    json_free(json);
    return status;
}

static struct unet2d_config parse_good(const char *text)
{
    struct unet2d_config c;
    struct unstir_error err = {0};

    if (parse(&c, text, &err))
        fail_msg("%s: %s", text, err.detail);
    return c;
}

static void test_defaults(void **state)
{
    struct unet2d_config c = parse_good("{}");

    (void)state;
    assert_int_equal(c.sample_h, 0);
    assert_int_equal(c.in_channels, 3);
    assert_int_equal(c.out_channels, 3);
    assert_false(c.is_centering);
    assert_int_equal(c.time, UNET2D_POSITIONAL);
    assert_int_equal(c.time_dim, 4 * 224);
    assert_true(c.freq_shift == 0 && c.is_cos_first);
    assert_int_equal(c.n_levels, 4);
    assert_int_equal(c.channels[3], 896);
    assert_int_equal(c.down[0], UNET2D_PLAIN);
    assert_int_equal(c.down[3], UNET2D_ATTN);
    assert_int_equal(c.up[0], UNET2D_ATTN);
    assert_int_equal(c.up[3], UNET2D_PLAIN);
    assert_true(c.has_mid && c.has_mid_attention && c.mid_divisor == 1);
    assert_int_equal(c.n_layers, 2);
    assert_int_equal(c.downsample_padding, 1);
    assert_false(c.is_resnet_down || c.is_resnet_up);
    assert_int_equal(c.act, ACT_SILU);
    assert_int_equal(c.head_dim, 8);
    assert_int_equal(c.groups, 32);
    assert_true(c.eps == 1e-5);
    assert_false(c.is_scale_shift);
    assert_int_equal(c.class_embed, UNET2D_NO_CLASS);
}

#define SMALL                                                     \
    "\"block_out_channels\":[32,64],"                             \
    "\"down_block_types\":[\"DownBlock2D\",\"AttnDownBlock2D\"]," \
    "\"up_block_types\":[\"AttnUpBlock2D\",\"UpBlock2D\"]"
#define SKIPS                                                             \
    "\"block_out_channels\":[32,64],"                                     \
    "\"down_block_types\":[\"SkipDownBlock2D\",\"AttnSkipDownBlock2D\"]," \
    "\"up_block_types\":[\"AttnSkipUpBlock2D\",\"SkipUpBlock2D\"]"

static void test_null_is_not_absent(void **state)
{
    (void)state;
    assert_int_equal(
        parse_good("{" SMALL ",\"attention_head_dim\":null}").head_dim, 0);
    assert_int_equal(parse_good("{" SMALL "}").head_dim, 8);
    assert_false(parse_good("{" SMALL ",\"mid_block_type\":null}").has_mid);
    assert_true(parse_good("{" SMALL "}").has_mid);
    assert_int_equal(parse_good("{" SKIPS ",\"norm_num_groups\":null}").groups,
                     0);
    assert_int_equal(parse_good("{" SKIPS "}").groups, 32);
}

static void test_class_embeddings(void **state)
{
    struct unet2d_config c = parse_good("{" SMALL ",\"num_class_embeds\":11}");

    (void)state;
    assert_int_equal(c.class_embed, UNET2D_CLASS_TABLE);
    assert_int_equal(c.class_rows, 11);
    c = parse_good("{" SMALL ",\"class_embed_type\":\"timestep\"}");
    assert_int_equal(c.class_embed, UNET2D_CLASS_TIMESTEP);
    c = parse_good("{" SMALL ",\"class_embed_type\":\"identity\","
                   "\"num_class_embeds\":3}");
    assert_int_equal(c.class_embed, UNET2D_CLASS_IDENTITY);
}

static void test_old_and_paired_spellings(void **state)
{
    struct unet2d_config c = parse_good(
        "{\"block_out_channels\":[32],\"sample_size\":[24,40],"
        "\"down_block_types\":[\"UNetResAttnDownBlock2D\"],"
        "\"up_block_types\":[\"UNetResAttnUpBlock2D\"],\"act_fn\":\"swish\"}");

    (void)state;
    assert_int_equal(c.down[0], UNET2D_ATTN);
    assert_int_equal(c.up[0], UNET2D_ATTN);
    assert_int_equal(c.sample_h, 24);
    assert_int_equal(c.sample_w, 40);
    assert_int_equal(c.act, ACT_SILU);
}

/* What is refused, and words that the error must have. */
static const struct {
    const char *text;
    const char *key, *found;
} refused[] = {
    {"{\"in_channels\":0}", "in_channels", "0"},
    {"{\"in_channels\":1e300}", "in_channels", ""},
    {"{\"in_channels\":\"3\"}", "in_channels", ""},
    {"{\"out_channels\":-1}", "out_channels", "-1"},
    {"{\"sample_size\":[8]}", "sample_size", "pair"},
    {"{\"sample_size\":0}", "sample_size", ""},
    {"{\"block_out_channels\":[]}", "block_out_channels", "list"},
    {"{\"block_out_channels\":[32,64.5,64,64]}", "block_out_channels[1]", ""},
    {"{\"block_out_channels\":[32,4294967296,64,64]}", "block_out_channels[1]",
     "16384"},
    {"{\"block_out_channels\":[32,33,64,64]}", "block_out_channels[1]",
     "norm_num_groups"},
    {"{\"block_out_channels\":7}", "block_out_channels", "list"},
    {"{\"block_out_channels\":[32,64]}", "down_block_types", "4 entries"},
    {"{\"down_block_types\":{}}", "down_block_types", "list"},
    {"{\"down_block_types\":[1,2,3,4]}", "down_block_types[0]", "string"},
    {"{\"down_block_types\":[\"KDownBlock2D\",\"a\",\"b\",\"c\"]}",
     "down_block_types[0]", "KDownBlock2D"},
    {"{\"up_block_types\":[\"DownBlock2D\",\"a\",\"b\",\"c\"]}",
     "up_block_types[0]", "UpBlock2D"},
    {"{\"mid_block_type\":\"UNetMidBlock2DCrossAttn\"}", "mid_block_type",
     "UNetMidBlock2D"},
    {"{\"layers_per_block\":0}", "layers_per_block", "0"},
    {"{\"layers_per_block\":1000000}", "layers_per_block", "1000000"},
    {"{\"mid_block_scale_factor\":0}", "mid_block_scale_factor", "0"},
    {"{\"downsample_padding\":2}", "downsample_padding", "2"},
    {"{\"downsample_type\":\"fir\"}", "downsample_type", "conv, resnet"},
    {"{\"upsample_type\":3}", "upsample_type", ""},
    {"{\"act_fn\":\"tanh\"}", "act_fn", "silu, swish, mish, gelu, relu"},
    {"{\"attention_head_dim\":0}", "attention_head_dim", "0"},
    {"{" SMALL ",\"attention_head_dim\":65}", "attention_head_dim", "64"},
    {"{\"norm_num_groups\":null}", "norm_num_groups", "DownBlock2D"},
    {"{\"norm_num_groups\":0}", "norm_num_groups", "0"},
    {"{\"norm_eps\":0}", "norm_eps", "0"},
    {"{\"norm_eps\":1e30}", "norm_eps", ""},
    {"{\"resnet_time_scale_shift\":\"spatial\"}", "resnet_time_scale_shift",
     "scale_shift"},
    {"{\"time_embedding_type\":\"learned\"}", "num_train_timesteps", ""},
    {"{\"time_embedding_type\":\"rotary\"}", "time_embedding_type", "fourier"},
    {"{\"freq_shift\":112}", "freq_shift", "112"},
    {"{\"class_embed_type\":\"projection\"}", "class_embed_type", "projection"},
    {"{\"class_embed_type\":\"null\"}", "class_embed_type", "null"},
    {"{\"num_class_embeds\":0}", "num_class_embeds", "0"},
    {"{\"center_input_sample\":1}", "center_input_sample", ""},
    {"{" SKIPS ",\"in_channels\":4}", "in_channels", "SkipDownBlock2D"},
    {"{" SKIPS ",\"out_channels\":4}", "out_channels", "AttnSkipUpBlock2D"},
    {"{\"block_out_channels\":[32,32,32],"
     "\"down_block_types\":[\"DownBlock2D\",\"SkipDownBlock2D\","
     "\"DownBlock2D\"],"
     "\"up_block_types\":[\"UpBlock2D\",\"UpBlock2D\",\"UpBlock2D\"]}",
     "down_block_types[1]", "before all others"},
    {"{\"block_out_channels\":[32,32],"
     "\"down_block_types\":[\"DownBlock2D\",\"DownBlock2D\"],"
     "\"up_block_types\":[\"SkipUpBlock2D\",\"UpBlock2D\"]}",
     "up_block_types[0]", "after all others"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct unet2d_config c;
        struct unstir_error err = {0};
        enum unstir_status status = parse(&c, refused[i].text, &err);

        if (status != UNSTIR_ERR_FORMAT && status != UNSTIR_ERR_UNSUPPORTED)
            fail_msg("%s: status %s", refused[i].text,
                     unstir_status_name(status));
        if (!strstr(err.detail, refused[i].key) ||
            !strstr(err.detail, refused[i].found))
            fail_msg("%s: \"%s\" lacks \"%s\" or \"%s\"", refused[i].text,
                     err.detail, refused[i].key, refused[i].found);
    }
}

static void test_unknown_family(void **state)
{
    static const char text[] = "{\"_class_name\":\"UNet9DModel\"}";
    struct unstir_error err = {0};
    struct json *json;
    struct graph *g;

    (void)state;
    assert_int_equal(json_parse(&json, text, sizeof text - 1, NULL), UNSTIR_OK);
    assert_int_equal(network_graph(&g, json, 1, 8, 8, &err),
                     UNSTIR_ERR_UNSUPPORTED);
    assert_null(g);
    assert_non_null(strstr(err.detail, "UNet9DModel"));
    assert_non_null(strstr(err.detail, "UNet2DModel"));
    json_free(json);
}

/* The network of DDPM for CIFAR-10: 35.7 million parameters, 12.4 GFLOP. */
static void test_ddpm_counts(void **state)
{
    static const char text[] =
        "{\"block_out_channels\":[128,256,256,256],"
        "\"down_block_types\":[\"DownBlock2D\",\"AttnDownBlock2D\","
        "\"DownBlock2D\",\"DownBlock2D\"],"
        "\"up_block_types\":[\"UpBlock2D\",\"UpBlock2D\",\"AttnUpBlock2D\","
        "\"UpBlock2D\"],\"attention_head_dim\":null,\"freq_shift\":1,"
        "\"flip_sin_to_cos\":false,\"downsample_padding\":0,"
        "\"norm_eps\":1e-6}";
    struct unstir_error err = {0};
    struct json *json;
    struct graph *g;
    size_t n = 0;

    (void)state;
    assert_int_equal(json_parse(&json, text, sizeof text - 1, NULL), UNSTIR_OK);
    if (network_graph(&g, json, 1, 32, 32, &err))
        fail_msg("%s", err.detail);
    for (size_t i = 0; i < graph_n_params(g); i++)
        n += graph_param_at(g, (param_id)i)->n;
    assert_int_equal(n, 35746307);
    if (!(graph_flops(g) > 12.35e9 && graph_flops(g) < 12.45e9))
        fail_msg("got %.3f GFLOP, wanted 12.4", 1e-9 * graph_flops(g));
    graph_free(g);
    json_free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_null_is_not_absent),
        cmocka_unit_test(test_class_embeddings),
        cmocka_unit_test(test_old_and_paired_spellings),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_unknown_family),
        cmocka_unit_test(test_ddpm_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
