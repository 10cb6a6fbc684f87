/* fuzz_state.c - saved generations: what is taken can be shown, saved and
 * taken again.
 *
 * The model has drawn weights, and a digest and fingerprint of its own, so
 * that the corpus does not depend on the machine or on kernels.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "pipeline/checkpoint.h"

static const char unet_text[] =
    "{\"_class_name\":\"UNet2DModel\",\"sample_size\":8,\"in_channels\":1,"
    "\"out_channels\":1,\"layers_per_block\":1,\"block_out_channels\":[4],"
    "\"norm_num_groups\":2,\"down_block_types\":[\"DownBlock2D\"],"
    "\"up_block_types\":[\"UpBlock2D\"],\"add_attention\":false,"
    "\"num_class_embeds\":3}";
static const char unstir_text[] =
    "{\"null_class\":2,\"limits\":{\"max_size\":16},"
    "\"defaults\":{\"steps\":3}}";

static struct json *parse(const char *text)
{
    struct json *root;

    if (json_parse(&root, text, strlen(text), NULL))
        abort();
    return root;
}

/* Kept for the process, so reachable: the leak checker looks away. */
static struct unstir_model *shared_model;
static struct checkpoint_parts parts;

static struct unstir_model *open_model(void)
{
    struct unstir_model_options options = {.isa = "scalar"};
    parts = (struct checkpoint_parts){
        .name = "fuzz",
        .digest = "fuzz",
        .unet_config = parse(unet_text),
        .unstir = parse(unstir_text),
    };
    struct unstir_model *model;
    struct unstir_error err;

    if (checkpoint_new(&model, &parts, &options, &err))
        abort();
    model->info.fingerprint = "fuzz";
    return model;
}

static void check_saved(struct unstir_generation *gen)
{
    struct unstir_generation *again;
    struct unstir_error err;
    unsigned char *bytes;
    size_t n;

    if (unstir_generation_save(gen, &bytes, &n, &err))
        abort();
    if (unstir_generation_restore(&again, shared_model, bytes, n, &err))
        abort();
    unstir_generation_free(again);
    unstir_free(bytes);
}

void fuzz_state(const uint8_t *bytes, size_t n)
{
    struct unstir_generation *gen;
    struct unstir_image image;
    struct unstir_error err;

    if (!shared_model)
        shared_model = open_model();
    if (unstir_generation_restore(&gen, shared_model, bytes, n, &err))
        return;
    struct unstir_progress p = unstir_generation_progress(gen);
    if (p.step > p.steps)
        abort();
    if (unstir_generation_preview(gen, UNSTIR_VIEW_ESTIMATE, &image, &err))
        abort();
    unstir_image_fini(&image);
    check_saved(gen);
    unstir_generation_free(gen);
}

FUZZ_ENTRY(fuzz_state)
