/* with_act.h - a kernel's body once for each activation, which is a constant
 * in it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_WITH_ACT_H
#define KERNELS_WITH_ACT_H

#include "tensor/act.h"

/* Call body(ACT, ...), where body is an inline function. */
#define WITH_ACT(act, body, ...)           \
    switch (act) {                         \
    case ACT_SILU:                         \
        body(ACT_SILU, __VA_ARGS__);       \
        break;                             \
    case ACT_MISH:                         \
        body(ACT_MISH, __VA_ARGS__);       \
        break;                             \
    case ACT_GELU:                         \
        body(ACT_GELU, __VA_ARGS__);       \
        break;                             \
    case ACT_RELU:                         \
        body(ACT_RELU, __VA_ARGS__);       \
        break;                             \
    case ACT_GELU_TANH:                    \
        body(ACT_GELU_TANH, __VA_ARGS__);  \
        break;                             \
    case ACT_QUICK_GELU:                   \
        body(ACT_QUICK_GELU, __VA_ARGS__); \
        break;                             \
    case ACT_TANH:                         \
        body(ACT_TANH, __VA_ARGS__);       \
        break;                             \
    default:                               \
        body(ACT_NONE, __VA_ARGS__);       \
    }

#endif
