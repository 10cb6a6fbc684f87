/* models.h - the registry of models: which there are and in what state.
 *
 * A part of the service.  Models are opened by helper threads while the loop
 * already answers; at the start a model is ready when it has been opened and,
 * if that is a matter of a moment, has taken a few steps (jobs.h gives the
 * worker for that): then plans, pool and memory are warm and the first
 * prediction of a waiting time is a measured one.  A large model is ready as
 * soon as it is open: its first step warms what it needs, and what a warm-up
 * would save that step is a small part of it.
 *
 * Under a ceiling (--models-memory) every model is described first: opened
 * without its weights, which tells what it will take and is enough to check
 * requests.  In the order given, those are loaded that fit beside the ones
 * before; the others when a job wants them.  If there is no room then, those
 * used least recently give way: idle ones at once, others when their running
 * jobs are done, and no job of theirs begins before.  What a ceiling counts is
 * weights as they stand in memory, not the workers' scratch.
 *
 *     (described) unloaded -> loading -> ready -> unloading -> unloaded
 *
 * A model with LoRAs is derived from one of these when a request asks for it
 * (models_derive.c): an entry of its own beside the table, shared by all that
 * ask for the same base, files and scales, and kept by those until they are
 * forgotten.  It has no weights until a job wants it; then it is made by a
 * helper thread out of its loaded base, which cannot be unloaded while it is
 * there, and gives way as any model does.  While it is made it counts with the
 * most that this takes, the files of its LoRAs included.  Of those there are
 * --max-derived at one time.  A file that does not fit fails the jobs of that
 * entry alone; when no job waits for it any more, the making is given up.
 *
 * A model that work is done with is held by a count.  A job that waits or has
 * ended holds nothing: what it needs to be told is in the description.
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
#include "problem.h"
#include "service.h"
#include "unstir.h"

#define MODEL_STATES(X)       \
    X(UNLOADED, "unloaded")   \
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
    struct models *models;
    char *path; /* never shown to a client                       */
    char *name; /* its folder's name: the id until it is open    */
    enum model_state state;
    bool is_starting;  /* what is done with it at the start is not over      */
    bool is_wanted;    /* a job waits for it                                 */
    bool is_leaving;   /* gives way as soon as nobody uses it                */
    uint64_t order;    /* of wants, or of uses                               */
    size_t n_users;    /* works that hold it                                 */
    size_t used_bytes; /* of the ceiling; 0: nothing is loaded               */
    struct unstir_model *described; /* what requests are checked against, and
                                       whose strings they keep: once opened it
                                       stays to the end; NULL: not yet      */
    struct unstir_model *engine;    /* to work with; NULL: not loaded.  Without
                                       a ceiling the same as described      */
    const struct unstir_model_info *info; /* of described                    */
    struct cost cost;
    int64_t opened_ms; /* wall clock, for the first time; 0: not yet         */
    int64_t loaded_ms; /* 0: it is not                                       */
    double load_s;
    char why[256];      /* FAILED: for people                                */
    bool why_is_public; /* it names no path                                  */
    enum error_code failure; /* FAILED: what its jobs are told               */

    size_t n_derived; /* models that share its engine                        */

    /* Of derived ones. */
    struct model *base; /* NULL: it has its own files                        */
    size_t n_refs;      /* requests and jobs that name it                    */
    struct unstir_lora loras[UNSTIR_MAX_LORAS]; /* strings owned             */
    size_t n_loras;
    size_t need_bytes;         /* while it is made, predicted; 0: not yet, or no
                          ceiling                                            */
    struct deriving *deriving; /* what a helper thread does for it, or NULL  */
};

struct models_counters {
    uint64_t n_made, n_failed, n_canceled, n_unloaded; /* derived models     */
};

struct models {
    struct service *service;
    struct model *first;
    struct model *first_derived;
    size_t n;
    size_t n_derived; /* loading, loaded, unloading                          */
    size_t n_tasks;   /* of helper threads                                */
    uint64_t max_bytes;  /* 0: no ceiling                                    */
    uint64_t used_bytes; /* of models loading, loaded, unloading             */
    uint64_t next_order;
    struct models_counters counters;
    bool is_stopping;
};

const char *model_id(const struct model *model);
const char *model_state_name(enum model_state state);

/* Why a model failed, as a client may read it. */
const char *model_public_why(const struct model *model);

/* By id; NULL or "" is the first one.  NULL if there is none. */
struct model *models_find(const struct models *models, const char *id);

/* The id nearest to `id`, or NULL. */
const char *models_nearest(const struct models *models, const char *id);

/* The model that is `base` with these LoRAs (name, path, digest, scales, at
 * least one that is not 0): an entry that is there or a new one, for the
 * caller to release.  NULL without memory. */
struct model *models_derive(struct models *models, struct model *base,
                            const struct unstir_lora *loras, size_t n_loras);

/* Another one names it; it is not named any more.  For any model. */
void model_refer(struct model *model);
void model_release(struct model *model);

/* Step times, shared by a model and all that are derived from it. */
struct cost *model_cost(struct model *model);

/* Around work with the engine's model. */
void model_hold(struct model *model);
void model_drop(struct model *model);

/* Whether a job of it may begin. */
bool model_is_ready(const struct model *model);

/* A job waits for it: load it if there is room; may_evict: make room. */
void model_want(struct model *model, bool may_evict);

/* No job waits for it any more: it need not be made. */
void model_unwant(struct model *model);

/* Seconds of a step of a request that leaves all to the model, as predicted. */
double model_step_s(const struct model *model);

/* The warm-up is over (jobs.h calls this): ready, or failed and why. */
void model_warmed(struct model *model, const char *why);

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
