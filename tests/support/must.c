/* must.c - what a test needs to succeed before it tests anything.
 *
 * SPDX-License-Identifier: MIT
 */
#include "must.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

void must(enum unstir_status status, const struct unstir_error *err)
{
    if (status != UNSTIR_OK)
        fail_msg("%s: %s", unstir_status_name(status), err->detail);
}
