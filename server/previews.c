/* previews.c - every step of a job as a picture, within one byte budget.
 *
 * SPDX-License-Identifier: MIT
 */
#include "previews.h"

#include <assert.h>
#include <string.h>

#include "buf.h"

void preview_budget_init(struct preview_budget *budget, size_t max_bytes)
{
    memset(budget, 0, sizeof *budget);
    budget->max_bytes = max_bytes;
    ring_init(&budget->by_end);
}

static size_t n_slots(const struct previews *p)
{
    return (size_t)p->n_images * ((size_t)p->n_steps + 1) * PREVIEW_N_VIEWS;
}

static size_t slot(const struct previews *p, uint32_t image, uint32_t step,
                   unsigned view)
{
    return ((size_t)image * ((size_t)p->n_steps + 1) + step) * PREVIEW_N_VIEWS +
           view;
}

static size_t view_bytes(const struct previews *p)
{
    return (size_t)p->width * p->height * p->channels;
}

bool previews_init(struct previews *p, struct preview_budget *budget,
                   uint32_t n_images, uint32_t n_steps)
{
    assert(n_images >= 1 && n_images <= 16);
    memset(p, 0, sizeof *p);
    p->budget = budget;
    p->every = 1;
    p->keeps_all = true;
    for (size_t i = 0; i < 16; i++)
        p->newest[i] = PREVIEWS_NONE;
    p->n_images = n_images;
    p->n_steps = n_steps;
    p->pixels = mem_zero(n_slots(p), sizeof *p->pixels);
    if (p->pixels == NULL) {
        p->n_images = 0;
        return false;
    }
    p->n_bytes = n_slots(p) * sizeof *p->pixels;
    budget->n_bytes += p->n_bytes;
    return true;
}

static void drop_step(struct previews *p, uint32_t image, uint32_t step)
{
    bool had_any = false;

    for (unsigned view = 0; view < PREVIEW_N_VIEWS; view++) {
        uint8_t **at = &p->pixels[slot(p, image, step, view)];

        if (*at == NULL)
            continue;
        mem_free(*at);
        *at = NULL;
        p->n_bytes -= view_bytes(p);
        p->budget->n_bytes -= view_bytes(p);
        had_any = true;
    }
    p->budget->n_dropped += had_any;
}

/* Drops the table too: a finished job without pictures costs nothing. */
static void drop_all(struct previews *p)
{
    if (p->pixels == NULL)
        return;
    for (uint32_t image = 0; image < p->n_images; image++)
        for (uint32_t step = 0; step <= p->n_steps; step++)
            drop_step(p, image, step);
    mem_free(p->pixels);
    p->pixels = NULL;
    p->budget->n_bytes -= p->n_bytes;
    p->n_bytes = 0;
}

static void unlink_finished(struct previews *p)
{
    if (ring_is_in(&p->by_end))
        ring_remove(&p->by_end);
}

void previews_fini(struct previews *p)
{
    if (p->budget == NULL)
        return;
    unlink_finished(p);
    drop_all(p);
    memset(p, 0, sizeof *p);
}

/* Whether the policy keeps this step at all. */
static bool wants(const struct previews *p, uint32_t step)
{
    return p->pixels != NULL && step <= p->n_steps &&
           (step % p->every == 0 || step == p->n_steps);
}

static bool drop_own_oldest(struct previews *p)
{
    for (uint32_t image = 0; image < p->n_images; image++) {
        uint32_t *at = &p->oldest[image];

        if (p->newest[image] == PREVIEWS_NONE || *at >= p->newest[image])
            continue;
        drop_step(p, image, (*at)++);
        return true;
    }
    return false;
}

static void make_room(struct previews *p)
{
    struct preview_budget *b = p->budget;

    while (b->n_bytes > b->max_bytes) {
        if (!ring_is_empty(&b->by_end)) {
            struct previews *first =
                RING_OF(b->by_end.next, struct previews, by_end);

            unlink_finished(first);
            drop_all(first);
        } else if (!drop_own_oldest(p)) {
            return; /* the newest step of each picture always stays */
        }
    }
}

void previews_take(struct previews *p, uint32_t image, uint32_t step,
                   uint8_t *views[PREVIEW_N_VIEWS])
{
    uint32_t before;

    if (!wants(p, step) || image >= p->n_images) {
        for (unsigned view = 0; view < PREVIEW_N_VIEWS; view++)
            mem_free(views[view]);
        return;
    }
    drop_step(p, image, step); /* a finished-early picture comes again */
    for (unsigned view = 0; view < PREVIEW_N_VIEWS; view++) {
        p->pixels[slot(p, image, step, view)] = views[view];
        if (views[view] != NULL) {
            p->n_bytes += view_bytes(p);
            p->budget->n_bytes += view_bytes(p);
        }
    }
    before = p->newest[image];
    p->newest[image] = step;
    if (!p->keeps_all && before != PREVIEWS_NONE && before != step)
        drop_step(p, image, before);
    make_room(p);
}

void previews_finish(struct previews *p)
{
    if (p->budget != NULL && p->pixels != NULL && !ring_is_in(&p->by_end))
        ring_add(&p->budget->by_end, &p->by_end);
}

enum preview_found previews_find(const struct previews *p, uint32_t image,
                                 uint32_t step, unsigned view,
                                 const uint8_t **pixels)
{
    *pixels = NULL;
    if (image >= p->n_images || step > p->n_steps ||
        p->newest[image] == PREVIEWS_NONE || step > p->newest[image] ||
        (step % p->every != 0 && step != p->n_steps))
        return PREVIEW_NEVER;
    if (p->pixels == NULL)
        return PREVIEW_DROPPED;
    *pixels = p->pixels[slot(p, image, step, view)];
    return *pixels != NULL ? PREVIEW_FOUND : PREVIEW_DROPPED;
}
