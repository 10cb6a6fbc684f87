/* thread.c - threads of the engine's own beside those of the host program.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/thread.h"

#include <signal.h>

int thread_start(pthread_t *out, const char *name, thread_fn fn, void *arg)
{
    sigset_t all, old;
    int rc;

    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(out, NULL, fn, arg);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc == 0) /* may be refused (a sandbox); it is for people alone */
        (void)pthread_setname_np(*out, name);
    return rc;
}
