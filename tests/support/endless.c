/* endless.c - a file too large to be hashed while a test runs.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/mman.h>

#include "endless.h"

struct mapfile endless_open(size_t n)
{
    void *map = mmap(NULL, n, PROT_READ,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    assert_ptr_not_equal(map, MAP_FAILED);
    return (struct mapfile){.bytes = map, .n_bytes = n, .map = map};
}
