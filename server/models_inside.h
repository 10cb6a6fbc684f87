/* models_inside.h - what models.c and models_derive.c share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_MODELS_INSIDE_H
#define SERVER_MODELS_INSIDE_H

#include "models.h"

/* The next of all, those with files of their own first; NULL behind the last. */
struct model *models_after(const struct models *models, const struct model *at);

/* Whether there is room for it beside what is there. */
bool model_fits(const struct model *model);

/* Load who has been wanted longest, making room. */
void models_advance(struct models *models);

/* Unload it if it shall leave and nobody uses it. */
void model_leave_if_idle(struct model *model);

/* False without memory. */
bool model_start_loading(struct model *model, bool without_weights);

/* What it takes of the ceiling from now on. */
void model_count(struct model *model, size_t n);

/* It failed, and so do the jobs that wait for it; model->failure and
 * why_is_public say how. */
void model_fail(struct model *model, const char *why);

/* What it will take, in bytes. */
size_t model_need(const struct model *model);

/* Its engine is there. */
void model_loaded(struct model *model);

/* Something that jobs wait for may have come. */
void models_changed(struct models *models);

/* Unload one that nobody uses. */
void model_start_unloading(struct model *model);

/* Make a derived model out of its loaded base, or find out what it will take.
 * False without memory. */
bool model_start_deriving(struct model *model, bool only_measures);

/* Give up what is being made, of all. */
void models_cancel_deriving(struct models *models);

/* It has no engine any more, and no task: its base may go; so may the entry,
 * if nobody names it. */
void model_derived_ended(struct model *model);

/* All entries, at the end. */
void models_free_derived(struct models *models);

#endif
