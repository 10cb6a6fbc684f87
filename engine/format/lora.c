/* lora.c - the reader of LoRA files.
 *
 * A tensor's name is cut into part, layer and role by two tables; layers are
 * gathered by name, then checked.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/lora.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/affix.h"
#include "base/alloc.h"
#include "base/mapfile.h"
#include "base/path.h"
#include "format/digest.h"
#include "format/lora_factor.h"
#include "format/safetensors.h"
#include "format/single_file_names.h"
#include "format/weights.h"

#define MAX_NAME_BYTES SINGLE_FILE_NAME_BYTES
#define TEXT_PREFIX    "text_model_"
#define PEFT_PREFIX    "base_model.model."
#define PEFT_FILE      "adapter_model.safetensors"
#define PEFT_CONFIG    "adapter_config.json"

#define MAX_CONFIG_BYTES (1u << 20)

enum role { ROLE_DOWN, ROLE_UP, ROLE_ALPHA, ROLE_NONE };

static const struct {
    const char *prefix;
    enum single_file_part_id part;
} parts[] = {
    {"lora_unet_", SINGLE_FILE_UNET},
    {"lora_te_", SINGLE_FILE_TEXT},
    {"lora_te1_", SINGLE_FILE_TEXT},
    {"lora_te2_", SINGLE_FILE_TEXT_2},
    {"unet.", SINGLE_FILE_UNET},
    {"text_encoder.", SINGLE_FILE_TEXT},
    {"text_encoder_2.", SINGLE_FILE_TEXT_2},
};

/* Files of one network name no part: its first blocks tell. */
static const struct {
    const char *begin;
    enum single_file_part_id part;
} networks[] = {
    {"down_blocks.", SINGLE_FILE_UNET},    {"mid_block.", SINGLE_FILE_UNET},
    {"up_blocks.", SINGLE_FILE_UNET},      {"text_model.", SINGLE_FILE_TEXT},
    {"encoder.layers.", SINGLE_FILE_TEXT},
};

/* Blocks of networks of other families. */
static const struct {
    const char *piece, *family;
} foreign[] = {
    {"double_blocks", "Flux"},
    {"single_blocks", "Flux"},
    {"single_transformer_blocks", "Flux"},
    {"joint_blocks", "Stable Diffusion 3"},
    {"transformer.", "a diffusion transformer (Flux, Stable Diffusion 3)"},
    {"lora_transformer_", "a diffusion transformer (Flux, Stable Diffusion 3)"},
    {"lora_prior_", "Stable Cascade"},
};

static const struct {
    const char *suffix;
    enum role role;
} roles[] = {
    {".lora_down.weight", ROLE_DOWN},
    {".lora_up.weight", ROLE_UP},
    {".lora_A.weight", ROLE_DOWN},
    {".lora_B.weight", ROLE_UP},
    {".lora_A.default.weight", ROLE_DOWN},
    {".lora_B.default.weight", ROLE_UP},
    {".lora.down.weight", ROLE_DOWN},
    {".lora.up.weight", ROLE_UP},
    {".lora_linear_layer.down.weight", ROLE_DOWN},
    {".lora_linear_layer.up.weight", ROLE_UP},
    {"_lora.down.weight", ROLE_DOWN}, /* of attention processors            */
    {"_lora.up.weight", ROLE_UP},
    {".alpha", ROLE_ALPHA},
};

/* Other changes of layers, told by a piece of the tensor's name. */
static const struct {
    const char *piece, *kind;
} others[] = {
    {".dora_scale", "DoRA"},
    {".lora_magnitude_vector", "DoRA"},
    {".lora_mid.", "a convolution in three pieces (CP decomposition)"},
    {".lora_embedding_", "a LoRA of embeddings"},
    {".lora_B.bias", "a LoRA with biases"},
    {".lora_up.bias", "a LoRA with biases"},
    {".hada_", "LoHa"},
    {".lokr_", "LoKr"},
    {".oft_", "OFT"},
    {".boft_", "BOFT"},
    {".diff", "a full difference of weights"},
    {".on_input", "IA3"},
};

/* -- names ------------------------------------------------------------- */

/* name becomes what stands before the role's suffix. */
static enum role cut_role(char name[MAX_NAME_BYTES])
{
    size_t n = strlen(name);

    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        size_t m = strlen(roles[i].suffix);

        if (n > m && affix_ends(name, roles[i].suffix)) {
            name[n - m] = '\0';
            return roles[i].role;
        }
    }
    return ROLE_NONE;
}

static void flatten(char *name)
{
    const char *rest;

    for (char *p = name; *p; p++)
        if (*p == '.')
            *p = '_';
    if (affix_strip(name, TEXT_PREFIX, &rest))
        memmove(name, rest, strlen(rest) + 1);
}

/* "attn1.processor.to_out" is the layer "attn1.to_out.0". */
static void drop_processor(char name[MAX_NAME_BYTES])
{
    static const char word[] = ".processor.";
    char *at = strstr(name, word);
    size_t n;

    if (!at)
        return;
    memmove(at + 1, at + sizeof word - 1, strlen(at + sizeof word - 1) + 1);
    n = strlen(name);
    if (affix_ends(name, ".to_out") && n + 2 < MAX_NAME_BYTES)
        memcpy(name + n, ".0", 3);
}

/* "self_attn.to_q" of old text encoder files is the layer "self_attn.q_proj".
 */
static void modernise_text(char name[MAX_NAME_BYTES])
{
    static const char word[] = ".self_attn.to_";
    char *at = strstr(name, word), tail[8];

    if (!at || strlen(at + sizeof word - 1) >= sizeof tail)
        return;
    snprintf(tail, sizeof tail, "%s", at + sizeof word - 1);
    snprintf(at, MAX_NAME_BYTES - (size_t)(at - name), ".self_attn.%s_proj",
             tail);
}

/* Original block names of SDXL files: "input_blocks_4_1_rest" with the numbers
 * between points goes through the renaming of single files.  An SDXL UNet has
 * two residual blocks a level, as all that have such names. */
static void modernise(char name[MAX_NAME_BYTES])
{
    static const struct single_file_layout layout = {.unet_layers = 2};
    static const char *const blocks[] = {"input_blocks_", "output_blocks_",
                                         "middle_block_", "time_embed_",
                                         "label_emb_",    "out_"};
    char original[MAX_NAME_BYTES + 32], *p;
    struct single_file_target target;
    size_t i = 0;

    while (i < ARRAY_LEN(blocks) && !affix_begins(name, blocks[i]))
        i++;
    if (i == ARRAY_LEN(blocks))
        return;
    snprintf(original, sizeof original, "model.diffusion_model.%s.", name);
    p = original + strlen("model.diffusion_model.") + strlen(blocks[i]) - 1;
    /* Points around numbers and behind block names; names of layers inside a
     * residual block have theirs too. */
    for (; *p; p++)
        if (*p == '_' &&
            ((p[1] >= '0' && p[1] <= '9') || (p[-1] >= '0' && p[-1] <= '9')))
            *p = '.';
    if (!single_file_target(&target, original, &layout))
        return;
    snprintf(name, MAX_NAME_BYTES, "%s", target.name);
    name[strlen(name) - 1] = '\0';
}

/* The name of a layer in its part, or NULL. */
static const char *find_part(enum single_file_part_id *part, const char *name)
{
    const char *rest;
    bool is_peft;

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        *part = parts[i].part;
        if (affix_strip(name, parts[i].prefix, &rest))
            return rest;
    }
    is_peft = affix_strip(name, PEFT_PREFIX, &rest);
    if (!is_peft)
        rest = name;
    for (size_t i = 0; i < ARRAY_LEN(networks); i++) {
        *part = networks[i].part;
        if (affix_begins(rest, networks[i].begin))
            return rest;
    }
    *part = SINGLE_FILE_UNET;
    return is_peft ? rest : NULL;
}

/* The flattened layer of a tensor, and where its own name of it begins;
 * ROLE_NONE: none of the namings. */
static enum role read_name(char out[MAX_NAME_BYTES], const char **module,
                           enum single_file_part_id *part, const char *name)
{
    const char *rest = find_part(part, name);
    enum role role;

    if (!rest)
        return ROLE_NONE;
    *module = rest;
    snprintf(out, MAX_NAME_BYTES, "%s", rest);
    role = cut_role(out);
    drop_processor(out);
    if (*part == SINGLE_FILE_UNET)
        modernise(out);
    else
        modernise_text(out);
    flatten(out);
    return role;
}

/* -- layers ------------------------------------------------------------ */

static int compare(const void *a, const void *b)
{
    const struct lora_layer *x = a, *y = b;

    if (x->part != y->part)
        return x->part < y->part ? -1 : 1;
    return strcmp(x->name, y->name);
}

static enum unstir_status take_layer(struct lora *lora,
                                     const struct lora_layer *layer,
                                     const char *name, struct unstir_error *err)
{
    struct lora_layer *to;

    if (lora->n == LORA_MAX_LAYERS)
        return error_set(err, UNSTIR_ERR_LIMIT, "more than %u layers",
                         LORA_MAX_LAYERS);
    TRY(alloc_grow(&lora->layers, &lora->capacity, lora->n + 1, sizeof *layer,
                   err));
    to = &lora->layers[lora->n];
    *to = *layer;
    TRY(alloc_strdup(&to->name, name, err));
    lora->n++;
    return UNSTIR_OK;
}

/* A name of another family's network can have the form of ours. */
static enum unstir_status check_family(const char *name,
                                       struct unstir_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++) {
        const char *at = strstr(name, foreign[i].piece);

        if (at && (at == name || at[-1] == '.' || at[-1] == '_'))
            return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                             "tensor \"%.200s\" is of a LoRA for %s; LoRAs "
                             "for Stable Diffusion 1.x, 2.x and SDXL are "
                             "supported",
                             name, foreign[i].family);
    }
    return UNSTIR_OK;
}

static enum unstir_status not_a_role(const char *name, struct unstir_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (strstr(name, others[i].piece))
            return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                             "tensor \"%.200s\" is of %s, which is not "
                             "supported; plain LoRA and LoCon are",
                             name, others[i].kind);
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "tensor \"%.200s\" has no name of a LoRA (kohya, PEFT or "
                     "diffusers)",
                     name);
}

static enum unstir_status add_tensor(struct lora *lora,
                                     const struct tensor_view *t,
                                     struct unstir_error *err)
{
    struct lora_layer layer = {.factor = NAN};
    char name[MAX_NAME_BYTES];
    enum role role;

    TRY(check_family(t->name, err));
    role = read_name(name, &layer.module, &layer.part, t->name);
    if (role == ROLE_NONE)
        return not_a_role(t->name, err);
    if (!dtype_is_float(t->dtype) || (role == ROLE_ALPHA && t->n != 1) ||
        (role != ROLE_ALPHA && t->rank < 2))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "tensor \"%.200s\": wanted: %s of floats", t->name,
                         role == ROLE_ALPHA ? "one number" : "a matrix");
    if (role == ROLE_DOWN)
        layer.down = t;
    else if (role == ROLE_UP)
        layer.up = t;
    else
        dtype_load(&layer.factor, t->data, t->dtype, 1); /* alpha, for now */
    if (role == ROLE_ALPHA && !isfinite(layer.factor))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "tensor \"%.200s\" is %g, not a finite number",
                         t->name, (double)layer.factor);
    return take_layer(lora, &layer, name, err);
}

/* Halves of one layer become one. */
static enum unstir_status join(struct lora *lora, struct unstir_error *err)
{
    size_t k = 0;

    if (lora->n > 1)
        qsort(lora->layers, lora->n, sizeof *lora->layers, compare);
    for (size_t i = 0; i < lora->n; i++) {
        struct lora_layer *from = &lora->layers[i];
        struct lora_layer *to = k ? &lora->layers[k - 1] : NULL;

        if (!to || compare(to, from) != 0) {
            struct lora_layer moved = *from;

            from->name = NULL;
            lora->layers[k++] = moved;
            continue;
        }
        if ((from->down && to->down) || (from->up && to->up))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "layer %.200s stands twice", to->name);
        to->down = from->down ? from->down : to->down;
        to->up = from->up ? from->up : to->up;
        to->factor = isnan(from->factor) ? to->factor : from->factor;
        alloc_free(from->name);
        from->name = NULL;
    }
    lora->n = k;
    return UNSTIR_OK;
}

static enum unstir_status check_layer(struct lora_layer *l,
                                      const struct lora_factors *factors,
                                      struct unstir_error *err)
{
    if (!l->down || !l->up)
        return error_set(err, UNSTIR_ERR_FORMAT, "layer %.200s has no %s half",
                         l->name, l->down ? "up" : "down");
    l->rank = l->down->dims[0];
    if (l->rank == 0 || l->rank > LORA_MAX_RANK || l->up->dims[0] == 0 ||
        l->up->n != l->up->dims[0] * l->rank || l->down->n == 0)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "layer %.200s: down has %llu rows, up %zu numbers; "
                         "wanted: one rank of 1 to %u",
                         l->name, (unsigned long long)l->rank, l->up->n,
                         LORA_MAX_RANK);
    return lora_factor(&l->factor, factors, l, (double)l->factor, err);
}

/* -- opening ----------------------------------------------------------- */

static enum unstir_status check_layers(struct lora *lora,
                                       struct unstir_error *err)
{
    enum unstir_status status = UNSTIR_OK;
    struct lora_factors factors;

    TRY(lora_factors_open(&factors, lora->file, lora->config, err));
    for (size_t i = 0; status == UNSTIR_OK && i < lora->n; i++)
        status = check_layer(&lora->layers[i], &factors, err);
    lora_factors_close(&factors);
    return status;
}

static enum unstir_status fill(struct lora *lora, struct unstir_error *err)
{
    for (size_t i = 0; i < weights_len(lora->file); i++)
        TRY(add_tensor(lora, weights_at(lora->file, i), err));
    if (lora->n == 0)
        return error_set(err, UNSTIR_ERR_FORMAT, "the file has no tensors");
    TRY(join(lora, err));
    return check_layers(lora, err);
}

/* Over tensors and what else *lora has; all of it ends here on failure. */
static enum unstir_status read_layers(struct lora *lora,
                                      struct unstir_error *err)
{
    enum unstir_status status = fill(lora, err);

    if (status != UNSTIR_OK)
        lora_close(lora);
    return status;
}

enum unstir_status lora_from_weights(struct lora *lora, struct weights *file,
                                     struct unstir_error *err)
{
    *lora = (struct lora){.file = file};
    return read_layers(lora, err);
}

/* The file of a folder. */
static enum unstir_status find_file(char out[PATH_BYTES], const char *folder,
                                    struct unstir_error *err)
{
    static const char *const names[] = {PEFT_FILE,
                                        "pytorch_lora_weights.safetensors"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        TRY(path_join(out, folder, names[i], err));
        if (path_exists(out))
            return UNSTIR_OK;
    }
    return error_set(err, UNSTIR_ERR_IO,
                     "%.200s: has neither %s nor %s; give the path of the file",
                     folder, names[0], names[1]);
}

/* PEFT's configuration, which has numbers that its tensors do not tell. */
static enum unstir_status read_config(struct lora *lora, const char *file,
                                      struct unstir_error *err)
{
    const char *slash = strrchr(file, '/');
    char folder[PATH_BYTES], path[PATH_BYTES];

    if (strcmp(slash ? slash + 1 : file, PEFT_FILE) != 0)
        return UNSTIR_OK;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - file) : 1,
             slash ? file : ".");
    TRY(path_join(path, folder, PEFT_CONFIG, err));
    return path_exists(path) ? mapfile_read(&lora->config, &lora->n_config,
                                            path, MAX_CONFIG_BYTES, err)
                             : UNSTIR_OK;
}

static enum unstir_status read_file(struct lora *lora, const char *path,
                                    const char *name, size_t max_bytes,
                                    struct unstir_error *err)
{
    char file[PATH_BYTES];

    if (path_is_folder(path)) {
        TRY(find_file(file, path, err));
        path = file;
    }
    TRY(mapfile_read(&lora->bytes, &lora->n_bytes, path, max_bytes, err));
    TRY(read_config(lora, path, err));
    return safetensors_parse(&lora->file, lora->bytes, lora->n_bytes, name,
                             err);
}

enum unstir_status lora_open(struct lora *lora, const char *path,
                             const char *name, size_t max_bytes,
                             struct unstir_error *err)
{
    enum unstir_status status;

    *lora = (struct lora){.file = NULL};
    status = read_file(lora, path, name, max_bytes, err);
    if (status == UNSTIR_OK)
        return error_within(read_layers(lora, err), name, err);
    lora_close(lora);
    return status;
}

enum unstir_status lora_digest(char hex[65], const struct lora *lora,
                               struct unstir_error *err)
{
    struct digest *digest;

    TRY(digest_new(&digest, err));
    digest_add_plain(digest, lora->bytes, lora->n_bytes);
    if (lora->config)
        digest_add_plain(digest, lora->config, lora->n_config);
    digest_finish(digest, hex);
    return UNSTIR_OK;
}

void lora_close(struct lora *lora)
{
    for (size_t i = 0; i < lora->n; i++)
        alloc_free(lora->layers[i].name);
    alloc_free(lora->layers);
    weights_close(lora->file);
    alloc_free(lora->bytes);
    alloc_free(lora->config);
    *lora = (struct lora){.file = NULL};
}

const struct lora_layer *lora_find(const struct lora *lora,
                                   enum single_file_part_id part,
                                   const char *weight)
{
    static const char suffix[] = ".weight";
    struct lora_layer wanted = {.part = part};
    char name[MAX_NAME_BYTES];
    size_t n = strlen(weight);

    if (n < sizeof suffix || n >= sizeof name || !affix_ends(weight, suffix) ||
        lora->n == 0)
        return NULL;
    snprintf(name, sizeof name, "%.*s", (int)(n - (sizeof suffix - 1)), weight);
    flatten(name);
    wanted.name = name;
    return bsearch(&wanted, lora->layers, lora->n, sizeof *lora->layers,
                   compare);
}
