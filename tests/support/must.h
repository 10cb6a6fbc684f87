/* must.h - what a test needs to succeed before it tests anything.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SUPPORT_MUST_H
#define SUPPORT_MUST_H

#include "unstir.h"

/* Fail the running test with the error's text unless status is UNSTIR_OK. */
void must(enum unstir_status status, const struct unstir_error *err);

#endif
