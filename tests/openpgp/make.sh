#!/bin/sh
# Makes the files of this folder with GnuPG, in a home of its own that is gone afterwards: the private keys are kept nowhere.
set -eu
cd "$(dirname "$0")"
GNUPGHOME="$(mktemp -d)"
export GNUPGHOME
trap 'gpgconf --kill all; rm -rf "$GNUPGHOME"' EXIT

# at <time> <arguments>: what gpg does on that day.
at() {
    day="$1T120000!"
    shift
    gpg --quiet --batch --no-tty --yes --pinentry-mode loopback --passphrase '' --faked-system-time "$day" "$@"
}
fingerprints() {
    gpg --with-colons --list-keys --faked-system-time 20200102T120000! "<$1>" 2>/dev/null | sed -n 's/^fpr:*\([0-9A-F]*\):$/\1/p'
}
primary() { fingerprints "$1" | sed -n 1p; }
subkey() { fingerprints "$1" | sed -n "$(($2 + 1))p"; }
# sign <time> <file> <key> <arguments>: as git does it.
sign() {
    day=$1 file=$2 key=$3
    shift 3
    at "$day" "$@" --armor --local-user "$key!" --output "$file.sig" --detach-sign commit.txt
}
make() { at 20200101 "$@"; }

rm -f ./*.asc ./*.sig

make --quick-generate-key team@example.com ed25519 sign,cert never
team="$(primary team@example.com)"
for _ in good ends revoked; do make --quick-add-key "$team" ed25519 sign never; done
make --quick-add-key "$team" cv25519 encr never
ends="$(subkey team@example.com 2)"
sign 20200201 team "$team"
sign 20200201 team-subkey "$(subkey team@example.com 1)"
sign 20200601 team-subkey-before-its-end "$ends"
sign 20210601 team-subkey-after-its-end "$ends"
sign 20200201 team-revoked-subkey "$(subkey team@example.com 3)"
sign 20200201 team-sha1 "$team" --digest-algo SHA1
sign 20200201 team-ends "$team" --default-sig-expire 2020-03-01
sign 20191201 team-before-it-was-made "$team" --ignore-time-conflict --ignore-valid-from
at 20200201 --armor --local-user "$team!" --textmode --output team-text.sig --detach-sign commit.txt
at 20200301 --quick-set-expire "$team" 20210101T000000 "$ends"
printf 'key 3\nrevkey\ny\n0\n\ny\nsave\n' | at 20200301 --command-fd 0 --edit-key "$team"
at 20200302 --armor --output team.asc --export "$team"

# A key that was revoked, one that ended, one that may only certify, one that revoked a name of its two, and one that nobody lists; then two
# whose own signatures are weak, and one of RSA.
for name in revoked ends certifies renamed foreign; do
    make --quick-generate-key "$name@example.com" ed25519 sign,cert never
    sign 20200201 "$name" "$(primary "$name@example.com")"
done
sign 20210601 ends-after "$(primary ends@example.com)"
at 20200301 --quick-set-expire "$(primary ends@example.com)" 20210101T000000
sed 's/^:-----/-----/' "$GNUPGHOME/openpgp-revocs.d/$(primary revoked@example.com).rev" | at 20200301 --import
printf 'change-usage\nS\nQ\nsave\n' | at 20200301 --command-fd 0 --edit-key "$(primary certifies@example.com)"
make --quick-add-uid "$(primary renamed@example.com)" again@example.com
printf 'uid 1\nrevuid\ny\n0\n\ny\nsave\n' | at 20200301 --command-fd 0 --edit-key "$(primary renamed@example.com)"
sign 20200201 two "$team" --local-user "$(primary foreign@example.com)!"
for name in weak:ed25519 weak-rsa:rsa2048; do
    make --cert-digest-algo SHA1 --quick-generate-key "${name%:*}@example.com" "${name#*:}" sign,cert never
    sign 20200201 "${name%:*}" "$(primary "${name%:*}@example.com")"
done
make --quick-generate-key rsa@example.com rsa3072 sign,cert never
sign 20200201 rsa "$(primary rsa@example.com)" --digest-algo SHA512

for name in revoked ends certifies renamed foreign weak weak-rsa rsa; do
    at 20200302 --armor --output "$name.asc" --export "<$name@example.com>"
done
