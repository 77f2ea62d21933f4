# What fan.c does, for machines without a compiler.
cd "$ION_DIR" || exit 2
case $1 in
split)
  lines=$(seq 500)
  for number in $(seq 0 $(($2 - 1))); do
    printf "$number\n%.0s" $lines > "out/data/$number"
    echo '{"type": "part", "files": ["'"$number"'"], "subject": "'"$number"'"}' > "out/events/$number.json"
  done ;;
work)
  subject=$(ls in/data)
  head -n 250 "in/data/$subject" > out/data/copy
  if [ "$ION_ATTEMPT" = 1 ] && [ $((subject % 100)) = 99 ]; then sleep 100000 & wait; fi
  cp "in/data/$subject" out/data/copy
  echo '{"type": "done", "files": ["copy"], "subject": "'"$subject"'"}' > out/events/done.json ;;
esac
