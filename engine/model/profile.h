/* profile.h - where the time of evaluations goes, by kind of operation.
 *
 * Steps of plans that are alike make one row: products by kernel, algorithm
 * and size of what they give, other operations by their kind.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_PROFILE_H
#define MODEL_PROFILE_H

#include <stdint.h>

#include "base/error.h"

struct json_writer;
struct plan;
struct pool;
struct profile;

enum unstir_status profile_new(struct profile **out, struct unstir_error *err);
void profile_free(struct profile *p);

/* plan_run() without a cancel flag, taking the time of each step. */
enum unstir_status profile_run(struct profile *p, const struct plan *plan,
                               struct pool *pool, void *arena,
                               void *const *externals,
                               struct unstir_error *err);

/* Array "profile": what one of n_runs alike evaluations took, the longest
 * first.  peak_gflops: of one thread; 0: unknown. */
void profile_put(struct json_writer *w, struct profile *p, uint32_t n_runs,
                 double peak_gflops);

#endif
