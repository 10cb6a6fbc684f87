/* model_table.c - all models, and what they take of the ceilings.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model_table.h"

#include <assert.h>
#include <string.h>

#include "buf.h"
#include "config.h"

/* ------------------------------------------------------------- finding -- */

struct model *models_find(const struct models *models, const char *id)
{
    struct model *at = models->first;

    if (id == NULL || id[0] == '\0')
        return at;
    while (at != NULL && strcmp(model_id(at), id) != 0)
        at = at->next;
    return at;
}

const char *models_nearest(const struct models *models, const char *id)
{
    const char *ids[CONFIG_MAX_LIST] = {NULL};
    size_t n = 0;
    int nearest;

    for (struct model *at = models->first; at != NULL; at = at->next)
        if (n < CONFIG_MAX_LIST)
            ids[n++] = model_id(at);
    nearest = unstir_nearest(id, ids, n);
    if (nearest >= 0)
        return ids[nearest];
    return n == 1 ? ids[0] : NULL; /* a choice of one is near enough */
}

struct model *models_after(const struct models *models, const struct model *at)
{
    if (at->next != NULL || at->base != NULL)
        return at->next;
    return models->first_derived;
}

bool models_has_twin(const struct model *model)
{
    for (const struct model *at = model->models->first; at != NULL;
         at = at->next)
        if (at != model && at->info != NULL &&
            strcmp(at->info->id, model->info->id) == 0)
            return true;
    return false;
}

/* ------------------------------------------------------------ counting -- */

void models_count(struct model *model, size_t n_bytes)
{
    model->models->used_bytes += n_bytes;
    model->models->used_bytes -= model->used_bytes;
    model->used_bytes = n_bytes;
}

void models_touch(struct model *model)
{
    model->order = ++model->models->next_order;
    if (model->base != NULL)
        model->base->order = ++model->models->next_order;
}

/* --------------------------------------------- those with their own files */

static const char *last_segment(char *path)
{
    size_t n = strlen(path);
    char *slash;

    while (n > 1 && path[n - 1] == '/')
        path[--n] = '\0';
    slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

struct model *models_add(struct models *models, const char *path)
{
    struct model **end = &models->first;
    struct model *model = mem_zero(1, sizeof *model);

    if (model == NULL)
        return NULL;
    model->path = mem_strdup(path);
    if (model->path != NULL)
        model->name = mem_strdup(last_segment(model->path));
    if (model->name == NULL) {
        mem_free(model->path);
        mem_free(model);
        return NULL;
    }
    model->models = models;
    model->failure = ERROR_NO_MODEL;
    while (*end != NULL)
        end = &(*end)->next;
    *end = model;
    models->n++;
    return model;
}

/* ------------------------------------------------------- derived ones ----- */

static void free_entry(struct model *model)
{
    model_close(model);
    for (size_t i = 0; i < model->n_loras; i++) {
        mem_free((char *)model->loras[i].name);
        mem_free((char *)model->loras[i].path);
        mem_free((char *)model->loras[i].digest);
    }
    mem_free(model->path);
    mem_free(model->name);
    mem_free(model);
}

static bool is_idle(const struct model *model)
{
    return model->n_refs == 0 &&
           (model->state == MODEL_UNLOADED || model->state == MODEL_FAILED);
}

static void drop_entry(struct model *model)
{
    struct model **at = &model->models->first_derived;

    while (*at != model)
        at = &(*at)->next;
    *at = model->next;
    for (struct model *file = model->models->first; file != NULL;
         file = file->next)
        if (file->with == model)
            file->with = NULL;
    free_entry(model);
}

void model_refer(struct model *model)
{
    model->n_refs++;
}

void model_release(struct model *model)
{
    if (model->base == NULL)
        return; /* it stays anyway */
    assert(model->n_refs > 0);
    model->n_refs--;
    if (is_idle(model))
        drop_entry(model);
}

void models_derived_begins(struct model *model)
{
    model->models->n_derived++;
    model->base->n_derived++;
}

void models_derived_ends(struct model *model)
{
    model->models->n_derived--;
    model->base->n_derived--;
    if (is_idle(model))
        drop_entry(model);
}

/* Equal digests mean equal weights; names tell what pictures are told. */
static bool is_same(const struct model *a, const struct model *base,
                    const struct unstir_model_info *info)
{
    if (a->base != base || strcmp(a->info->digest, info->digest) != 0)
        return false;
    for (size_t i = 0; i < info->n_loras; i++)
        if (strcmp(a->info->loras[i].name, info->loras[i].name) != 0)
            return false;
    return true;
}

static bool copy_lora(struct unstir_lora *out, const struct unstir_lora *lora)
{
    *out = *lora;
    out->name = mem_strdup(lora->name);
    out->path = mem_strdup(lora->path);
    out->digest = mem_strdup(lora->digest);
    return out->name != NULL && out->path != NULL && out->digest != NULL;
}

static struct model *new_entry(struct models *models, struct model *base,
                               struct unstir_model *described,
                               const struct unstir_lora *loras, size_t n)
{
    struct model *model = mem_zero(1, sizeof *model);

    if (model == NULL) {
        unstir_model_close(described);
        return NULL;
    }
    model->models = models;
    model->base = base;
    model->state = MODEL_UNLOADED;
    model->failure = ERROR_LORA_UNUSABLE;
    model_describe(model, described);
    while (model->n_loras < n) {
        size_t i = model->n_loras++;

        if (!copy_lora(&model->loras[i], &loras[i])) {
            free_entry(model);
            return NULL;
        }
    }
    model->next = models->first_derived;
    models->first_derived = model;
    return model;
}

struct model *models_derive(struct models *models, struct model *base,
                            const struct unstir_lora *loras, size_t n_loras)
{
    struct unstir_model *described;
    struct model *at;

    if (unstir_model_describe_derived(&described, base->described, loras,
                                      n_loras, NULL) != UNSTIR_OK)
        return NULL;
    for (at = models->first_derived; at != NULL; at = at->next)
        if (is_same(at, base, unstir_model_info(described)))
            break;
    if (at != NULL)
        unstir_model_close(described);
    else
        at = new_entry(models, base, described, loras, n_loras);
    if (at != NULL)
        model_refer(at);
    return at;
}

/* -------------------------------------------------------------- the end -- */

static void free_list(struct model **list)
{
    struct model *next;

    for (struct model *at = *list; at != NULL; at = next) {
        next = at->next;
        free_entry(at);
    }
    *list = NULL;
}

void models_free_all(struct models *models)
{
    free_list(&models->first_derived);
    free_list(&models->first);
}
