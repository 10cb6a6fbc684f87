#!/bin/sh
# t_hostile_folders.sh - a fixed set of damaged model folders; more by hand.
#
# SPDX-License-Identifier: MIT
set -u
cd "$(dirname "$0")/../.." || exit 1
exec python3 tests/python/hostile_folders.py "${BUILD:-build}/unstir" 1 25
