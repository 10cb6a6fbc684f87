/* model_room.c - which models are in memory: what fits, who gives way, who is
 * next.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model_room.h"

static bool has_place(const struct models *models, const struct model *model)
{
    return model->base == NULL || models->n_derived < models->max_derived;
}

bool room_fits(const struct model *model)
{
    const struct models *models = model->models;
    size_t n = model_need(model);

    return has_place(models, model) &&
           (models->max_bytes == 0 ||
            (n <= models->max_bytes &&
             models->used_bytes <= models->max_bytes - n));
}

static bool gives_way_before(const struct model *a, const struct model *b)
{
    if (b == NULL || (a->n_users == 0) != (b->n_users == 0))
        return b == NULL || a->n_users == 0;
    return a->order < b->order;
}

/* What will be there when all that leave have left. */
struct staying {
    uint64_t n_bytes;
    size_t n_derived;
};

static void send_away(struct model *model, struct staying *staying)
{
    model->is_leaving = true;
    staying->n_bytes -= model->used_bytes;
    staying->n_derived -= model->base != NULL;
}

/* What shares with a base goes before it. */
static void send_away_all(struct model *victim, struct staying *staying)
{
    for (struct model *at = victim->models->first_derived; at != NULL;
         at = at->next)
        if (at->base == victim && model_is_ready(at))
            send_away(at, staying);
    send_away(victim, staying);
}

/* A base of which a model is being made cannot leave until that is there. */
static bool is_deriving(const struct model *base)
{
    const struct model *at = base->models->first_derived;

    while (at != NULL && (at->base != base || at->state != MODEL_LOADING))
        at = at->next;
    return at != NULL;
}

/* Whether a job that needs `wanted` needs `at` beside it. */
static bool is_with(const struct model *at, const struct model *wanted)
{
    const struct model *with = wanted->with;

    return with != NULL && (at == with || at == with->base);
}

/* What a job needs beside a model that is being loaded stays until that is
 * there, and the job has begun. */
static bool is_awaiting(const struct model *model)
{
    const struct models *models = model->models;
    const struct model *at = models->first;

    while (at != NULL && (at->state != MODEL_LOADING || !is_with(model, at)))
        at = models_after(models, at);
    return at != NULL;
}

static bool can_give_way(const struct model *at, const struct model *wanted)
{
    return model_is_ready(at) && at != wanted->base && !is_with(at, wanted) &&
           !is_deriving(at) && !is_awaiting(at);
}

static struct model *find_victim(const struct models *models,
                                 const struct model *wanted, bool only_derived)
{
    struct model *victim = NULL;

    for (struct model *at = models->first; at != NULL;
         at = models_after(models, at))
        if (can_give_way(at, wanted) && (at->base != NULL || !only_derived) &&
            gives_way_before(at, victim))
            victim = at;
    return victim;
}

void room_make(struct models *models, const struct model *wanted)
{
    struct staying staying = {models->used_bytes, models->n_derived};
    bool counts_bytes = models->max_bytes > 0;
    uint64_t most =
        counts_bytes ? models->max_bytes - model_need(wanted) : UINT64_MAX;
    size_t most_derived =
        wanted->base != NULL ? models->max_derived - 1 : SIZE_MAX;

    for (const struct model *at = models->first; at != NULL;
         at = models_after(models, at))
        if (at->is_leaving) {
            staying.n_bytes -= at->used_bytes;
            staying.n_derived -= at->base != NULL;
        }
    while (staying.n_bytes > most || staying.n_derived > most_derived) {
        struct model *victim =
            find_victim(models, wanted, staying.n_bytes <= most);

        if (victim == NULL)
            return; /* the rest is loading: it can leave when it is there */
        send_away_all(victim, &staying);
    }
}

struct model *room_next_wanted(const struct models *models)
{
    struct model *next = NULL;

    for (struct model *at = models->first; at != NULL;
         at = models_after(models, at))
        if (at->is_wanted && at->state == MODEL_UNLOADED &&
            (at->base == NULL || model_is_ready(at->base)) &&
            (next == NULL || at->order < next->order))
            next = at;
    return next;
}

struct model *room_next_leaver(const struct models *models)
{
    struct model *at = models->first;

    while (at != NULL && !model_may_leave(at))
        at = models_after(models, at);
    return at;
}

/* From now on it waits for its turn, as long as `order` says. */
static void want(struct model *model, const struct model *with, bool may_evict,
                 uint64_t order)
{
    if (model->state != MODEL_UNLOADED || model->is_wanted)
        return;
    if (!may_evict && !room_fits(model))
        return;
    model->is_wanted = true;
    model->with = with;
    model->order = order;
}

/* A base is wanted as long as what shall be derived from it. */
void room_want(struct model *model, const struct model *with, bool may_evict)
{
    uint64_t order =
        model->is_wanted ? model->order : ++model->models->next_order;

    if (model->base != NULL)
        want(model->base, with, may_evict, order);
    want(model, with, may_evict, order);
}

uint64_t room_of_both(const struct model *a, const struct model *b)
{
    const struct model *const all[] = {a, a->base, b, b->base};
    uint64_t n_bytes = 0;

    for (size_t i = 0; i < 4; i++) {
        bool is_new = all[i] != NULL;

        for (size_t k = 0; k < i; k++)
            is_new &= all[i] != all[k];
        if (is_new)
            n_bytes += model_need(all[i]);
    }
    return n_bytes;
}
