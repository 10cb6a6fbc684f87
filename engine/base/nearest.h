/* nearest.h - the word of a list that a person may have meant.
 *
 * Any thread, no state.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

#include <stddef.h>

/* As unstir_nearest(): the index of the nearest of n words, -1 if none is
 * near. */
int nearest_word(const char *text, const char *const *words, size_t n);

#endif
