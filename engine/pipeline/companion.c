/* companion.c - unstir.json beside a model.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/companion.h"

#include <stdio.h>
#include <string.h>

#include "format/json.h"

#define MAX_BYTES ((size_t)1 << 20)

static enum unstir_status too_long(const char *path, struct unstir_error *err)
{
    return error_set(err, UNSTIR_ERR_ARG, "path too long: %.200s...", path);
}

enum unstir_status companion_path(char path[PATH_BYTES], const char *model,
                                  struct unstir_error *err)
{
    const char *slash = strrchr(model, '/');
    const char *dot = strrchr(slash ? slash : model, '.');
    size_t n = dot ? (size_t)(dot - model) : strlen(model);

    if (n >= PATH_BYTES || snprintf(path, PATH_BYTES, "%.*s.unstir.json",
                                    (int)n, model) >= PATH_BYTES)
        return too_long(model, err);
    return UNSTIR_OK;
}

enum unstir_status companion_read(struct json **json, const char *path,
                                  struct unstir_error *err)
{
    *json = NULL;
    return path_exists(path) ? json_read(json, path, MAX_BYTES, err)
                             : UNSTIR_OK;
}

/* From the folder that the file at `from` stands in. */
static enum unstir_status resolve(char out[PATH_BYTES], const char *from,
                                  const char *path, struct unstir_error *err)
{
    const char *slash = path[0] == '/' ? NULL : strrchr(from, '/');
    int n_folder = slash ? (int)(slash + 1 - from) : 0;

    if (snprintf(out, PATH_BYTES, "%.*s%s", n_folder, from, path) >= PATH_BYTES)
        return too_long(path, err);
    return UNSTIR_OK;
}

static enum unstir_status wish_vae(struct model_parts_wish *wish,
                                   struct companion_parts *memory,
                                   const struct json *json, const char *from,
                                   struct unstir_error *err)
{
    const char *path;

    TRY(json_get_string(json, "vae", NULL, &path, err));
    if (!path || wish->vae)
        return UNSTIR_OK;
    TRY(resolve(memory->paths[0], from, path, err));
    wish->vae = memory->paths[0];
    return UNSTIR_OK;
}

static enum unstir_status wish_texts(struct model_parts_wish *wish,
                                     struct companion_parts *memory,
                                     const struct json *json, const char *from,
                                     struct unstir_error *err)
{
    const struct json *texts = json_get(json, "text_encoders");
    size_t n = json_len(texts);
    bool is_right =
        json_type(texts) == JSON_ARRAY && n > 0 && n <= CONDITIONING_ENCODERS;

    if (!texts || wish->texts[0])
        return UNSTIR_OK;
    for (size_t i = 0; is_right && i < n; i++)
        is_right = json_type(json_at(texts, i)) == JSON_STRING;
    if (!is_right)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "text_encoders must be a list of 1 or 2 paths");
    for (size_t i = 0; i < n; i++) {
        TRY(resolve(memory->paths[1 + i], from, json_string(json_at(texts, i)),
                    err));
        wish->texts[i] = memory->paths[1 + i];
    }
    return UNSTIR_OK;
}

enum unstir_status companion_wish(struct model_parts_wish *wish,
                                  struct companion_parts *memory,
                                  const struct json *json, const char *path,
                                  struct unstir_error *err)
{
    enum unstir_status status = wish_vae(wish, memory, json, path, err);

    if (status == UNSTIR_OK)
        status = wish_texts(wish, memory, json, path, err);
    return error_within(status, path, err);
}
