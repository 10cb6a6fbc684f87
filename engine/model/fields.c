/* fields.c - reading the fields of a component's config.json.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "format/json.h"

#define MAX_SIZE 16384

bool field_is_null(const struct json *config, const char *key)
{
    const struct json *v = json_get(config, key);

    return v && json_type(v) == JSON_NULL;
}

enum unstir_status field_u32(const struct json *config, const char *key,
                             uint32_t fallback, int64_t min, int64_t max,
                             uint32_t *out, struct unstir_error *err)
{
    int64_t v;

    TRY(json_get_int(config, key, fallback, min, max, &v, err));
    *out = (uint32_t)v;
    return UNSTIR_OK;
}

enum unstir_status field_finite(const struct json *config, const char *key,
                                double fallback, double *out,
                                struct unstir_error *err)
{
    TRY(json_get_real(config, key, fallback, out, err));
    if (!isfinite(*out) || fabs(*out) > 1e9)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%s is %g; allowed is -1e9 to 1e9", key, *out);
    return UNSTIR_OK;
}

enum unstir_status field_positive(const struct json *config, const char *key,
                                  double fallback, double *out,
                                  struct unstir_error *err)
{
    TRY(field_finite(config, key, fallback, out, err));
    if (*out <= 0)
        return error_set(err, UNSTIR_ERR_FORMAT, "%s is %g; it must be above 0",
                         key, *out);
    return UNSTIR_OK;
}

enum unstir_status field_divisor(const struct json *config, const char *key,
                                 double fallback, double *out,
                                 struct unstir_error *err)
{
    TRY(field_finite(config, key, fallback, out, err));
    if (fabs(*out) < 1e-9)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%s is %g; it divides and must not be "
                         "near 0",
                         key, *out);
    return UNSTIR_OK;
}

/* *out is the place of `word` in a list of at most 300 characters. */
static enum unstir_status find_word(const char *key, const char *word,
                                    const char *const *words, int n, int *out,
                                    struct unstir_error *err)
{
    char allowed[320] = "";
    size_t n_allowed = 0;

    for (int i = 0; i < n; i++) {
        if (strcmp(word, words[i]) == 0) {
            *out = i;
            return UNSTIR_OK;
        }
        n_allowed +=
            (size_t)snprintf(allowed + n_allowed, sizeof allowed - n_allowed,
                             "%s%s", i ? ", " : "", words[i]);
        if (n_allowed >= sizeof allowed)
            break;
    }
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "%s is \"%.60s\"; supported: %s", key, word, allowed);
}

enum unstir_status field_word(const struct json *config, const char *key,
                              const char *const *words, int n, int *out,
                              struct unstir_error *err)
{
    const char *v;

    TRY(json_get_string(config, key, words[0], &v, err));
    return find_word(key, v, words, n, out, err);
}

enum unstir_status field_act_of(const struct json *config, const char *key,
                                enum act fallback, enum act *out,
                                struct unstir_error *err)
{
    static const char *const words[] = {"silu", "swish", "mish", "gelu",
                                        "relu"};
    static const enum act kinds[] = {ACT_SILU, ACT_SILU, ACT_MISH, ACT_GELU,
                                     ACT_RELU};
    const struct json *v = json_get(config, key);
    int word;

    *out = fallback;
    if (!v || json_type(v) == JSON_NULL)
        return UNSTIR_OK;
    TRY(field_word(config, key, words, ARRAY_LEN(words), &word, err));
    *out = kinds[word];
    return UNSTIR_OK;
}

enum unstir_status field_act(const struct json *config, enum act fallback,
                             enum act *out, struct unstir_error *err)
{
    return field_act_of(config, "act_fn", fallback, out, err);
}

enum unstir_status field_groups(const struct json *config,
                                const uint32_t *channels, uint32_t n,
                                uint32_t max, uint32_t *out,
                                struct unstir_error *err)
{
    TRY(field_u32(config, "norm_num_groups", 32, 1, max, out, err));
    for (uint32_t i = 0; i < n; i++)
        if (channels[i] % *out != 0)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "block_out_channels[%u] is %u; it "
                             "must be a multiple of norm_num_groups, %u",
                             i, channels[i], *out);
    return UNSTIR_OK;
}

enum unstir_status field_sample_size(const struct json *config, uint32_t *h,
                                     uint32_t *w, struct unstir_error *err)
{
    const struct json *v = json_get(config, "sample_size");
    uint32_t *edges[2] = {h, w};

    if (!v || json_type(v) == JSON_NULL)
        return UNSTIR_OK;
    for (size_t i = 0; i < 2; i++) {
        const struct json *edge =
            json_type(v) == JSON_ARRAY && json_len(v) == 2 ? json_at(v, i) : v;

        if (json_type(edge) != JSON_INT || json_int(edge) < 1 ||
            json_int(edge) > MAX_SIZE)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "sample_size must be a whole number "
                             "or a pair of them, 1 to %d",
                             MAX_SIZE);
        *edges[i] = (uint32_t)json_int(edge);
    }
    return UNSTIR_OK;
}

enum unstir_status field_number(const struct json *v, const char *key,
                                uint32_t i, uint32_t max, uint32_t *out,
                                struct unstir_error *err)
{
    if (json_type(v) != JSON_INT || json_int(v) < 1 || json_int(v) > max)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%s[%u] must be a whole number, 1 to %u", key, i, max);
    *out = (uint32_t)json_int(v);
    return UNSTIR_OK;
}

enum unstir_status field_list(const struct json *config, const char *key,
                              const uint32_t *fallback, uint32_t n_fallback,
                              uint32_t max_len, uint32_t max, uint32_t *out,
                              uint32_t *n, struct unstir_error *err)
{
    const struct json *v = json_get(config, key);

    if (!v) {
        *n = n_fallback;
        memcpy(out, fallback, n_fallback * sizeof *fallback);
        return UNSTIR_OK;
    }
    if (json_type(v) != JSON_ARRAY || json_len(v) < 1 || json_len(v) > max_len)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%s must be a list of 1 to %u numbers", key, max_len);
    *n = (uint32_t)json_len(v);
    for (uint32_t i = 0; i < *n; i++)
        TRY(field_number(json_at(v, i), key, i, max, &out[i], err));
    return UNSTIR_OK;
}

enum unstir_status field_each(const struct json *config, const char *key,
                              uint32_t fallback, uint32_t n, uint32_t max,
                              uint32_t *out, struct unstir_error *err)
{
    const struct json *v = json_get(config, key);

    if (v && json_type(v) == JSON_ARRAY) {
        if (json_len(v) != n)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "%s has %zu entries; a number or a "
                             "list of %u is needed",
                             key, json_len(v), n);
        for (uint32_t i = 0; i < n; i++)
            TRY(field_number(json_at(v, i), key, i, max, &out[i], err));
        return UNSTIR_OK;
    }
    TRY(field_u32(config, key, fallback, 1, max, &out[0], err));
    for (uint32_t i = 1; i < n; i++)
        out[i] = out[0];
    return UNSTIR_OK;
}

enum unstir_status field_names(const struct json *config, const char *key,
                               const char *const *words, int n_words,
                               const int *fallback, uint32_t n_fallback,
                               uint32_t n, int *out, struct unstir_error *err)
{
    const struct json *v = json_get(config, key);
    uint32_t found = v ? (uint32_t)json_len(v) : n_fallback;

    if (v && json_type(v) != JSON_ARRAY)
        return error_set(err, UNSTIR_ERR_FORMAT, "%s must be a list", key);
    if (found != n)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%s has %u entries; block_out_channels "
                         "has %u",
                         key, found, n);
    for (uint32_t i = 0; i < n; i++) {
        const char *word;
        char name[96];

        if (!v) {
            out[i] = fallback[i];
            continue;
        }
        if (json_type(json_at(v, i)) != JSON_STRING)
            return error_set(err, UNSTIR_ERR_FORMAT, "%s[%u] must be a string",
                             key, i);
        word = json_string(json_at(v, i));
        snprintf(name, sizeof name, "%s[%u]", key, i);
        TRY(find_word(name, word, words, n_words, &out[i], err));
    }
    return UNSTIR_OK;
}

enum unstir_status field_must_be_null(const struct json *config,
                                      const char *const *keys, size_t n,
                                      struct unstir_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct json *v = json_get(config, keys[i]);

        if (!v || json_type(v) == JSON_NULL ||
            (json_type(v) == JSON_BOOL && !json_bool(v)))
            continue;
        if (json_type(v) == JSON_STRING)
            return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                             "%s is \"%.60s\"; only null is "
                             "supported",
                             keys[i], json_string(v));
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "%s is set; only null or false is "
                         "supported",
                         keys[i]);
    }
    return UNSTIR_OK;
}
