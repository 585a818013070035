# SPDX-License-Identifier: MIT
# The short session that ./demo.sh runs inside the guest when there is no terminal. POSIX shell.
# shellcheck shell=sh disable=SC2016
run()
{
    echo "guest# $*"
    sh -c "$*"
}
run 'uname -a'
run 'grep -E "^(vendor_id|model name|flags)" /proc/cpuinfo'
run 'free -k'
run 'ls -l /'
run 'seq 1 1000 | awk "{ s += \$1 * \$1 } END { print \"sum of squares to 1000:\", s }"'
run 'dd if=/dev/zero bs=64k count=16 2>/dev/null | sha256sum'
run 'cat /proc/uptime'
