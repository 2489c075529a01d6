# One gunicorn a port, so that accel balances over single workers. All end when one does or when TERM comes.
trap 'kill $(jobs -p)' EXIT
trap exit TERM INT
for port in {8001..8008}; do
  PORT=$port gunicorn --bind "0.0.0.0:$port" --threads 4 --keep-alive 5 --worker-tmp-dir /dev/shm app:app &
done
wait -n
