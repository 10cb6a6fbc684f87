/* model.c - the table of network families.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/model.h"

#include <stdio.h>
#include <string.h>

#include "format/json.h"
#include "model/dit.h"
#include "model/unet2d.h"
#include "model/unet2d_condition.h"
#include "model/vae_kl.h"
#include "model/vae_tiny.h"
#include "model/vq.h"

static const struct family families[] = {
    {"UNet2DModel", NULL, unet2d_facts, unet2d_build_config},
    {"UNet2DConditionModel", NULL, unetc_facts, unetc_build},
    {"DiTTransformer2DModel", NULL, dit_facts, dit_build},
    {"Transformer2DModel", NULL, dit_facts, dit_build},
    {"AutoencoderKL", "decode", vae_decode_facts, vae_decode_build},
    {"AutoencoderKL", "encode", vae_encode_facts, vae_encode_build},
    {"AutoencoderTiny", "decode", tiny_decode_facts, tiny_decode_build},
    {"AutoencoderTiny", "encode", tiny_encode_facts, tiny_encode_build},
    {"VQModel", "decode", vq_decode_facts, vq_decode_build},
    {"VQModel", "encode", vq_encode_facts, vq_encode_build},
};

static enum unstir_status unknown_class(const char *name,
                                        struct unstir_error *err)
{
    char names[240] = "";
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(families) && n < sizeof names; i++)
        if (i == 0 || strcmp(families[i].name, families[i - 1].name) != 0)
            n += (size_t)snprintf(names + n, sizeof names - n, "%s\"%s\"",
                                  i ? ", " : "", families[i].name);
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "_class_name is \"%.60s\"; supported: %s", name, names);
}

static bool is_part(const struct family *family, const char *part)
{
    return !part || (family->part && strcmp(family->part, part) == 0);
}

enum unstir_status model_family(const struct family **out,
                                const struct json *config, const char *part,
                                struct unstir_error *err)
{
    const char *name;
    bool is_known = false;

    *out = NULL;
    if (!config || json_type(config) != JSON_OBJECT)
        return error_set(err, UNSTIR_ERR_FORMAT, "not a JSON object");
    TRY(json_get_string(config, "_class_name", families[0].name, &name, err));
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        if (strcmp(families[i].name, name) != 0)
            continue;
        is_known = true;
        if (is_part(&families[i], part)) {
            *out = &families[i];
            return UNSTIR_OK;
        }
    }
    if (!is_known)
        return unknown_class(name, err);
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "a \"%.60s\" has no part \"%.20s\"", name, part);
}
