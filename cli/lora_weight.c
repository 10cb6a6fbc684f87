/* lora_weight.c - "FILE:0.8" on a command line.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lora_weight.h"

#include <stdlib.h>
#include <string.h>

void lora_weight_cut(char *text, double *weight)
{
    char *colon = strrchr(text, ':'), *end;
    double value;

    *weight = 1;
    if (!colon || !colon[1])
        return;
    value = strtod(colon + 1, &end);
    if (*end)
        return;
    *weight = value;
    *colon = '\0';
}
