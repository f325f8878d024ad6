#!/usr/bin/env bash
# moto's S3 answers 304 for a changed object when the request carries the old tag and a date.
set -eu
dir=$(mktemp -d); pid=; trap '[ -z "$pid" ] || kill "$pid"; rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v; v/bin/pip -q --disable-pip-version-check install boto3==1.44.8 'moto[server,s3]==5.2.5'
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
timeout 120 v/bin/moto_server -p "$port" > log 2>&1 & pid=$!
cat > see.py <<'PY'
import sys, time, urllib.error, urllib.request
import boto3
origin = f"http://127.0.0.1:{sys.argv[1]}"
for _ in range(100):
    try: urllib.request.urlopen(origin, timeout=5); break
    except OSError: time.sleep(0.2)
s3 = boto3.client("s3", endpoint_url=origin, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")
s3.create_bucket(Bucket="films")
put = lambda body: s3.put_object(Bucket="films", Key="live.m3u8", Body=body)["ETag"]
url = s3.generate_presigned_url("get_object", Params={"Bucket": "films", "Key": "live.m3u8"})
def ask(**headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5)
    except urllib.error.HTTPError as error:
        answer = error
    print(headers, "->", answer.status, answer.headers["ETag"], answer.headers["Last-Modified"])
    return answer
while time.time() % 1 > 0.3: time.sleep(0.05)  # both puts in one second
old = put(b"first"); date = ask().headers["Last-Modified"]
new = put(b"second")
tag = ask(If_None_Match=old).status
both = ask(If_None_Match=old, If_Modified_Since=date).status
listed = ask(If_None_Match=f'"other", {new}').status
sys.exit(not (old != new and (tag, both, listed) == (200, 304, 200)))
PY
cat <<'TEXT'
version: PyPI moto 5.2.5 (server mode, S3), boto3 1.44.8
behaviour: An object is replaced within the second. A cache validates with both validators, as RFC 9110 section 13.1.3
  suggests for old servers: the old tag does not match any more, but the date does, and moto says 304. The section has
  If-Modified-Since ignored when If-None-Match is there. A tag in a list never matches at all. Tests of a cache against
  this server keep the old bytes for ever, unless the cache sends If-None-Match alone, or checks the ETag of a 304.
output seen:
TEXT
timeout 100 v/bin/python see.py "$port"
