# Part of ./dev: clang-format and clang-tidy.

# Our sources, tracked or new, with one of the endings given.
Sources() {
  git ls-files --cached --others --exclude-standard "${@/#/*.}" | while read -r file; do
    [[ -f "$file" ]] && printf '%s\n' "$file"
  done
}

Format() {
  Setup
  Sources h cc c | xargs -r clang-format -i
}

# For each .cc that build/release knows: its name, a hash over all that can change clang-tidy's
# verdict (itself, our headers that it includes, the checks, the version), and those headers.  Ninja
# knows which.
TidyKeys() {
  local checks
  checks=$( (cat .clang-tidy && clang-tidy --version) | sha256sum)
  ninja -C build/release -t deps | awk -v root="$PWD/" '
    function flush() { if (source != "") print source "\t" headers; source = headers = "" }
    /^[^ ]/ { flush(); next }
    NF == 1 && (index($1, root) == 1 || index($1, "../../") == 1) {  # ccache makes them relative.
      name = substr($1, index($1, root) == 1 ? length(root) + 1 : 7)
      if (source == "") source = name; else headers = headers " " name
    }
    END { flush() }' | sort -u | while IFS=$'\t' read -r source headers; do
    [[ "$source" == *.cc && "$source" != build/* && -f "$source" ]] || continue
    # shellcheck disable=SC2086
    printf '%s %s %s\n' "$source" \
      "$( (printf '%s' "$checks" && sha256sum "$source" $headers 2>&1) | sha256sum | cut -c1-40)" \
      "$headers"
  done
}

# Our headers and sources that differ from commit $1, new ones too.
ChangedSince() {
  local base=$1
  { git diff --name-only "$base" && git ls-files --others --exclude-standard; } |
    grep -E '\.(h|cc)$' | sort -u
}

# One file: prints what clang-tidy found, or notes that it is clean.
TidyOne() {
  local source=$1 key=$2
  if clang-tidy -p build/release --quiet "$source" 2>/dev/null; then
    touch "build/lint/$key"
  else
    printf '%s\n' "$source" >>build/lint/failed
  fi
}
export -f TidyOne

# lint [--all] [--budget SECONDS]
Lint() {
  local all=0 budget=0 base
  while [[ $# -gt 0 ]]; do
    case "$1" in
      --all) all=1 ;;
      --budget) budget=${2:?seconds}; shift ;;
      *) Misuse "lint: unknown argument '$1' (--all, --budget SECONDS)" ;;
    esac
    shift
  done
  Setup
  LintFormat
  Build
  base=$(git merge-base HEAD origin/main 2>/dev/null || git merge-base HEAD main 2>/dev/null || true)
  [[ -n "$base" ]] || all=1
  LintTidy "$all" "$budget" "$base"
}

LintFormat() {
  local files
  mapfile -t files < <(Sources h cc c)
  clang-format --dry-run -Werror "${files[@]}" ||
    Fail "lint: run ./dev fmt"
  Say "lint: clang-format: ${#files[@]} files clean"
}

LintTidy() {
  local all=$1 budget=$2 base=$3 started=$SECONDS
  mkdir -p build/lint
  rm -f build/lint/failed
  TidyKeys >build/lint/keys
  [[ -s build/lint/keys ]] || Fail "lint: clang-tidy: ninja knows no source of ours in build/release"
  if [[ $all -eq 1 ]]; then
    cp build/lint/keys build/lint/wanted
  else
    # A changed header asks for every source that includes it.
    ChangedSince "$base" | grep -F -f - build/lint/keys >build/lint/wanted || true
  fi
  local known=0 checked=0 left=0 source key headers
  while read -r source key headers; do
    if [[ -e "build/lint/$key" ]]; then
      known=$((known + 1))
    elif [[ $budget -gt 0 && $((SECONDS - started)) -ge $budget ]]; then
      left=$((left + 1))
    else
      checked=$((checked + 1))
      while [[ $(jobs -pr | wc -l) -ge $(nproc) ]]; do wait -n || true; done
      TidyOne "$source" "$key" &
    fi
  done < <(NewestFirst build/lint/wanted)
  wait
  Say "lint: clang-tidy: $checked files checked in $((SECONDS - started)) s, $known known as clean"
  [[ $left -eq 0 ]] || Say "lint: clang-tidy: NOT CHECKED: $left files, the budget of $budget s is spent"
  if [[ -e build/lint/failed ]]; then
    Fail "lint: clang-tidy: findings in $(sort build/lint/failed | tr '\n' ' ')"
  fi
}

# Orders lines that begin with a file name by the time of the file's last commit, newest first.
NewestFirst() {
  git log --format= --name-only | awk -v wanted="$1" '
    BEGIN { while ((getline line < wanted) > 0) { split(line, part, " "); rest[part[1]] = line } }
    $0 in rest { print rest[$0]; delete rest[$0] }
    END { for (name in rest) print rest[name] }'
}
