/* bench_peak.h - the roof that the shares of other benchmarks refer to.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

#include "unstir_bench.h"

/* GFLOP/s of multiply-adds from registers on as many threads; 0 if unknown. */
double bench_peak_gflops(const struct unstir_bench_options *options);

#endif
