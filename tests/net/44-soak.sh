#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 600
# alone: twenty nodes, and faults that take the machine's time
#
# Five minutes of tests/soak.sh, which says what they are.
exec "$(dirname "$0")/../soak.sh" "${SOAK_MINUTES:-5}"
