/* clock.h - the two clocks of the service.
 *
 * Durations and deadlines use the monotonic clock, everything that a client
 * reads uses the wall clock.  Domain functions take `now` as an argument, so
 * that their tests need no waiting.
 *
 * Threads: any.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_CLOCK_H
#define SERVER_CLOCK_H

#include <stdint.h>

/* Nanoseconds since an arbitrary start; never goes back. */
int64_t clock_mono_ns(void);

/* The same in milliseconds. */
int64_t clock_mono_ms(void);

/* Milliseconds since 1970, UTC. */
int64_t clock_wall_ms(void);

#endif
