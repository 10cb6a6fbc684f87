/* scratch.h - a folder of a test's own, removed with all that is in it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SUPPORT_SCRATCH_H
#define SUPPORT_SCRATCH_H

#include <stddef.h>

#define SCRATCH_PATH 512

/* Make a folder under $TMPDIR or /tmp; fails the test if it cannot. */
void scratch_make(char path[SCRATCH_PATH]);
void scratch_remove(const char *path);

/* out = folder/name */
void scratch_path(char out[SCRATCH_PATH], const char *folder, const char *name);

void scratch_write(const char *folder, const char *name, const void *bytes,
                   size_t n);
void scratch_mkdir(const char *folder, const char *name);

#endif
