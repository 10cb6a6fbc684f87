/* progress.h - what a worker's messages do to a job.
 *
 * A step, with its pictures, and a finished picture: each moves the job on,
 * teaches what its model costs (cost.h), and is told to who watches.
 *
 * Threads: loop only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_PROGRESS_H
#define SERVER_PROGRESS_H

#include "model.h"
#include "worker.h"

/* For struct work_events, of works whose owner is a job. */
void progress_stepped(struct work_step *step);
void progress_encoded(struct work_png *png);

/* How long a step took; for works of any owner. */
void progress_learn(struct model *model, const struct work_step *step);

/* Free them. */
void progress_drop_step(struct work_step *step);
void progress_drop_picture(struct work_png *png);

#endif
