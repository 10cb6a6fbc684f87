/* service.h - what a handler can reach, and how a part of the service is
 * started and stopped.
 *
 * server.c makes one struct service; service.c opens the parts of parts_table.h
 * in order: each row names a part and its functions.  At SIGTERM:
 *
 *   1. drain(service) on all parts; new work is refused from here (http.c
 *      answers 503 on routes of SCOPE_CREATE; polls are served)
 *   2. wait until busy() is 0 on all parts, then --drain-grace longer; at
 *      most --drain-timeout in all
 *   3. stop(service) on all parts in reverse: fail what is left as
 *      shutting_down, answer every deferred request, end every stream;
 *      raise cancel flags, wait for nothing
 *   4. the listener is closed, open connections get a moment to be written
 *   5. close(service) in reverse: join threads, free
 *
 * A part must accept stop without drain (second signal) and close without
 * stop (a later part's open failed).
 *
 * Loop-only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_SERVICE_H
#define SERVER_SERVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "loop.h"

/* From best to worst. */
enum part_state {
    PART_READY,
    PART_DEGRADED, /* takes work, but not all that it was started for       */
    PART_STARTING, /* takes none yet, will                                  */
    PART_FAILED    /* never will                                            */
};

struct answers;
struct artifacts;
struct http;
struct intakes;
struct jobs;
struct loras;
struct models;
struct sched;

/* Parts add a pointer of their own here (forward-declared above). */
struct service {
    struct loop *loop;
    const struct config *config;
    struct http *http;
    struct answers *answers; /* of http: what they share                     */
    struct models *models;
    struct loras *loras;
    struct jobs *jobs;
    struct artifacts *artifacts; /* of the jobs                              */
    struct sched *sched;         /* that gives the jobs to workers           */
    struct intakes *intakes;
    size_t n_open; /* parts                                                  */
    bool is_draining;
};

/* Members may be NULL but open and close. */
struct service_part {
    const char *name; /* as /health/ready names it                          */
    /* False: *why (why_size bytes) says what, the server exits with 1. Must
     * not block: load models by threads of its own or loop_offload().      */
    bool (*open)(struct service *service, char *why, size_t why_size);
    /* PART_STARTING until it can take work; *why for people.               */
    enum part_state (*state)(const struct service *service, char *why,
                             size_t why_size);
    void (*drain)(struct service *service);
    size_t (*busy)(const struct service *service); /* jobs not yet finished */
    void (*stop)(struct service *service);
    void (*close)(struct service *service);
};

/* All parts in order.  False: *why says what went wrong with the first that
 * could not; those before it are open. */
bool service_open(struct service *service, char *why, size_t why_size);

/* All parts: the worst, and its why (the first's of several). */
enum part_state service_state(const struct service *service, char *why,
                              size_t why_size);
bool part_takes_work(enum part_state state);
const char *part_state_name(enum part_state state); /* "ready"              */

void service_drain(struct service *service);
size_t service_busy(const struct service *service); /* the sum              */
void service_stop(struct service *service);
void service_close(struct service *service); /* those that are open         */

#endif
