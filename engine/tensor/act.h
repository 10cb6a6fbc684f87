/* act.h - the activation functions that networks name.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TENSOR_ACT_H
#define TENSOR_ACT_H

enum act {
    ACT_NONE = 0,
    ACT_SILU,
    ACT_MISH,
    ACT_GELU, /* erf form */
    ACT_RELU,
    ACT_COUNT
};

#endif
