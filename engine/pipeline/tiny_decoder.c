/* tiny_decoder.c - a small decoder beside a model's own, for previews.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/tiny_decoder.h"

#include <string.h>

#include "base/path.h"
#include "format/diffusers_folder.h"
#include "format/json.h"
#include "format/weights.h"
#include "model/network.h"
#include "pipeline/checkpoint.h"

#define MAX_CONFIG_BYTES ((size_t)1 << 20)

static enum unstir_status check(const struct tiny_decoder *d,
                                const struct unstir_model *m,
                                struct unstir_error *err)
{
    const struct network_info *n = network_info(d->net);

    if (n->in_channels == m->sample_channels &&
        n->out_channels == m->info.channels && n->up == m->factor)
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "it makes of %u channels pictures of %u, %u times as "
                     "large; this model's latents have %u, its pictures %u, "
                     "and they are %u times as large",
                     n->in_channels, n->out_channels, n->up, m->sample_channels,
                     m->info.channels, m->factor);
}

static enum unstir_status load(struct tiny_decoder *d,
                               const struct unstir_model *m, const char *folder,
                               const struct network_options *options,
                               struct unstir_error *err)
{
    struct network_options o = *options;
    char path[PATH_BYTES];
    const char *name;

    TRY(path_join(path, folder, "config.json", err));
    TRY(json_read(&d->config, path, MAX_CONFIG_BYTES, err));
    name = json_string(json_get(d->config, "_class_name"));
    if (strcmp(name, "AutoencoderTiny") != 0)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "its class is \"%.60s\", not \"AutoencoderTiny\"",
                         name);
    TRY(diffusers_folder_weights(&d->weights, folder, "diffusion_pytorch_model",
                                 err));
    o.part = "decode";
    o.names = (struct network_names){.weights = folder};
    o.cache.folder = NULL; /* packed in milliseconds */
    if (o.precision == UNSTIR_PRECISION_INT8)
        o.precision = UNSTIR_PRECISION_AUTO;
    TRY(network_open(&d->net, d->config, d->weights, 0, &o, err));
    TRY(error_within(vae_scaling(&d->scaling, d->config, err), o.names.config,
                     err));
    return check(d, m, err);
}

enum unstir_status tiny_decoder_open(struct tiny_decoder *d,
                                     const struct unstir_model *m,
                                     const char *folder,
                                     const struct network_options *options,
                                     struct unstir_error *err)
{
    enum unstir_status st;

    *d = (struct tiny_decoder){0};
    st = load(d, m, folder, options, err);
    if (st)
        tiny_decoder_fini(d);
    return error_prefix(st, "the tiny decoder", err);
}

void tiny_decoder_fini(struct tiny_decoder *d)
{
    network_free(d->net);
    weights_close(d->weights);
    json_free(d->config);
    *d = (struct tiny_decoder){0};
}
