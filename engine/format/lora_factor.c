/* lora_factor.c - by how much a layer of a LoRA counts.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/lora_factor.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/affix.h"
#include "format/json.h"
#include "format/weights.h"

#define ADAPTER     "lora_adapter_metadata"
#define CONFIG      "adapter_config.json"
#define TRAINER     "ss_network_alpha"
#define TEXT_PREFIX "text_model."

/* Each layer is held against each of them. */
#define MAX_PATTERNS 4096u

/* What a pattern may be made of besides letters, digits and points. */
static const char expression_signs[] = "\\*+?()[]{}|$^";

/* "unet.<key>", else "<key>". */
static const struct json *adapter_value(const struct lora_factors *f,
                                        enum single_file_part_id part,
                                        const char *key)
{
    const struct json *value;
    char name[64];

    snprintf(name, sizeof name, "%s.%s", single_file_part_name(part), key);
    value = json_get(f->adapter, name);
    return value ? value : json_get(f->adapter, key);
}

static const char *string_of(const struct lora_factors *f,
                             enum single_file_part_id part, const char *key)
{
    return json_string(adapter_value(f, part, key));
}

/* -- opening --------------------------------------------------------------- */

static enum unstir_status check_patterns(const struct json *patterns,
                                         struct unstir_error *err)
{
    const struct json *value;
    const char *pattern;
    size_t i = 0;

    if (!patterns || json_type(patterns) == JSON_NULL)
        return UNSTIR_OK;
    if (json_type(patterns) != JSON_OBJECT || json_len(patterns) > MAX_PATTERNS)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "alpha_pattern must be an object of at most %u names",
                         MAX_PATTERNS);
    while (json_each(patterns, &i, &pattern, &value)) {
        if (strpbrk(pattern + (pattern[0] == '^'), expression_signs))
            return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                             "alpha_pattern \"%.150s\" is a regular "
                             "expression; supported are names of layers, also "
                             "with a leading ^",
                             pattern);
        if (json_type(value) != JSON_INT && json_type(value) != JSON_REAL)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "alpha_pattern \"%.150s\" must be a number",
                             pattern);
    }
    return UNSTIR_OK;
}

/* Of a kind of change and of a beginning that are known. */
static enum unstir_status check_kind(const struct lora_factors *f,
                                     enum single_file_part_id part,
                                     struct unstir_error *err)
{
    static const char *const changers[] = {"pissa", "olora", "corda", "loftq"};
    const char *kind = string_of(f, part, "peft_type");
    const char *begin = string_of(f, part, "init_lora_weights");

    if (*kind && strcmp(kind, "LORA") != 0)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "peft_type \"%.40s\" is not supported; LORA is", kind);
    for (size_t i = 0; i < ARRAY_LEN(changers); i++)
        if (strncmp(begin, changers[i], strlen(changers[i])) == 0)
            return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                             "init_lora_weights \"%.40s\" changed the model's "
                             "own weights too, which is not supported; save "
                             "the adapter converted to a plain LoRA",
                             begin);
    return UNSTIR_OK;
}

static enum unstir_status open_adapter(struct lora_factors *f, const char *text,
                                       struct unstir_error *err)
{
    TRY(json_parse(&f->adapter, text, strlen(text), err));
    if (json_type(f->adapter) != JSON_OBJECT)
        return error_set(err, UNSTIR_ERR_FORMAT, "must be a JSON object");
    for (int p = 0; p < SINGLE_FILE_PARTS; p++) {
        enum single_file_part_id part = (enum single_file_part_id)p;

        TRY(check_patterns(adapter_value(f, part, "alpha_pattern"), err));
        TRY(check_kind(f, part, err));
    }
    return UNSTIR_OK;
}

enum unstir_status lora_factors_open(struct lora_factors *f,
                                     const struct weights *file,
                                     const char *config,
                                     struct unstir_error *err)
{
    const char *adapter = config ? config : weights_metadata(file, ADAPTER);
    const char *trainer = weights_metadata(file, TRAINER);
    enum unstir_status status;
    struct json *alpha;

    *f = (struct lora_factors){.trainer_alpha = NAN,
                               .source = config ? CONFIG : ADAPTER};
    /* Trainers write "None" too. */
    if (trainer &&
        json_parse(&alpha, trainer, strlen(trainer), NULL) == UNSTIR_OK) {
        f->trainer_alpha = json_real(alpha);
        json_free(alpha);
    }
    if (!adapter)
        return UNSTIR_OK;
    status = error_within(open_adapter(f, adapter, err), f->source, err);
    if (status != UNSTIR_OK)
        lora_factors_close(f);
    return status;
}

void lora_factors_close(struct lora_factors *f)
{
    json_free(f->adapter);
    f->adapter = NULL;
}

/* -- what the adapter says ------------------------------------------------- */

static enum unstir_status adapter_flag(bool *out, const struct lora_factors *f,
                                       enum single_file_part_id part,
                                       const char *key,
                                       struct unstir_error *err)
{
    const struct json *value = adapter_value(f, part, key);

    *out = json_bool(value);
    if (!value || json_type(value) == JSON_BOOL ||
        json_type(value) == JSON_NULL)
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_FORMAT, "%s: %s must be true or false",
                     f->source, key);
}

static bool is_layer(const struct lora_layer *l, const char *pattern)
{
    bool is_whole = pattern[0] == '^';
    const char *name = l->module, *at;
    size_t n, n_name;

    pattern += is_whole;
    (void)affix_strip(name, TEXT_PREFIX, &name); /* with or without it */
    (void)affix_strip(pattern, TEXT_PREFIX, &pattern);
    n = strlen(pattern);
    at = strstr(name, ".lora");
    n_name = at ? (size_t)(at - name) : strlen(name);
    if (n == 0 || n > n_name)
        return false;
    at = name + n_name - n;
    return memcmp(at, pattern, n) == 0 &&
           (at == name || (!is_whole && at[-1] == '.'));
}

/* *alpha stays as it is if the adapter says nothing; the first pattern that
 * fits counts, as the reference has it. */
static enum unstir_status adapter_alpha(double *alpha,
                                        const struct lora_factors *f,
                                        const struct lora_layer *l,
                                        struct unstir_error *err)
{
    const struct json *patterns = adapter_value(f, l->part, "alpha_pattern");
    const struct json *all = adapter_value(f, l->part, "lora_alpha"), *value;
    const char *pattern;
    bool is_dora;
    size_t i = 0;

    TRY(adapter_flag(&is_dora, f, l->part, "use_dora", err));
    if (is_dora)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "%s: use_dora: DoRA is not supported", f->source);
    while (json_each(patterns, &i, &pattern, &value)) {
        if (is_layer(l, pattern)) {
            *alpha = json_real(value);
            return UNSTIR_OK;
        }
    }
    if (!all || json_type(all) == JSON_NULL)
        return UNSTIR_OK;
    if (json_type(all) != JSON_INT && json_type(all) != JSON_REAL)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%s: lora_alpha must be a number", f->source);
    *alpha = json_real(all);
    return UNSTIR_OK;
}

/* -- the whole ------------------------------------------------------------- */

enum unstir_status lora_factor(float *factor, const struct lora_factors *f,
                               const struct lora_layer *l, double own_alpha,
                               struct unstir_error *err)
{
    double rank = (double)l->rank, alpha;
    bool is_by_root = false;

    alpha = isnan(f->trainer_alpha) ? rank : f->trainer_alpha;
    if (f->adapter) {
        TRY(adapter_alpha(&alpha, f, l, err));
        TRY(adapter_flag(&is_by_root, f, l->part, "use_rslora", err));
    }
    if (!isnan(own_alpha))
        alpha = own_alpha;
    *factor = (float)(alpha / (is_by_root ? sqrt(rank) : rank));
    if (!isfinite(*factor))
        return error_set(err, UNSTIR_ERR_FORMAT, "layer %.200s: alpha is %g",
                         l->name, alpha);
    return UNSTIR_OK;
}
