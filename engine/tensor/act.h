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
    ACT_GELU_TANH,  /* x sigmoid(2 u), u = sqrt(2 / pi)(x + 0.044715 x^3)    */
    ACT_QUICK_GELU, /* x sigmoid(1.702 x)                                    */
    ACT_TANH,
    ACT_COUNT
};

#endif
