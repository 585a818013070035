#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# A load like that of a build, whose every result is a checksum that can be compared.
#
#   load.sh APPLETS SEED
#
# APPLETS is a directory with busybox's applets as links; commands named through it are executed
# anew, others are run by the shell's own fork. Works in a directory of its own that it makes in the
# current one and removes. Prints `load SEED PART SUM`; the same busybox prints the same lines on any
# right machine. Source files are generated, each is "compiled" by a dozen short processes, the
# objects are archived, compressed and compared; the shell loops, forks and execs; then numbers,
# signals and kills.
A=$1 SEED=$2
export LC_ALL=C TZ=UTC0 PATH="$A"
umask 022

part() { echo "load $SEED $1 $(md5sum | cut -c 1-32)"; }

# 24 files in 6 directories, about 4 KiB each.
generate()
{
    mkdir -p src/a src/b src/c src/d src/e src/f obj
    "$A/awk" -v seed="$SEED" '
    function next_random(n) { seed = (seed * 16807) % 2147483647; return seed % n }
    BEGIN {
        split("int char long if else while return static struct void", word, " ")
        for (f = 0; f < 24; f++) {
            name = "src/" substr("abcdef", f % 6 + 1, 1) "/file" f ".c"
            for (line = 0; line < 90; line++) {
                s = ""
                for (w = next_random(8) + 1; w > 0; w--)
                    s = s word[next_random(10) + 1] " v" next_random(1000) " "
                print s "= " next_random(1000000) ";" >name
            }
            close(name)
        }
    }'
    cat src/*/* | part generate
}

compile()
{
    for f in src/*/*.c; do
        o=obj/$(basename "$f" .c).o
        # The preprocessor, the optimiser, the assembler.
        "$A/sed" -e 's/static //g; s/\(v[0-9]*\) = \([0-9]*\)/mov \1,$\2/; /^$/d' "$f" >"$o.i"
        "$A/tr" -s ' ' '\n' <"$o.i" | "$A/sort" | "$A/uniq" -c | "$A/sort" -rn >"$o.count"
        "$A/awk" '{ n += $1; s += length($2) * $1 } END { print NR, n, s }' "$o.count" >"$o.sum"
        grep -c return "$o.i" >>"$o.sum"
        "$A/gzip" -c <"$o.i" | "$A/gunzip" | "$A/cmp" - "$o.i" || echo "$f changed" >>"$o.sum"
        [ "$(wc -l <"$o.i")" -gt 0 ] && "$A/sha1sum" "$o.i" | cut -d ' ' -f 1 >"$o"
    done
    cat obj/*.sum obj/*.o | part compile
}

link()
{
    tar -cf all.tar obj src
    mkdir -p copy
    tar -xf all.tar -C copy
    diff -r obj copy/obj >difference 2>&1 || echo "trees differ"
    (cd copy && find . -type f | sort | xargs sha256sum) | part archive
    cat copy/src/*/* copy/obj/* >blob
    bzip2 -c blob >blob.bz2
    bunzip2 -c blob.bz2 | cmp - blob && part bzip2 <blob.bz2
    gzip -c blob | gunzip -c | sha512sum | part gzip
    sort -u blob | part sort
    od -An -tx4 <blob | "$A/tail" -n 200 | part od
    rm -rf copy obj all.tar difference
}

shell()
{
    i=0 n=0
    while [ $i -lt 60 ]; do
        # A process each: fork and exec, fork alone, two of them and a pipe.
        n=$("$A/expr" $n + $i \* 3)
        n=$((n % 65521))
        n=$((n + $( (exit $((i % 7))); echo $?)))
        n=$(echo $n | "$A/cat")
        i=$((i + 1))
    done
    echo $n | part shell
    # Forty at the same time, and a tree twelve deep.
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 \
        21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40; do
        "$A/seq" $i 50 2000 | "$A/sha256sum" >"many.$i" &
    done
    wait
    cat many.* | part many
    rm -f many.*
    deeper() { if [ "$1" -gt 0 ]; then (deeper $(($1 - 1))); else echo bottom; fi; }
    deeper 12 | part deep
}

numbers()
{
    awk -v n="$SEED" 'BEGIN {
        # Roots by Newton; awk here has no library of mathematics.
        for (i = 1; i < 4000; i++) {
            x = i
            for (k = 0; k < 12; k++) x = (x + (i + n) / x) / 2
            s += 1 / x; a[i % 97] += int(s * 1000) % 7
        }
        for (i = 0; i < 97; i++) t = t " " a[i]
        printf "%.9f%s\n", s, t
    }' | part float
    echo "scale=60; 4 * a(1); e($((SEED % 10)).5); sqrt($SEED)" | "$A/bc" -l | part bc
    factor 1000003 $((SEED + 1000000007)) 4294967291 | part factor
    "$A/seq" 1 20000 | "$A/md5sum" | part seq
}

signals()
{
    {
        sh -c 'trap "echo usr1" USR1; kill -USR1 $$; kill -USR1 $$; echo after'
        # Killed while they compute, while they sleep, while a pipe is full.
        awk 'BEGIN { for (;;) i++ }' & pid=$!
        sleep 0.1; kill $pid; wait $pid; echo "computing: $?"
        sh -c 'while :; do "$0/true"; done' "$A" & pid=$!
        sleep 0.2; kill -9 $pid; wait $pid; echo "forking: $?"
        sleep 1000 & pid=$!
        kill -INT $pid; kill -HUP $pid; wait $pid; echo "sleeping: $?"
        "$A/yes" "$SEED" | "$A/head" -n 5000 | md5sum
        timeout 0.2 "$A/yes" >/dev/null; echo "timeout: $?"
        # Stopped and continued.
        sh -c 'kill -STOP $$; echo continued' & pid=$!
        until grep -q '^State:.T' /proc/$pid/status; do sleep 0.05; done
        kill -CONT $pid; wait $pid; echo "stopped: $?"
        sh -c 'trap "" TERM; kill $$; trap - TERM; echo ignored; kill $$; echo wrong'; echo $?
        # Arithmetic fault and wild access end a process, not the machine.
        sh -c 'kill -SEGV $$'; echo $?
    } >out 2>/dev/null
    part signals <out
}

folder=load.$$
mkdir $folder && cd $folder || exit 1
generate
compile
link
shell
numbers
signals
cd .. && rm -rf $folder
