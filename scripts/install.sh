#!/bin/sh
# Installs cog from a release archive: `sh install.sh [SOURCE]`, or `curl -fsSL URL/install.sh | sh -s -- URL`.
#
# SOURCE, or COG_DOWNLOAD_URL, is where the archive and its SHA256SUMS are: a URL or a folder, or the archive itself.
# It goes to /usr/local for root and to ~/.local for others; COG_INSTALL_DIR names another place.
#
# The programs of each installation are in a folder of their own below lib/cog, complete before anything leads to them;
# `bin/cog` is a link, and replacing it is all that an upgrade is. So what is cut off has changed nothing.
set -eu
umask 022

main() {
  origin=${1:-${COG_DOWNLOAD_URL:-}}
  if [ $# -gt 1 ] || [ -z "$origin" ]; then
    fail 'where is the archive? Give its URL or folder (sh install.sh SOURCE), or set COG_DOWNLOAD_URL'
  fi
  machine=$(machine)
  prefix=$(prefix)
  scratch='' link=''
  trap clear_away EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  begin
  download
  unpack
  install_texts
  switch
  remove_older
  say "Installed $version in $prefix/bin"
  advise
}

say() { printf '%s\n' "$*"; }

fail() {
  printf 'install: %s\n' "$*" >&2
  exit 1
}

# Without a name and password.
shown() { printf '%s' "$1" | sed 's|//[^/@]*@|//|'; }

machine() {
  system=$(uname -s) processor=$(uname -m)
  case "$system $processor" in
    'Linux x86_64' | 'Linux amd64') echo x86_64 ;;
    'Linux aarch64' | 'Linux arm64') echo aarch64 ;;
    *) fail "there is no cog for $system $processor: it runs on Linux, on x86_64 and aarch64" ;;
  esac
}

prefix() {
  if [ -n "${COG_INSTALL_DIR:-}" ]; then
    case $COG_INSTALL_DIR in
      /*) echo "$COG_INSTALL_DIR" ;;
      *) echo "$PWD/$COG_INSTALL_DIR" ;;
    esac
  elif [ "$(id -u)" = 0 ]; then
    echo /usr/local
  elif [ -n "${HOME:-}" ]; then
    echo "$HOME/.local"
  else
    fail 'HOME is not set: say where to install with COG_INSTALL_DIR'
  fi
}

# --- before anything is changed ---

begin() {
  releases=$prefix/lib/cog
  for folder in "$prefix/bin" "$prefix/share" "$releases"; do
    writable "$folder" || no_permission "$folder"
  done
  existed=$nearest
  if [ -d "$prefix/bin/cog" ]; then
    fail "$prefix/bin/cog is a folder: remove it, or install elsewhere with COG_INSTALL_DIR"
  fi
  mkdir -p "$releases" 2>/dev/null || no_permission "$releases"
  scratch=$(mktemp -d "$releases/.new.XXXXXX" 2>/dev/null) || no_permission "$releases"
}

# Whether it could be made or written to.
writable() {
  nearest=$1
  while [ ! -e "$nearest" ]; do
    nearest=${nearest%/*}
    nearest=${nearest:-/}
  done
  [ -d "$nearest" ] && [ -w "$nearest" ]
}

no_permission() {
  fail "cannot write to $1: run this as a user who can, or say where to install with COG_INSTALL_DIR"
}

clear_away() {
  [ -z "$link" ] || rm -f "$link"
  if [ -n "$scratch" ]; then
    rm -rf "$scratch"
    # Folders that this run has made and did not come to use.
    folder=$releases
    while [ "$folder" != "$existed" ] && rmdir "$folder" 2>/dev/null; do
      folder=${folder%/*}
    done
  fi
}

# --- the archive ---

download() {
  case $origin in
    *.tar.gz)
      archive=${origin##*/}
      case $origin in
        */*) base=${origin%/*} ;;
        *) base=. ;;
      esac
      ;;
    *) archive='' base=${origin%/} ;;
  esac
  fetch "$base/SHA256SUMS" "$scratch/SHA256SUMS"
  if [ -z "$archive" ]; then
    archive=$(listed)
  fi
  case $archive in
    cog-*"-linux-$machine.tar.gz") ;;
    *) fail "$archive is not for this machine, which is linux-$machine" ;;
  esac
  expected=$(awk -v name="$archive" '{ sub(/^\*/, "", $2) } $2 == name { print $1 }' "$scratch/SHA256SUMS")
  [ -n "$expected" ] || fail "$(shown "$base")/SHA256SUMS does not list $archive"
  say "Fetching $archive from $(shown "$base")"
  fetch "$base/$archive" "$scratch/$archive"
  arrived=$(sha256sum <"$scratch/$archive" | cut -d ' ' -f 1)
  if [ "$arrived" != "$expected" ]; then
    fail "$archive is not what SHA256SUMS says: it has the checksum $arrived, and should have $expected. Nothing was installed"
  fi
}

# The one archive for this machine that the checksums list.
listed() {
  names=$(sed -n "s/^[0-9a-f]\{64\} [ *]\(cog-[^ /]*-linux-$machine\.tar\.gz\)\$/\1/p" "$scratch/SHA256SUMS")
  case $names in
    '') fail "$(shown "$base") has no archive for linux-$machine" ;;
    *'
'*) fail "$(shown "$base") has several archives, give the URL of one: $(echo "$names" | tr '\n' ' ')" ;;
    *) echo "$names" ;;
  esac
}

fetch() {
  case $1 in
    http://* | https://*) transfer "$1" "$2" ;;
    *) cp "${1#file://}" "$2" ;;
  esac || fail "could not get $(shown "$1"). Nothing was installed"
}

transfer() {
  if command -v curl >/dev/null; then
    curl --fail --silent --show-error --location --proto '=http,https' --connect-timeout 20 --retry 2 \
      --speed-limit 1 --speed-time 60 --output "$2" "$1"
  elif command -v wget >/dev/null; then
    # Not every wget can be told how often to try.
    if wget --version 2>/dev/null | grep -q GNU; then
      wget -q -T 60 -t 3 -O "$2" "$1"
    else
      wget -q -T 60 -O "$2" "$1"
    fi
  else
    fail 'neither curl nor wget is installed: get the archive and SHA256SUMS in another way, and give their folder'
  fi
}

unpack() {
  tar -xzof "$scratch/$archive" -C "$scratch" || fail "$archive could not be unpacked. Nothing was installed"
  tree=$scratch/${archive%.tar.gz}
  (cd "$tree" && sha256sum -c SHA256SUMS) >/dev/null 2>&1 ||
    fail "$archive was not unpacked as it is: is the disk full? Nothing was installed"
  version=$(COG_NO_UPDATE_CHECK=1 "$tree/bin/cog" --version) ||
    fail "the programs of $archive do not run in $prefix: may programs run there (\`noexec\`)? Nothing was installed"
  version=$(echo "$version" | cut -d ' ' -f 1,3)
}

# --- the installation ---

# Manual pages and completions: each takes the place of its older one.
install_texts() {
  (cd "$tree" && find share -type f) >"$tree/bin/.texts"
  while read -r file; do
    mkdir -p "$prefix/${file%/*}"
    link=$prefix/$file.new.$$
    cp "$tree/$file" "$link"
    mv -f "$link" "$prefix/$file"
  done <"$tree/bin/.texts"
}

switch() {
  previous=$(readlink "$prefix/bin/cog" || :)
  previous=$(expr "$previous" : '\.\./lib/cog/\([^/]*\)/cog$' || :)
  current=$(echo "$version" | tr ' ' -)-${scratch##*.}
  mv "$tree/bin" "$releases/$current"
  mkdir -p "$prefix/bin"
  # `cog` looks for `coglet` where the link leads: it never meets another one than its own.
  for program in coglet cog; do
    link=$prefix/bin/.$program.new.$$
    ln -s "../lib/cog/$current/$program" "$link"
    mv -f "$link" "$prefix/bin/$program"
  done
  link=''
}

# The last one stays, as it may be running.
remove_older() {
  if [ -n "$previous" ] && [ -f "$releases/$previous/.texts" ]; then
    while read -r file; do
      [ -e "$tree/$file" ] || rm -f "$prefix/$file"
    done <"$releases/$previous/.texts"
  fi
  for folder in "$releases"/cog-*; do
    case ${folder##*/} in
      "$current" | "$previous") ;;
      *) rm -rf "$folder" ;;
    esac
  done
  # What was left by one that was killed.
  find "$releases/." ! -name . -prune -name '.new.*' -mtime +0 -exec rm -rf {} +
}

advise() {
  case ":$PATH:" in
    *":$prefix/bin:"*)
      first=$(command -v cog || :)
      [ "$first" = "$prefix/bin/cog" ] || say "But \`cog\` is $first, which comes before it in PATH"
      ;;
    *)
      say "It is not in your PATH yet. Add this to ~/.profile, or to what your shell reads when it starts:"
      say "  export PATH=\"$prefix/bin:\$PATH\""
      ;;
  esac
  case "$prefix ${SHELL:-}" in
    /usr/local\ * | /usr\ *) ;;
    *zsh)
      say "For completions, add this to ~/.zshrc, before \`compinit\`:"
      say "  fpath=($prefix/share/zsh/site-functions \$fpath)"
      ;;
  esac
}

main "$@"
