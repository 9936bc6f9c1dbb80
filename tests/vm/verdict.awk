# What the machine's outcome amounts to: a line for each test binary, or module of one, and an exit status that is 0 only if each said that
# all went well, and the kernel had nothing to complain about. -v wanted, work, took.
{ sub(/\r$/, "") }
/^vm: begin / { name = $3; next }
/^vm: end / { status[$3] = $4; seconds[$3] = $5; name = ""; next }
/^vm: done$/ { done = 1; next }
/^test result: / && name != "" {
  results[name]++
  for (i = 1; i < NF; i++) {
    if ($(i + 1) == "passed;") passed[name] += $i
    if ($(i + 1) == "failed;") failed[name] += $i
    if ($(i + 1) == "ignored;") ignored[name] += $i
  }
}
/^test .* \.\.\. FAILED$/ { told[name] = told[name] "\n    FAILED " $2 }
/^skipped: / { sub(/^skipped: /, ""); if (!(name SUBSEP $0 in known)) skips[name] = skips[name] "\n    skipped: " $0; known[name, $0] }
END {
  count = split(wanted, names, " ")
  printf "%-28s %7s %7s %7s %8s\n", "test", "passed", "failed", "ignored", "seconds"
  for (i = 1; i <= count; i++) {
    name = names[i]
    if (!(name in status)) { verdict = "  no outcome"; bad = 1 }
    else if (status[name] == 124) { verdict = "  TIME-OUT"; bad = 1 }
    else if (status[name] != 0 || failed[name] > 0) { verdict = "  FAILED"; bad = 1 }
    else if (results[name] == 0 || passed[name] == 0) { verdict = "  nothing was tested"; bad = 1 }
    else verdict = ""
    printf "%-28s %7d %7d %7d %8s%s%s%s\n", name, passed[name], failed[name], ignored[name], seconds[name], verdict, told[name], skips[name]
    all += passed[name]
  }
  if (!done) { print "the machine did not come to its end"; bad = 1 }
  while ((getline line < (work "/console")) > 0)
    if (line ~ /Kernel panic|BUG:|Oops|WARNING:|general protection|soft lockup|blocked for more than/) { print "kernel: " line; bad = 1 }
  printf "%d tests passed in %d s%s\n", all, took, bad ? "; see " work "/outcome and " work "/console" : ""
  exit bad
}
