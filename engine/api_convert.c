/* api_convert.c - the public door to conversion.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/error.h"
#include "pipeline/convert.h"
#include "unstir.h"

enum unstir_status unstir_convert(const struct unstir_convert_options *options,
                                  char **json, struct unstir_error *err)
{
    *json = NULL;
    if (!options->input || !options->output)
        return error_set(err, UNSTIR_ERR_ARG, "input and output are wanted");
    return convert_model(options, json, err);
}
