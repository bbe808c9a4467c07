#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Runs a Windows program:
#
#   cmake/wine.sh <program.exe> <argument>...
#   cmake/wine.sh --start      makes what programs need, once, and keeps its server running
#   cmake/wine.sh --stop       ends the server, and whatever still runs
#
# Without --start each program starts a server and ends it, which takes about a second. Everything
# lies in build/wine, also what Wine takes for a user's folders.
here=$(cd "$(dirname "$0")/.." && pwd)
export WINEPREFIX="$here/build/wine" WINEDEBUG=-all
# No debugger for programs that crash on purpose; no browser, no .NET, no menu entries.
export WINEDLLOVERRIDES='mscoree=;mshtml=;winemenubuilder.exe=;winedbg.exe='
unset DISPLAY
mkdir -p "$WINEPREFIX"

keep_server() {
  # Its services keep what they inherit open, so they inherit nothing.
  wineserver -p </dev/null >/dev/null 2>&1
}
# Which server runs; nothing if none does. Debian has its own place for them.
server() {
  stat -c '%i %z' /tmp/wine-*/"server-$id"/socket "/tmp/.wine-$(id -u)/server-$id"/socket 2>/dev/null
}
id=$(stat -c %D "$WINEPREFIX")-$(printf %x "$(stat -c %i "$WINEPREFIX")")

case $1 in
  --start)
    keep_server
    : >"$WINEPREFIX/is-kept"
    wineboot -i </dev/null >/dev/null 2>&1
    # Windows counts its starts there, and Boost's message_queue asks for the number.
    wine reg add 'HKLM\System\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters' \
      /v BootId /t REG_DWORD /d 1 /f </dev/null >/dev/null 2>&1
    ;;
  --stop)
    rm -f "$WINEPREFIX/is-kept"
    wineserver -k
    wineserver -w
    ;;
  *)
    [ -e "$WINEPREFIX/is-kept" ] || exec wine "$@"
    [ -n "$(server)" ] || keep_server
    before=$(server)
    wine "$@"
    code=$?
    # It has crashed (docs/platforms.md says of what); whatever runs then ends with code 0, as if all were well.
    [ "$(server)" = "$before" ] && exit $code
    echo "wine.sh: Wine's server has ended by itself, and this program with it: $1" >&2
    exit 70
    ;;
esac
