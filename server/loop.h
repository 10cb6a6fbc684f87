/* loop.h - the one thread that owns connections, jobs and stores, and how
 * other threads talk to it.
 *
 * loop.c is the only file with uv.h.  The thread that calls loop_new() is
 * the loop thread; it must be the one that calls loop_run().
 *
 * From outside: loop_post() hands a message over.  The message is the
 * sender's own struct with a struct loop_message inside; it belongs to the
 * loop from that moment, and its `run` frees it, keeps it or sends it back.
 * Nothing is allocated, nothing is lost, order per sender is kept, and a
 * burst of messages costs one wake-up.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_LOOP_H
#define SERVER_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

/* NULL when the system refuses.  Loop-only from here on unless said. */
struct loop *loop_new(void);

/* Runs what was posted and not yet run, closes every handle, frees.  All
 * threads that post must have been joined before.                          */
void loop_free(struct loop *loop);

/* Returns after loop_stop().  loop_run_once() handles what is ready (waiting
 * at most timeout_ms for the first of it): for tests and for draining.     */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
void loop_run_once(struct loop *loop, uint64_t timeout_ms);

/* Milliseconds of a clock that never goes back; fresh at each call.  Any
 * thread.                                                                  */
uint64_t loop_now_ms(void);

/* True on the loop thread.  Any thread; for assert().                      */
bool loop_is_mine(const struct loop *loop);

/* -------------------------------------------------------------- mailbox -- */

struct loop_message {
    struct loop_message *next; /* the mailbox's                             */
    void (*run)(struct loop_message *message); /* on the loop thread        */
};

/* Any thread.  Ownership of the message passes to the loop.                */
void loop_post(struct loop *loop, struct loop_message *message);

/* Run what has been posted, now: for who keeps the loop long (http.c serves
 * hundreds of connections in one go) and would let it wait.  Not from a
 * message's `run`.  Loop-only.                                             */
void loop_read_mail(struct loop *loop);

/* --------------------------------------------------------------- timers -- */

typedef void (*loop_fn)(void *user);

struct loop_timer;

/* A stopped timer; NULL when memory is missing. */
struct loop_timer *loop_timer_new(struct loop *loop, loop_fn fn, void *user);

/* Call fn in delay_ms, then every repeat_ms (0: once).  Restarts a running
 * timer.                                                                   */
void loop_timer_start(struct loop_timer *timer, uint64_t delay_ms,
                      uint64_t repeat_ms);
void loop_timer_stop(struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer); /* NULL allowed; also in fn */

/* ------------------------------------------------ descriptors, signals -- */

struct loop_watch;

/* Call fn whenever fd is readable.  The fd stays the caller's and must be
 * closed after loop_watch_free() only.                                     */
struct loop_watch *loop_watch_new(struct loop *loop, int fd, loop_fn fn,
                                  void *user);
void loop_watch_free(struct loop_watch *watch);

struct loop_signal;
struct loop_signal *loop_signal_new(struct loop *loop, int number, loop_fn fn,
                                    void *user);
void loop_signal_free(struct loop_signal *signal);

/* ------------------------------------------------------- work elsewhere -- */

/* Niceness of threads that help the loop. */
#define LOOP_HELPER_NICE 10

/* A piece of blocking work (reading a file, encoding a picture) on one of
 * the loop's four helper threads.  The struct belongs
 * to the loop from loop_offload() until `done` is called on the loop thread,
 * always, once.  Long computing (generations) has its own threads.         */
struct loop_task {
    void (*run)(struct loop_task *task);  /* helper thread                  */
    void (*done)(struct loop_task *task); /* loop thread; may free the task */
};

/* False (nothing was started, done is not called) when memory is missing.  */
bool loop_offload(struct loop *loop, struct loop_task *task);

#endif
