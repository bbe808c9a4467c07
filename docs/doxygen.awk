# SPDX-License-Identifier: BSL-1.0
# What Doxygen reads of a header: all but the members that the compiler writes, which need no words unless
# something is said of them.
/= (default|delete);/ && before !~ /^ *\/\/\// { print ""; before = ""; next }
{ before = $0; print }
