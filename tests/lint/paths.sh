# paths.sh - the files and folders that the documents name are there.
#
# Looked at is what stands between backquotes or is a link of a document here,
# or a path in a comment, if it begins with a folder of this tree.  A name with
# a placeholder (<isa>, *, $) stands for others and is passed over.
#
# Sourced by run.sh.
#
# SPDX-License-Identifier: MIT

{
    grep -noE '[`(][a-zA-Z0-9_./-]+[`)]' README.md CONTRIBUTING.md docs/*.md 2>/dev/null |
        sed 's/[`()]//g'
    grep -rnoE --include='*.[ch]' --include='*.sh' --include='*.py' \
        '(engine|server|cli|tests|tools|docs|deploy|include)/[a-zA-Z0-9_./-]+\.(c|h|sh|py|md|json|txt)\b' \
        engine server cli tests tools include
} | sort -u | while IFS=: read -r file line path; do
    case $path in
    engine/* | server/* | cli/* | tests/* | tools/* | docs/* | deploy/* | include/*) ;;
    *) continue ;;
    esac
    [ -e "$path" ] || echo "$file:$line: $path is not there"
done >"$tmp/paths"
verdict paths "$tmp/paths"
