/* models.h - the registry of models: which there are and in what state.
 *
 * A part of the service.  Models are opened by helper threads while the loop
 * already answers; a model is ready when it has been opened and has taken one
 * step (jobs.h gives the worker for that), so that the first prediction of a
 * waiting time is a measured one.  A model that is in use is held by a count.
 *
 * The id of a model is its own (unstir.json, else its folder's name), known
 * for sure after opening.  Ids are keys of this table, never paths.
 *
 * Threads: loop only; the engine's model itself may be used by any.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_MODELS_H
#define SERVER_MODELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cost.h"
#include "service.h"
#include "unstir.h"

#define MODEL_STATES(X)       \
    X(LOADING, "loading")     \
    X(READY, "ready")         \
    X(UNLOADING, "unloading") \
    X(FAILED, "failed")

enum model_state {
#define X(name, text) MODEL_##name,
    MODEL_STATES(X)
#undef X
        MODEL_N_STATES
};

struct model {
    struct model *next;
    char *path; /* never shown to a client                       */
    char *name; /* its folder's name: the id until it is open    */
    enum model_state state;
    size_t n_users; /* jobs that hold it                             */
    struct unstir_model *engine; /* NULL before it was opened               */
    const struct unstir_model_info *info;
    struct cost cost;
    int64_t loaded_ms; /* wall clock, 0: not yet                        */
    double load_s;
    char why[256]; /* FAILED: for people                            */
};

struct models {
    struct service *service;
    struct model *first;
    size_t n;
    size_t n_loading;
    bool is_stopping;
};

const char *model_id(const struct model *model);
const char *model_state_name(enum model_state state);

/* By id; NULL or "" is the first one.  NULL if there is none. */
struct model *models_find(const struct models *models, const char *id);

/* The id nearest to `id`, or NULL. */
const char *models_nearest(const struct models *models, const char *id);

void model_hold(struct model *model);
void model_drop(struct model *model);

/* The warm-up step is over (jobs.h calls this): ready, or failed and why. */
void model_warmed(struct model *model, double step_s, const char *why);

/* What can be told without loading: folders that can be read, an instruction
 * set that this CPU has.  False: *why says what is wrong. */
bool models_check(const struct config *config, char *why, size_t why_size);

/* The part (service.h). */
bool models_open(struct service *service, char *why, size_t why_size);
enum part_state models_state(const struct service *service, char *why,
                             size_t why_size);
void models_drain(struct service *service);
size_t models_busy(const struct service *service);
void models_stop(struct service *service);
void models_close(struct service *service);

#endif
