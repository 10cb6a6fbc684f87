/* quota.h - how many CPUs the control groups of Linux leave to us.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_QUOTA_H
#define BASE_QUOTA_H

/* CPUs of bandwidth, rounded up, or 0 if there is no limit.  `membership` is
 * the file that lists our groups ("/proc/self/cgroup"), `mount` where their
 * tree is mounted ("/sys/fs/cgroup"): version 2 (cpu.max, every ancestor) and
 * version 1 (cpu.cfs_quota_us).  Any thread. */
unsigned quota_cpus(const char *membership, const char *mount);

#endif
