/* model_table.h - all models, and what they take of the ceilings.
 *
 * Those with files of their own stand in one list, in the order given, from the
 * start to the end.  Those that are derived stand in another, each as long as
 * somebody names it or its engine is there.
 *
 * Threads: loop only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_MODEL_TABLE_H
#define SERVER_MODEL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model.h"

struct service;

struct models_counters {
    uint64_t n_made, n_failed, n_canceled, n_unloaded; /* derived models     */
};

/* Who is told of what becomes of models (models.h); NULL members are not. */
struct models_listener {
    void *user;
    void (*loaded)(void *user, struct model *model);
    void (*failed)(void *user, const struct model *model);
    void (*changed)(void *user);
};

struct models {
    struct service *service;
    struct models_listener listener;
    struct model *first;
    struct model *first_derived;
    size_t n;
    size_t n_derived; /* loading, loaded, unloading                          */
    size_t max_derived;
    size_t n_tasks;      /* of helper threads                                */
    uint64_t max_bytes;  /* 0: no ceiling                                    */
    uint64_t used_bytes; /* of models loading, loaded, unloading             */
    uint64_t next_order;
    struct models_counters counters;
    bool is_stopping;
};

/* By id; NULL or "" is the first one.  NULL if there is none. */
struct model *models_find(const struct models *models, const char *id);

/* The id nearest to `id`, or NULL. */
const char *models_nearest(const struct models *models, const char *id);

/* The next of all, those with files of their own first; NULL behind the last. */
struct model *models_after(const struct models *models, const struct model *at);

/* Another one has its id. */
bool models_has_twin(const struct model *model);

/* Add one with files of its own, at the end.  NULL without memory. */
struct model *models_add(struct models *models, const char *path);

/* The model that is `base` with these LoRAs (name, path, digest, scales, at
 * least one that is not 0): an entry that is there or a new one, for the
 * caller to release.  NULL without memory. */
struct model *models_derive(struct models *models, struct model *base,
                            const struct unstir_lora *loras, size_t n_loras);

/* Another one names it; it is not named any more.  For any model. */
void model_refer(struct model *model);
void model_release(struct model *model);

/* A derived one is being made, or its engine is there: that counts.  When it is
 * over the entry goes, unless somebody names it. */
void models_derived_begins(struct model *model);
void models_derived_ends(struct model *model);

/* What it takes of the ceiling from now on. */
void models_count(struct model *model, size_t n_bytes);

/* Used now, and its base whenever what was derived from it is. */
void models_touch(struct model *model);

/* All entries, at the end. */
void models_free_all(struct models *models);

#endif
