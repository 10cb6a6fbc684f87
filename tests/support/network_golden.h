/* network_golden.h - a network held to what the reference computed with it.
 *
 * Each golden runs on every rung, unfused and fused, with bf16 operands (the
 * rung that has them emulated), with 8-bit layers, with 1, 2 and 4 threads, picture by picture,
 * and again on an executor that remembers.  A golden either holds weights and
 * inputs, made by another version of the reference, or both are drawn
 * (tools/goldens/make_unet2d.py, make_families.py).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SUPPORT_NETWORK_GOLDEN_H
#define SUPPORT_NETWORK_GOLDEN_H

#include <stddef.h>

/* `in` and `out` name tensors of goldens with weights ("in.x"); NULL: drawn.
 * Class and part, where NULL, stand in the golden's metadata. */
struct network_golden {
    const char *path, *class_name, *part, *in, *out;
};

#define NETWORK_GOLDENS_MAX 64

/* Four tests a golden; what main() returns. */
int network_goldens_run(const struct network_golden *files, size_t n_files);

/* Goldens of drawn networks by their paths (tools/goldens/differ.py): f32, and
 * that threads and batches change no bit. */
int network_goldens_run_files(char **paths, size_t n_paths);

#endif
