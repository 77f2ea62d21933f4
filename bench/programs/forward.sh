# Passes the file `big` on unchanged, in the way of the first argument, as an event of the second's type.
cd "$ION_DIR" || exit 1
case $1 in
  inputs) echo '{"type": "'"$2"'", "inputs": ["big"]}' > out/events/e.json; exit ;;
  symlink) ln -s ../../in/data/big out/data/big ;;
  hardlink) ln in/data/big out/data/big ;;
esac
echo '{"type": "'"$2"'", "files": ["big"]}' > out/events/e.json
