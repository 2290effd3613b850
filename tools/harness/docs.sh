#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# docs.sh: the kernel's checks of documentation, on what the series adds to
# build/tree:
#
#   kernel-doc   comments in the C files and headers: no warning that the base
#                does not have
#   references   no mention of a file in Documentation/ that is not there
#   htmldocs     the directories whose pages the series touches, by the kernel's
#                own "make htmldocs": no warning about such a page or about
#                a file that is new
#   example      the program in layout-leases.rst compiles as it stands
#
# The pages are in build/docs/html/*/.
#
# Stock pages do warn (some 200 times), so a warning counts by the file it names.

# shellcheck source=tools/harness/lib.sh
. "$(dirname -- "$0")/lib.sh"

tree=$BUILD/tree
out=$BUILD/docs
logs=$BUILD/logs
dirs='infiniband filesystems admin-guide'
page=Documentation/filesystems/layout-leases.rst

need git python3 sphinx-build make cc awk perl flock
lock docs
mkdir -p "$out" || exit 1
cd "$tree" || die "no kernel tree in $tree (make tree)"
[ -f $page ] || die "no $page in $tree"
git rev-parse -q --verify base >/dev/null || die "no tag base in $tree"

# changed [GIT-DIFF-OPTION...] [-- PATHSPEC...]: files of the series, work that is
# not committed included
changed()
{
	git diff --name-only --diff-filter=AM base "$@"
}

# --- kernel-doc -------------------------------------------------------------------

# comments DIR LOG: what kernel-doc has to say of the files there, without numbers
# of lines
comments()
(
	cd "$1" || exit 1
	while read -r f; do
		[ ! -f "$f" ] || "$tree/tools/docs/kernel-doc" -none -Wall "$f"
	done <"$out/c-files" 2>&1 |
		sed -E 's/\.([ch]):[0-9]+:?/.\1/' | sort -u >"$2"
)

base_sources()
{
	rm -rf "$out/base" && mkdir -p "$out/base" || return 1
	git ls-tree -r --name-only base >"$out/base-files" || return 1
	grep -xF -f "$out/c-files" "$out/base-files" >"$out/c-base"
	xargs git archive base -- <"$out/c-base" | tar -x -C "$out/base"
}

say 'kernel-doc'
changed -- '*.c' '*.h' >"$out/c-files" || die "git diff in $tree failed"
base_sources || die "could not lay out the base's files"
comments "$out/base" "$out/kernel-doc.base"
comments "$tree" "$out/kernel-doc.series"
comm -13 "$out/kernel-doc.base" "$out/kernel-doc.series" >"$logs/kernel-doc.log"
[ ! -s "$logs/kernel-doc.log" ] ||
	die_log "$logs/kernel-doc.log" 'kernel-doc comments warn'

# --- references ---------------------------------------------------------------------

# Lines are "FILE: WHAT IT MENTIONS". What the base mentions as well is not ours.
references()
{
	tools/docs/documentation-file-ref-check 2>&1 | while IFS= read -r line; do
		file=${line%%: *} ref=${line#*: }
		changed -- "$file" | grep -q . || continue
		git grep -qF -e "$ref" base -- "$file" ||
			printf '%s\n' "$line"
	done
}

say 'references'
references >"$logs/docs-references.log"
[ ! -s "$logs/docs-references.log" ] ||
	die_log "$logs/docs-references.log" 'files are mentioned that are not there'

# --- the example --------------------------------------------------------------------

# The one block of C that has a main(), less its indentation
say "the example in $page"
awk '/^\.\. code-block:: c$/ { code = 1; next }
	code && /^[^ \t]/ { code = 0 }
	code { sub(/^\t/, ""); print }' $page >"$out/example.c"
grep -q '^int main' "$out/example.c" || die "no program in $page"
cc -O2 -Wall -Wextra -Werror -o "$out/example" "$out/example.c" -libverbs \
	>"$logs/docs-example.log" 2>&1 ||
	die_log "$logs/docs-example.log" 'the example does not compile'

# --- htmldocs -----------------------------------------------------------------------

log=$logs/docs.log
for d in $(changed -- 'Documentation/*.rst' | cut -d / -f 2 | sort -u); do
	case " $dirs " in
	*" $d "*) ;;
	*) die "Documentation/$d is not among those that docs.sh builds" ;;
	esac
done
need_space 2 'the documentation'
# Pages that have not changed are not read again, and warn no more.
rm -rf "$out/html"
run_logged "$log" "htmldocs of $dirs" \
	make -C "$tree" O="$out/html" SPHINXDIRS="$dirs" htmldocs ||
	die_log "$log" 'htmldocs failed'
for d in $dirs; do
	case $(find "$out/html" -path "*/$d/index.html" | head -n 1) in
	'') die_log "$log" "no pages of $d" ;;
	esac
done
{
	changed -- 'Documentation/*'
	changed --diff-filter=A
} | sort -u >"$out/ours"
grep -E 'WARNING|ERROR|[Ww]arning:|[Ee]rror:' "$log" | grep -F -f "$out/ours" \
	>"$logs/docs-warnings.log"
[ ! -s "$logs/docs-warnings.log" ] ||
	die_log "$logs/docs-warnings.log" 'the documentation builds with warnings'
say "kernel-doc, references, example and htmldocs of $dirs: no warnings; pages in $out/html"
