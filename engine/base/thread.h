/* thread.h - threads of the engine's own beside those of the host program.
 *
 * Signals are for the host program's own threads: one started here has all of
 * them blocked.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

typedef void *(*thread_fn)(void *arg);

/* Start fn(arg); *out is to be joined.  0, or an errno: none was started.
 * `name` is for people, 15 letters at most.  Any thread. */
int thread_start(pthread_t *out, const char *name, thread_fn fn, void *arg);

#endif
