/* cores.h - the physical cores this process may use, and where a gang of
 * threads goes on them.
 *
 * Two threads on the two hardware threads of one core share its multipliers,
 * so a gang takes one hardware thread a core.  Which gangs there are already
 * and who is pinned where is asked of the kernel (name and affinity of each
 * thread of this process): gangs need no registry of their own, and the host
 * program's pinned threads count as well.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_CORES_H
#define BASE_CORES_H

#include <stdbool.h>

#include "unstir.h"

#define CORES_MAX 64u

struct cores {
    unsigned n_cpus; /* hardware threads of the affinity mask, at least 1    */
    unsigned quota;  /* CPUs of bandwidth the control groups leave, 0: any   */
    unsigned n;      /* cores with an allowed hardware thread, at least 1    */
    int cpu[CORES_MAX];        /* the lowest allowed hardware thread of each  */
    int sibling[CORES_MAX];    /* the core's lowest one, allowed or not       */
    unsigned taken[CORES_MAX]; /* threads pinned to the core                 */
    unsigned n_gang_threads;   /* of the gangs there are, callers included   */
    bool is_known; /* false: the mask cannot be read, cpu[] is not to be used */
};

/* What the calling thread may use.  Any thread. */
void cores_detect(struct cores *cores);

/* The part of cores_detect() that reads the masks of `sysfs`/cpu<i>/topology
 * ("/sys/devices/system/cpu"), a folder that tests replace. */
void cores_read(struct cores *cores, const char *sysfs);

/* The name by which thread i of a gang of n is counted, i >= 1 (the caller is
 * thread 0 and keeps its own); CORES_NAME_BYTES suffice. */
#define CORES_NAME_BYTES 16
void cores_name(char *name, unsigned i, unsigned n);

/* Threads that may compute at one time: the mask cut by the quota. */
unsigned cores_cpus(const struct cores *cores);

/* Threads of a gang that uses everything: one a core, at most the quota. */
unsigned cores_gang(const struct cores *cores);

struct cores_place {
    bool is_pinned; /* thread i of the gang belongs on cpu[first + i]        */
    bool is_shared; /* with it there are more gang threads than CPUs: its
                       waiting threads must not spin                         */
    unsigned first;
};

/* Where n threads go.  A gang that fills the mask has one place.  A smaller
 * one is pinned only on request, since other processes may have the same idea
 * of the same core: it takes the first aligned group of n neighbouring cores
 * with the fewest pinned threads, so that gangs of one size never overlap
 * while groups are free.  Under a quota below the mask nobody is pinned: the
 * kernel throttles, and moving is how it makes good. */
struct cores_place cores_place(const struct cores *cores, unsigned n,
                               enum unstir_pin pin);

#endif
