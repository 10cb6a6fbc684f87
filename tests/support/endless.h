/* endless.h - a file too large to be hashed while a test runs.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SUPPORT_ENDLESS_H
#define SUPPORT_ENDLESS_H

#include <stddef.h>

#include "base/mapfile.h"

/* Minutes of SHA-256. */
#define ENDLESS_BYTES ((size_t)256 << 30)

/* n bytes of 0 that take no memory, for mapfile_close(); of no file. */
struct mapfile endless_open(size_t n);

#endif
