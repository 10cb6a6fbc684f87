/* store.h - where jobs are recorded so that an accepted one is not lost.
 *
 * The interface is asynchronous: a job is `admitting` until the store has
 * answered, and nothing of the store ever blocks the loop.  The memory store
 * answers in the next turn of the loop and keeps nothing beyond the process;
 * durable stores keep the record until the job is forgotten.
 *
 * Threads: loop only; answers come on the loop.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_STORE_H
#define SERVER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"

struct store;

/* Borrowed for the call. */
struct store_record {
    const char *id;
    const char *request; /* canonical JSON, NULL when it has not changed     */
    const char *state;
    int64_t created_ms, completed_ms, expires_ms;
};

typedef void (*store_answer_fn)(void *user, bool is_good);

struct store_ops {
    const char *name;
    bool is_durable;
    struct store *(*open)(struct loop *loop, const char *where, char *why,
                          size_t why_size);
    /* Record a new job; `answer` comes once, later, unless close() is called
     * before. */
    void (*admit)(struct store *store, const struct store_record *record,
                  store_answer_fn answer, void *user);
    /* A job has ended; no answer. */
    void (*settle)(struct store *store, const struct store_record *record);
    void (*forget)(struct store *store, const char *id);
    void (*close)(struct store *store);
};

extern const struct store_ops store_memory;

#endif
