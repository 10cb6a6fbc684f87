/* cores.c - the physical cores this process may use, and where a gang of
 * threads goes on them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/cores.h"

#include <dirent.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/quota.h"

#define SYSFS "/sys/devices/system/cpu"

/* The lowest hardware thread of the core of `cpu`; itself where the system
 * does not say. */
static int lowest_sibling(const char *sysfs, int cpu)
{
    char path[PATH_MAX];
    int lowest = cpu;

    if (snprintf(path, sizeof path, "%s/cpu%d/topology/thread_siblings_list",
                 sysfs, cpu) >= (int)sizeof path)
        return cpu;
    FILE *f = fopen(path, "re");
    if (!f)
        return cpu;
    if (fscanf(f, "%d", &lowest) != 1 || lowest < 0) /* "0,32" or "0-1" */
        lowest = cpu;
    (void)fclose(f); /* read only */
    return lowest;
}

static unsigned find_core(const struct cores *c, int sibling)
{
    unsigned i = 0;
    while (i < c->n && c->sibling[i] != sibling)
        i++;
    return i;
}

void cores_read(struct cores *c, const char *sysfs)
{
    cpu_set_t set;
    *c = (struct cores){.n_cpus = 1};
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        /* more CPUs than a cpu_set_t holds */
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        c->n_cpus = online > 0 ? (unsigned)online : 1;
        c->n = c->n_cpus < CORES_MAX ? c->n_cpus : CORES_MAX;
        return;
    }
    c->is_known = true;
    c->n_cpus = (unsigned)CPU_COUNT(&set);
    for (int cpu = 0; cpu < CPU_SETSIZE && c->n < CORES_MAX; cpu++) {
        if (!CPU_ISSET(cpu, &set))
            continue;
        int sibling = lowest_sibling(sysfs, cpu);
        if (find_core(c, sibling) < c->n)
            continue;
        c->cpu[c->n] = cpu;
        c->sibling[c->n++] = sibling;
    }
}

/* The CPU to which a thread is pinned, or -1. */
static int pinned_cpu(pid_t thread)
{
    cpu_set_t set;
    if (sched_getaffinity(thread, sizeof set, &set) != 0 ||
        CPU_COUNT(&set) != 1)
        return -1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &set))
            return cpu;
    return -1;
}

#define NAME_FORMAT "unstir %u/%u"

void cores_name(char *name, unsigned i, unsigned n)
{
    (void)snprintf(name, CORES_NAME_BYTES, NAME_FORMAT, i, n);
}

/* The size of the gang whose first started thread this is, else 0. */
static unsigned gang_led_by(const char *tasks, long thread)
{
    char path[PATH_MAX];
    unsigned i = 0, n = 0;

    if (snprintf(path, sizeof path, "%s/%ld/comm", tasks, thread) >=
        (int)sizeof path)
        return 0;
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    if (fscanf(f, NAME_FORMAT, &i, &n) != 2 || i != 1)
        n = 0;
    (void)fclose(f); /* read only */
    return n <= CORES_MAX ? n : 0;
}

static void count_pinned(struct cores *c, const char *sysfs, long thread)
{
    int cpu = pinned_cpu((pid_t)thread);
    unsigned core = cpu < 0 ? c->n : find_core(c, lowest_sibling(sysfs, cpu));
    if (core < c->n)
        c->taken[core]++;
}

/* Threads listed in `tasks`, the calling one left out. */
static void count_tasks(struct cores *c, const char *sysfs, const char *tasks)
{
    long own = syscall(SYS_gettid);
    DIR *dir = opendir(tasks);
    const struct dirent *entry;

    if (!dir)
        return;
    while ((entry = readdir(dir)) != NULL) {
        long thread = strtol(entry->d_name, NULL, 10);
        if (thread <= 0 || thread == own)
            continue;
        c->n_gang_threads += gang_led_by(tasks, thread);
        if (c->is_known)
            count_pinned(c, sysfs, thread);
    }
    (void)closedir(dir); /* read only */
}

void cores_detect(struct cores *c)
{
    cores_read(c, SYSFS);
    c->quota = quota_cpus("/proc/self/cgroup", "/sys/fs/cgroup");
    count_tasks(c, SYSFS, "/proc/self/task");
}

unsigned cores_cpus(const struct cores *c)
{
    return c->quota != 0 && c->quota < c->n_cpus ? c->quota : c->n_cpus;
}

unsigned cores_gang(const struct cores *c)
{
    return c->quota != 0 && c->quota < c->n ? c->quota : c->n;
}

static unsigned most_taken(const struct cores *c, unsigned first, unsigned n)
{
    unsigned most = 0;
    for (unsigned i = first; i < first + n; i++)
        if (c->taken[i] > most)
            most = c->taken[i];
    return most;
}

struct cores_place cores_place(const struct cores *c, unsigned n,
                               enum unstir_pin pin)
{
    struct cores_place place = {.is_shared =
                                    c->n_gang_threads + n > cores_cpus(c)};
    if (!c->is_known || n < 2 || n > c->n)
        return place;
    unsigned least = most_taken(c, 0, n);
    for (unsigned first = n; first + n <= c->n; first += n) {
        unsigned taken = most_taken(c, first, n);
        if (taken < least) {
            least = taken;
            place.first = first;
        }
    }
    bool is_throttled = c->quota != 0 && c->quota < c->n_cpus;
    bool is_wanted =
        pin == UNSTIR_PIN_ON || (pin == UNSTIR_PIN_AUTO && n == c->n);
    place.is_pinned = is_wanted && !is_throttled;
    if (!place.is_pinned)
        place.first = 0;
    return place;
}
