/* quota.c - reads cpu.max and cpu.cfs_quota_us along the path of our group.
 *
 * Inside a container the path may be that of the host while the mount shows
 * the container's own group as its root, so the root is always looked at too.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/quota.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static unsigned quotient(long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return 0;
    long long n = (quota + period - 1) / period;
    return n > INT_MAX ? 0 : (unsigned)n;
}

static bool read_line(const char *path, char *line, int size)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool is_read = fgets(line, size, f) != NULL;
    (void)fclose(f); /* read only */
    return is_read;
}

static unsigned limit_v2(const char *folder)
{
    char path[PATH_MAX], line[128];
    long long quota, period;
    if (snprintf(path, sizeof path, "%s/cpu.max", folder) >= (int)sizeof path ||
        !read_line(path, line, sizeof line) ||
        sscanf(line, "%lld %lld", &quota, &period) != 2)
        return 0; /* also "max 100000" */
    return quotient(quota, period);
}

static unsigned limit_v1(const char *folder)
{
    char path[PATH_MAX], line[128];
    long long quota, period;
    if (snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder) >=
            (int)sizeof path ||
        !read_line(path, line, sizeof line) ||
        sscanf(line, "%lld", &quota) != 1)
        return 0;
    if (snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder) >=
            (int)sizeof path ||
        !read_line(path, line, sizeof line) ||
        sscanf(line, "%lld", &period) != 1)
        return 0;
    return quotient(quota, period);
}

static unsigned smaller(unsigned a, unsigned b)
{
    return a == 0 ? b : b == 0 || a < b ? a : b;
}

/* The least limit of `root`/`group` and all folders above it, up to root. */
static unsigned limit_along(const char *root, const char *group,
                            unsigned (*limit)(const char *folder))
{
    char folder[PATH_MAX];
    if (snprintf(folder, sizeof folder, "%s%s", root, group) >=
        (int)sizeof folder)
        return limit(root);
    size_t n_root = strlen(root);
    unsigned least = limit(root);
    while (strlen(folder) > n_root) {
        least = smaller(least, limit(folder));
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < n_root)
            break;
        *slash = '\0';
    }
    return least;
}

static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; *p; p += strcspn(p, ",")) {
        p += *p == ',';
        if (strcspn(p, ",") == n && strncmp(p, word, n) == 0)
            return true;
    }
    return false;
}

unsigned quota_cpus(const char *membership, const char *mount)
{
    FILE *f = fopen(membership, "re");
    if (!f)
        return 0;
    char line[PATH_MAX], root[PATH_MAX];
    unsigned least = 0;
    while (fgets(line, sizeof line, f)) { /* "4:cpu,cpuacct:/path\n" */
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *controllers++ = '\0';
        *group++ = '\0';
        if (*controllers == '\0') {
            least = smaller(least, limit_along(mount, group, limit_v2));
        } else if (has_word(controllers, "cpu")) {
            if (snprintf(root, sizeof root, "%s/cpu", mount) < (int)sizeof root)
                least = smaller(least, limit_along(root, group, limit_v1));
            if (snprintf(root, sizeof root, "%s/cpu,cpuacct", mount) <
                (int)sizeof root)
                least = smaller(least, limit_along(root, group, limit_v1));
        }
    }
    (void)fclose(f);
    return least;
}
