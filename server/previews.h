/* previews.h - every step of a job as a picture, within one byte budget.
 *
 * Pixels are kept as bytes, as the engine gave them; encoding waits for a
 * reader.  Each step has two views: the finished picture as the network sees
 * it (estimate) and the noisy sample.  All jobs share one budget.  When it is
 * over, whole finished jobs lose their steps, the job finished first goes
 * first; if no finished job has any, the job that grows loses its own oldest
 * steps.  What was dropped is told from what never was.
 *
 * Threads: loop only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_PREVIEWS_H
#define SERVER_PREVIEWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ring.h"

#define PREVIEW_N_VIEWS 2

struct preview_budget;

/* The steps of one job. */
struct previews {
    struct preview_budget *budget;
    struct ring by_end; /* in the budget's list: its job has ended           */
    uint8_t **pixels;   /* [image][step][view], NULL: dropped or never kept  */
    uint32_t n_images, n_steps; /* steps 0 .. n_steps                      */
    uint32_t width, height, channels;
    uint32_t every;      /* a step that this divides is kept; the last always */
    bool keeps_all;      /* else the newest of each picture only              */
    size_t n_bytes;      /* counted in the budget                             */
    uint32_t newest[16]; /* per picture, PREVIEWS_NONE: none yet           */
    uint32_t oldest[16]; /* where dropping one's own steps goes on         */
};

#define PREVIEWS_NONE UINT32_MAX

struct preview_budget {
    size_t n_bytes, max_bytes;
    uint64_t n_dropped; /* steps, since the start */
    struct ring by_end; /* of previews: who gives way first                  */
};

void preview_budget_init(struct preview_budget *budget, size_t max_bytes);

/* Room for n_images (1..16) of 1 + n_steps steps.  False without memory; the
 * struct is then empty and every look-up answers PREVIEW_NEVER. */
bool previews_init(struct previews *previews, struct preview_budget *budget,
                   uint32_t n_images, uint32_t n_steps);
void previews_fini(struct previews *previews);

/* Take both pictures of a step (from mem_zero(), width * height * channels
 * bytes, either may be NULL); they belong to `previews` from now on. */
void previews_take(struct previews *previews, uint32_t image, uint32_t step,
                   uint8_t *views[PREVIEW_N_VIEWS]);

/* The job has ended: its steps may be dropped from now on. */
void previews_finish(struct previews *previews);

enum preview_found {
    PREVIEW_FOUND,
    PREVIEW_DROPPED, /* was there, fell to the budget or to keep:false      */
    PREVIEW_NEVER    /* not reached yet, or not kept by `every`             */
};

/* *pixels is borrowed until the loop goes on. */
enum preview_found previews_find(const struct previews *previews,
                                 uint32_t image, uint32_t step, unsigned view,
                                 const uint8_t **pixels);

#endif
