"""The part that the shell scripts, against which whole ways are measured, have in common."""

GET = r"""
set -euo pipefail
url=$1 digest=$2 title=$3
file=$WORK/$(basename "$url")
got=$(curl -sS --fail "$url" | tee "$file" | openssl dgst -sha512 -r | cut -d' ' -f1)
[ "$got" = "$digest" ] || { echo "$title: wrong digest" >&2; exit 1; }
format=$(qemu-img info --output=json "$file" | python3 -c 'import json, sys; print(json.load(sys.stdin)["format"])')
if [ "$format" != qcow2 ]; then
  qemu-img convert -f "$format" -O qcow2 "$file" "$file.qcow2"
  qemu-img info --output=json "$file.qcow2" >/dev/null
  rm "$file"; file=$file.qcow2
fi
"""
"""With URL, SHA-512 and title as arguments: download into ``$WORK``, compare, convert to qcow2; leaves ``$file``."""
