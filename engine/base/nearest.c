/* nearest.c - the word of a list that a person may have meant.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/nearest.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

/* Longest text that is compared; longer ones are near nothing. */
#define MAX_WORD 63

static int lower(char c)
{
    return tolower((unsigned char)c);
}

static size_t least(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Levenshtein's distance, with a swap of neighbours as one edit (Damerau's,
 * restricted): the commonest slip of the fingers. */
static size_t edit_distance(const char *a, size_t n, const char *b, size_t m)
{
    size_t rows[3][MAX_WORD + 1];
    size_t *two = rows[0], *one = rows[1], *now = rows[2];
    for (size_t j = 0; j <= m; j++)
        one[j] = j;
    for (size_t i = 1; i <= n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t cost = lower(a[i - 1]) != lower(b[j - 1]);
            now[j] = least(one[j] + 1, now[j - 1] + 1, one[j - 1] + cost);
            bool is_swap = i > 1 && j > 1 &&
                           lower(a[i - 1]) == lower(b[j - 2]) &&
                           lower(a[i - 2]) == lower(b[j - 1]);
            if (is_swap && two[j - 2] + 1 < now[j])
                now[j] = two[j - 2] + 1;
        }
        size_t *swap = two;
        two = one;
        one = now;
        now = swap;
    }
    return one[m];
}

static bool is_prefix(const char *text, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++)
        if (lower(text[i]) != lower(word[i]))
            return false;
    return n > 0;
}

int nearest_word(const char *text, const char *const *words, size_t n)
{
    size_t n_text = strlen(text);
    size_t best_distance = MAX_WORD + 1;
    int best = -1;
    if (n_text == 0 || n_text > MAX_WORD)
        return -1;
    for (size_t i = 0; i < n; i++) {
        size_t n_word = strlen(words[i]);
        if (n_word > MAX_WORD)
            continue;
        size_t d = edit_distance(text, n_text, words[i], n_word);
        /* Near: a third of the letters wrong, or the start of a word. */
        size_t limit = (n_word > n_text ? n_word : n_text) / 3;
        bool is_near =
            d <= (limit > 0 ? limit : 1) || (n_text >= 2 && n_text < n_word &&
                                             is_prefix(text, n_text, words[i]));
        if (is_near && d < best_distance) {
            best_distance = d;
            best = (int)i;
        }
    }
    return best;
}
