# loops.awk - innermost loops of multiply-adds in a disassembly.
#
# Input: objdump -d --no-show-raw-insn.  A loop is a jump backwards within a
# function and everything from its target on; innermost is one that holds no
# other.  For each that multiplies and adds it prints
#
#     function multiply-adds stack-accesses
#
# where a stack access is a memory operand based on %rsp or %rbp.
#
# SPDX-License-Identifier: MIT
function report(   i, j, k, inner, n_fma, n_stack) {
    for (i = 1; i <= n; i++) {
        if (to[i] == "" || !(to[i] in at) || at[to[i]] > i)
            continue
        inner = 1
        for (j = at[to[i]]; j < i; j++)
            if (to[j] != "" && (to[j] in at) && at[to[j]] <= j &&
                at[to[j]] >= at[to[i]])
                inner = 0
        if (!inner)
            continue
        n_fma = n_stack = 0
        for (k = at[to[i]]; k <= i; k++) {
            if (text[k] ~ /vfmadd|vdpbf16ps|vpdpbusd|vpmaddwd/)
                n_fma++
            if (text[k] ~ /\(%r[sb]p[,)]/)
                n_stack++
        }
        if (n_fma > 0)
            print name, n_fma, n_stack
    }
    n = 0
    split("", at)
    split("", to)
    split("", text)
}

/^[0-9a-f]+ <.*>:$/ {
    report()
    name = $2
    gsub(/[<>:]/, "", name)
    sub(/\.(isra|constprop|part)\..*/, "", name) # copies by the compiler
    next
}

/^ +[0-9a-f]+:\t/ {
    n++
    address = $1
    sub(/:$/, "", address)
    at[address] = n
    to[n] = $2 ~ /^j/ ? $3 : ""
    text[n] = $0
}

END { report() }
