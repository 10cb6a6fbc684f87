/* lora_weight.h - "FILE:0.8" on a command line.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef LORA_WEIGHT_H
#define LORA_WEIGHT_H

/* The number behind the last colon, which is cut off; 1 if there is none. */
void lora_weight_cut(char *text, double *weight);

#endif
