/* model.h - one model as the server knows it: its state, and what it tells.
 *
 *     (described) unloaded -> loading -> ready -> unloading -> unloaded
 *                                   \-> failed
 *
 * models.c alone moves a model from one state to the next; all others read.
 * Of the engine's model there are two views: `described` is what requests are
 * checked against and may lack weights, `engine` is what work is done with.
 *
 * A model with LoRAs is derived from another, its base, and shares with it what
 * the LoRAs leave alone (models.h).
 *
 * Threads: loop only; the engine's model itself may be used by any.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_MODEL_H
#define SERVER_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cost.h"
#include "problem.h"
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

struct model_task;
struct models;

struct model {
    struct model *next;
    struct models *models; /* the table it stands in                         */
    char *path;            /* never shown to a client                       */
    char *name;            /* its folder's name: the id until it is open    */
    enum model_state state;
    bool is_starting; /* what is done with it at the start is not over      */
    bool is_wanted;   /* a job waits for it                                 */
    bool is_leaving;  /* gives way as soon as nobody uses it                */
    bool was_loaded;  /* once: its files were good then                     */
    uint64_t order;   /* of wants, or of uses                               */
    size_t n_users;   /* works that hold it                                 */
    const struct model *with; /* wanted by a job of both, or NULL            */
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
    struct model_task *making; /* what a helper thread does for it, or NULL  */
};

const char *model_state_name(enum model_state state);

/* Its own (unstir.json, else its folder's name), known for sure once it is
 * described. */
const char *model_id(const struct model *model);

/* Why a model failed, as a client may read it. */
const char *model_public_why(const struct model *model);

/* Whether a job of it may begin. */
bool model_is_ready(const struct model *model);

/* Ready and sent away, and nobody uses it any more. */
bool model_may_leave(const struct model *model);

/* What it will take in memory, in bytes.  Of a derived one 0: not yet known. */
size_t model_need(const struct model *model);

/* Step times, shared by a model and all that are derived from it. */
struct cost *model_cost(struct model *model);

/* Seconds of a step of a request that leaves all to the model, as predicted. */
double model_step_s(const struct model *model);

/* Whether some steps before the first request are worth their time: so they
 * are where steps are so short that plans and first touches of memory are a
 * good part of the first ones. */
bool model_is_worth_warming(const struct model *model);

/* Take the engine's model as its description.  Once. */
void model_describe(struct model *model, struct unstir_model *engine);

/* Close what there is of the engine's.  Any state. */
void model_close(struct model *model);

#endif
