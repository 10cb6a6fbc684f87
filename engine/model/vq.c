/* vq.c - the graphs of VQModel.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/vq.h"

#include "format/json.h"
#include "model/fields.h"
#include "model/vae_kl.h"
#include "nn/conv.h"

#define MAX_CODES       1000000
#define MAX_CODE_WIDTH  1024
#define LATENT_CHANNELS 3

struct vq_config {
    struct vae_config vae;
    uint32_t n_codes, code_width;
};

static enum unstir_status parse(struct vq_config *c, const struct json *config,
                                struct unstir_error *err)
{
    static const char *const norms[] = {"group"};
    static const char *const others[] = {"lookup_from_codebook"};
    int word;

    TRY(vae_parse(&c->vae, config, LATENT_CHANNELS, err));
    TRY(field_u32(config, "num_vq_embeddings", 256, 1, MAX_CODES, &c->n_codes,
                  err));
    TRY(field_u32(config, "vq_embed_dim", c->vae.latent_channels, 1,
                  MAX_CODE_WIDTH, &c->code_width, err));
    TRY(field_must_be_null(config, others, ARRAY_LEN(others), err));
    return field_word(config, "norm_type", norms, 1, &word, err);
}

enum unstir_status vq_decode_facts(struct model_facts *facts,
                                   const struct json *config,
                                   struct unstir_error *err)
{
    struct vq_config c;

    TRY(parse(&c, config, err));
    TRY(vae_decode_facts(facts, config, err));
    facts->in_channels = c.code_width;
    return UNSTIR_OK;
}

enum unstir_status vq_decode_build(struct graph *g, const struct json *config,
                                   const struct model_size *size,
                                   struct unstir_error *err)
{
    struct vq_config c;
    value_id z;

    TRY(parse(&c, config, err));
    z = graph_input(g, "sample",
                    (struct shape){size->n, size->h, size->w, c.code_width});
    z = graph_nearest(g, "quantize.embedding.weight", z, c.n_codes);
    z = conv1x1(g, "post_quant_conv", z, c.vae.latent_channels);
    graph_output(g, "out", vae_decoder(g, &c.vae, z));
    return graph_status(g, err);
}

enum unstir_status vq_encode_facts(struct model_facts *facts,
                                   const struct json *config,
                                   struct unstir_error *err)
{
    struct vq_config c;

    TRY(parse(&c, config, err));
    TRY(vae_encode_facts(facts, config, err));
    facts->out_channels = c.code_width;
    return UNSTIR_OK;
}

enum unstir_status vq_encode_build(struct graph *g, const struct json *config,
                                   const struct model_size *size,
                                   struct unstir_error *err)
{
    struct vq_config c;
    value_id x;

    TRY(parse(&c, config, err));
    x = graph_input(
        g, "sample",
        (struct shape){size->n, size->h, size->w, c.vae.in_channels});
    x = vae_encoder(g, &c.vae, x, false);
    graph_output(g, "out", conv1x1(g, "quant_conv", x, c.code_width));
    return graph_status(g, err);
}
