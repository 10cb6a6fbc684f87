/* t_unet2d_condition_config.c - defaults, lists and refusals of
 * UNet2DConditionModel's configuration, and the sizes of published ones.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "format/json.h"
#include "model/network.h"
#include "model/unet2d_condition.h"
#include "ops/graph.h"

static struct json *must_parse(const char *text)
{
    struct json *json;

    assert_int_equal(json_parse(&json, text, strlen(text), NULL), UNSTIR_OK);
    return json;
}

static struct unetc_config parsed(const char *text)
{
    struct json *json = must_parse(text);
    struct unstir_error err = {0};
    struct unetc_config c;

    if (unetc_parse(&c, json, &err))
        fail_msg("%s: %s", text, err.detail);
    json_free(json);
    return c;
}

/* An empty configuration is SD 1.x but for the width of its text. */
static void test_defaults(void **state)
{
    struct unetc_config c = parsed("{}");

    (void)state;
    assert_int_equal(c.n_levels, 4);
    assert_int_equal(c.channels[3], 1280);
    assert_int_equal(c.context_width, 1280);
    assert_int_equal(c.heads[0], 8);
    assert_int_equal(c.n_layers[0], 2);
    assert_true(c.down[0] == UNETC_CROSS && c.down[3] == UNETC_PLAIN);
    assert_true(c.up[0] == UNETC_CROSS && c.up[3] == UNETC_PLAIN);
    assert_int_equal(c.mid, UNETC_MID_CROSS);
    assert_int_equal(c.time_dim, 1280);
    assert_int_equal(c.in_kernel, 3);
    assert_int_equal(c.added_width, 0);
}

static void test_lists(void **state)
{
    struct unetc_config c =
        parsed("{\"attention_head_dim\":[5,10,20,20],"
               "\"transformer_layers_per_block\":[1,2,10,3],"
               "\"layers_per_block\":[1,2,3,4],\"cross_attention_dim\":"
               "[64,64,64,64],\"mid_block_type\":null}");

    (void)state;
    assert_int_equal(c.heads[1], 10);
    assert_int_equal(c.n_down_blocks[2][2], 10);
    assert_int_equal(c.n_up_blocks[1][2], 2);
    assert_int_equal(c.n_layers[3], 4);
    assert_int_equal(c.context_width, 64);
    assert_int_equal(c.mid, UNETC_MID_NONE);
}

static const struct {
    const char *text, *key, *found;
} refused[] = {
    {"{\"block_out_channels\":[]}", "block_out_channels", "1 to 12"},
    {"{\"block_out_channels\":[320,-1]}", "block_out_channels[1]", "1 to"},
    {"{\"block_out_channels\":[320]}", "down_block_types", "4 entries"},
    {"{\"down_block_types\":[\"A\",\"B\",\"C\",\"D\"]}", "down_block_types[0]",
     "\"A\""},
    {"{\"down_block_types\":[1,2,3,4]}", "down_block_types[0]", "string"},
    {"{\"up_block_types\":\"UpBlock2D\"}", "up_block_types", "list"},
    {"{\"mid_block_type\":\"UNetMidBlock2DSimpleCrossAttn\"}", "mid_block_type",
     "SimpleCross"},
    {"{\"norm_num_groups\":33}", "norm_num_groups", "33"},
    {"{\"norm_num_groups\":null}", "norm_num_groups", "null"},
    {"{\"norm_eps\":0}", "norm_eps", "0"},
    {"{\"mid_block_scale_factor\":0}", "mid_block_scale_factor", "0"},
    {"{\"attention_head_dim\":400}", "attention_head_dim", "400"},
    {"{\"attention_head_dim\":[8,8]}", "attention_head_dim", "2 entries"},
    {"{\"num_attention_heads\":2000}", "num_attention_heads", "2000"},
    {"{\"cross_attention_dim\":[768,768,1024,1024]}", "cross_attention_dim[2]",
     "1024"},
    {"{\"only_cross_attention\":[true]}", "only_cross_attention", "1 entries"},
    {"{\"transformer_layers_per_block\":[1,2]}", "transformer_layers_per_block",
     "2 entries"},
    {"{\"transformer_layers_per_block\":[[1],2,3,4]}",
     "transformer_layers_per_block[0]", "1 entries"},
    {"{\"transformer_layers_per_block\":64}", "transformer_layers_per_block",
     "512"},
    {"{\"act_fn\":\"elu\"}", "act_fn", "\"elu\""},
    {"{\"freq_shift\":160}", "freq_shift", "160"},
    {"{\"time_embedding_type\":\"learned\"}", "time_embedding_type",
     "\"learned\""},
    {"{\"time_embedding_type\":\"fourier\",\"time_embedding_dim\":33}",
     "time_embedding_dim", "33"},
    {"{\"timestep_post_act\":\"elu\"}", "timestep_post_act", "\"elu\""},
    {"{\"resnet_out_scale_factor\":0}", "resnet_out_scale_factor", "0"},
    {"{\"class_embed_type\":\"other\"}", "class_embed_type", "\"other\""},
    {"{\"class_embed_type\":\"projection\"}",
     "projection_class_embeddings_input_dim", "1 to"},
    {"{\"addition_embed_type\":\"image\"}", "addition_embed_type", "\"image\""},
    {"{\"addition_embed_type\":\"text_time\",\"addition_time_embed_dim\":256,"
     "\"projection_class_embeddings_input_dim\":1536}",
     "projection_class_embeddings_input_dim", "1536"},
    {"{\"conv_in_kernel\":2}", "conv_in_kernel", "2"},
    {"{\"encoder_hid_dim_type\":\"text_proj\"}", "encoder_hid_dim_type",
     "encoder_hid_dim, 1 to"},
    {"{\"encoder_hid_dim_type\":\"image_proj\"}", "encoder_hid_dim_type",
     "\"image_proj\""},
    {"{\"dual_cross_attention\":true}", "dual_cross_attention", "false"},
    {"{\"attention_type\":\"gated\"}", "attention_type", "\"gated\""},
    {"{\"sample_size\":0}", "sample_size", "1 to"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct json *json = must_parse(refused[i].text);
        struct unetc_config c;
        struct unstir_error err = {0};

        if (unetc_parse(&c, json, &err) == UNSTIR_OK)
            fail_msg("%s: accepted", refused[i].text);
        if (!strstr(err.detail, refused[i].key) ||
            !strstr(err.detail, refused[i].found))
            fail_msg("%s: \"%s\" lacks \"%s\" or \"%s\"", refused[i].text,
                     err.detail, refused[i].key, refused[i].found);
        json_free(json);
    }
}

/* The published networks have these many parameters. */
static const struct {
    const char *name, *text;
    uint64_t n_parameters;
} published[] = {
    {"SD 1.5", "{\"cross_attention_dim\":768}", 859520964},
    {"SD 2.1",
     "{\"cross_attention_dim\":1024,\"attention_head_dim\":[5,10,20,20],"
     "\"use_linear_projection\":true}",
     865910724},
    {"SD XL",
     "{\"cross_attention_dim\":2048,\"attention_head_dim\":[5,10,20],"
     "\"use_linear_projection\":true,\"block_out_channels\":[320,640,1280],"
     "\"down_block_types\":[\"DownBlock2D\",\"CrossAttnDownBlock2D\","
     "\"CrossAttnDownBlock2D\"],\"up_block_types\":[\"CrossAttnUpBlock2D\","
     "\"CrossAttnUpBlock2D\",\"UpBlock2D\"],\"transformer_layers_per_block\":"
     "[1,2,10],\"addition_embed_type\":\"text_time\","
     "\"addition_time_embed_dim\":256,"
     "\"projection_class_embeddings_input_dim\":2816}",
     2567463684},
};

static void test_published_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(published); i++) {
        struct json *json = must_parse(published[i].text);
        struct model_size size = {1, 64, 64, 77};
        struct unstir_error err = {0};
        struct graph *g;
        uint64_t n = 0;

        assert_int_equal(graph_new(&g, NULL), UNSTIR_OK);
        if (unetc_build(g, json, &size, &err))
            fail_msg("%s: %s", published[i].name, err.detail);
        for (size_t p = 0; p < graph_n_params(g); p++)
            n += graph_param_at(g, (param_id)p)->n;
        if (n != published[i].n_parameters)
            fail_msg("%s: got %llu parameters, wanted %llu", published[i].name,
                     (unsigned long long)n,
                     (unsigned long long)published[i].n_parameters);
        graph_free(g);
        json_free(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_published_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
