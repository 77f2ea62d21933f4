# Counts the words of every text in in/data, most frequent first.
# A module reads $ION_DIR/in, writes $ION_DIR/out, and exits with 0 if all is well. Nothing else is asked of it.
set -eu
cd "$ION_DIR"

for text in in/data/*; do
    name=$(basename "$text")
    echo "counting the words of $name"
    tr -cs '[:alpha:]' '[\n*]' < "$text" | tr '[:upper:]' '[:lower:]' | sed '/^$/d' \
        | sort | uniq -c | sort -rn | awk '{ print $2 "\t" $1 }' > "out/data/$name.tsv"

    # Each file in out/events raises one event; the files it names travel with it.
    printf '{"type": "words_counted", "files": ["%s.tsv"]}\n' "$name" > "out/events/$name.json"
done
