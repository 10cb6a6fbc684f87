/* models_derive.c - models with LoRAs: entries that share a base.
 *
 * SPDX-License-Identifier: MIT
 */
#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "models_inside.h"

struct cost *model_cost(struct model *model)
{
    return model->base != NULL ? &model->base->cost : &model->cost;
}

/* -------------------------------------------------------------- entries -- */

static void free_entry(struct model *model)
{
    if (model->engine != model->described)
        unstir_model_close(model->engine);
    unstir_model_close(model->described);
    for (size_t i = 0; i < model->n_loras; i++) {
        mem_free((char *)model->loras[i].name);
        mem_free((char *)model->loras[i].path);
        mem_free((char *)model->loras[i].digest);
    }
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

void model_derived_ended(struct model *model)
{
    struct model *base = model->base;

    model->models->n_derived--;
    base->n_derived--;
    if (is_idle(model))
        drop_entry(model);
    model_leave_if_idle(base);
}

void models_free_derived(struct models *models)
{
    struct model *next;

    for (struct model *at = models->first_derived; at != NULL; at = next) {
        next = at->next;
        free_entry(at);
    }
    models->first_derived = NULL;
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
    model->described = described;
    model->info = unstir_model_info(described);
    model->state = MODEL_UNLOADED;
    model->failure = ERROR_LORA_UNUSABLE;
    model->opened_ms = clock_wall_ms();
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

/* --------------------------------------------------------------- making -- */

struct deriving {
    struct loop_task task; /* first member                                   */
    struct model *model;
    const struct unstir_model *base; /* stays while this runs                */
    bool only_measures;
    atomic_bool is_canceled; /* by the loop.  Relaxed: a wish, no data       */
    size_t peak_bytes;
    struct unstir_model *engine;
    enum unstir_status status;
    struct unstir_error error;
    int64_t started_ns, ended_ns;
};

static bool is_canceled(void *user)
{
    struct deriving *d = user;

    return atomic_load_explicit(&d->is_canceled, memory_order_relaxed);
}

static void run(struct loop_task *task)
{
    struct deriving *d = (struct deriving *)task;
    const struct model *model = d->model;
    size_t n_bytes;

    d->started_ns = clock_mono_ns();
    d->status =
        d->only_measures
            ? unstir_model_derive_bytes(d->base, model->loras, model->n_loras,
                                        &n_bytes, &d->peak_bytes, &d->error)
            : unstir_model_derive_cancelable(&d->engine, d->base, model->loras,
                                             model->n_loras, is_canceled, d,
                                             &d->error);
    d->ended_ns = clock_mono_ns();
}

/* Files that are away or others by now, and missing memory, may be better the
 * next time; what a file holds will not. */
static void failed(struct model *model, const struct deriving *d)
{
    bool is_file = d->status == UNSTIR_ERR_IO;
    bool is_memory = d->status == UNSTIR_ERR_NOMEM;

    model->models->counters.n_failed++;
    model->failure = is_memory ? ERROR_NO_MEMORY : ERROR_LORA_UNUSABLE;
    model->why_is_public = !is_file;
    model_fail(model, d->error.detail);
    if (is_file || is_memory)
        model->state = MODEL_UNLOADED;
}

/* Whoever waits for it will want it again, knowing whether it fits. */
static void measured(struct model *model, const struct deriving *d)
{
    const struct models *models = model->models;
    size_t base_bytes = model_need(model->base);
    char why[200];

    model->need_bytes = d->peak_bytes > 0 ? d->peak_bytes : 1;
    if (base_bytes + model->need_bytes <= models->max_bytes)
        return;
    (void)snprintf(why, sizeof why,
                   "with these LoRAs the model takes %zu MiB of memory while "
                   "it is made; "
                   "--models-memory allows %llu MiB for all models",
                   ((base_bytes + model->need_bytes) >> 20) + 1,
                   (unsigned long long)(models->max_bytes >> 20));
    model->why_is_public = true;
    model_fail(model, why);
}

static void made(struct model *model, struct deriving *d)
{
    model->engine = d->engine;
    model->load_s = (double)(d->ended_ns - d->started_ns) * 1e-9;
    model->models->counters.n_made++;
    model_loaded(model);
}

/* Who has come to wait for it since will want it again. */
static void canceled(struct model *model)
{
    model->models->counters.n_canceled++;
    model_count(model, 0);
}

static void done(struct loop_task *task)
{
    struct deriving *d = (struct deriving *)task;
    struct model *model = d->model;
    struct models *models = model->models;
    bool has_engine = d->engine != NULL;

    models->n_tasks--;
    model->state = MODEL_UNLOADED;
    model->deriving = NULL;
    model_refer(model); /* jobs that fail may be the last to name it         */
    if (d->status == UNSTIR_ERR_CANCELLED)
        canceled(model);
    else if (d->status != UNSTIR_OK)
        failed(model, d);
    else if (d->only_measures)
        measured(model, d);
    else
        made(model, d);
    if (!d->only_measures && !has_engine)
        model_derived_ended(model);
    model_release(model);
    mem_free(d);
    if (!models->is_stopping)
        models_changed(models);
}

/* To measure, the base's description is enough, and that is always there.  A
 * base that is made use of is kept as if the new engine were there already. */
bool model_start_deriving(struct model *model, bool only_measures)
{
    struct models *models = model->models;
    struct deriving *d = mem_zero(1, sizeof *d);

    if (d == NULL)
        return false;
    d->task = (struct loop_task){.run = run, .done = done};
    d->model = model;
    d->base = only_measures ? model->base->described : model->base->engine;
    d->only_measures = only_measures;
    atomic_init(&d->is_canceled, false);
    if (!loop_offload(models->service->loop, &d->task)) {
        mem_free(d);
        return false;
    }
    models->n_tasks++;
    model->deriving = d;
    model->state = MODEL_LOADING;
    model->is_wanted = false;
    if (only_measures)
        return true;
    models->n_derived++;
    model->base->n_derived++;
    model_count(model, model_need(model));
    return true;
}

void model_unwant(struct model *model)
{
    if (model->base == NULL)
        return;
    model->is_wanted = false;
    if (model->deriving != NULL)
        atomic_store_explicit(&model->deriving->is_canceled, true,
                              memory_order_relaxed);
}

void models_cancel_deriving(struct models *models)
{
    for (struct model *at = models->first_derived; at != NULL; at = at->next)
        model_unwant(at);
}
