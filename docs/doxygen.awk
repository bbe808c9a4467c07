# SPDX-License-Identifier: BSL-1.0
# What Doxygen reads of a file. Of a header: all but the members that the compiler writes, which need no words
# unless something is said of them. Of a page: `code` is ``code``, for there an apostrophe ends the former.
FILENAME ~ /\.md$/ {
  if (/^```/) fenced = !fenced
  else if (!fenced) gsub(/`[^`]+`/, "`&`")
  print
  next
}
/= (default|delete);/ && before !~ /^ *\/\/\// { print ""; before = ""; next }
{ before = $0; print }
