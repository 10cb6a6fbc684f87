/* model.c - the table of network families.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/model.h"

#include <string.h>

#include "format/json.h"
#include "model/unet2d.h"

static const struct family families[] = {
    {"UNet2DModel", unet2d_facts, unet2d_build_config},
};

enum unstir_status model_family(const struct family **out,
                                const struct json *config,
                                struct unstir_error *err)
{
    const char *name;

    *out = NULL;
    if (!config || json_type(config) != JSON_OBJECT)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "config.json: not a JSON object");
    TRY(json_get_string(config, "_class_name", families[0].name, &name, err));
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        if (strcmp(families[i].name, name) == 0) {
            *out = &families[i];
            return UNSTIR_OK;
        }
    }
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "config.json: _class_name is \"%.60s\"; supported is "
                     "\"%s\"",
                     name, families[0].name);
}
