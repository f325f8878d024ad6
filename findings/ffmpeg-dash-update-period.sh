#!/usr/bin/env bash
# ffmpeg's live DASH manifests name an update period of 0 s, or of 500 s, while a new one comes with each segment.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v; v/bin/pip -q --disable-pip-version-check install imageio-ffmpeg==0.8.1
ffmpeg=$(v/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')
timeout 60 nice "$ffmpeg" -v error -y -f lavfi -i testsrc=d=9:s=160x120:r=25 -c:v libx264 -preset ultrafast -g 10 \
  -x264-params scenecut=0 film.mp4
cat > put.py <<'PY'
# takes the manifests that ffmpeg puts, as an origin does, and prints the kinds of them with their count
import collections, http.server, re, subprocess, sys, threading
seen = collections.Counter()
class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_PUT(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size); self.rfile.readline()
        self.rfile.readline()
        if self.path.endswith("mpd"):
            root = re.search(rb"<MPD.*?>", body, re.S)[0].decode()
            seen[" ".join(f"{name}={value}" for name, value in re.findall(r'(\btype|minimumUpdatePeriod)="(.*?)"', root))] += 1
        self.send_response(201); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
    def handle(self):
        try: super().handle()
        except OSError: pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/live.mpd"
subprocess.run([sys.argv[1], "-v", "fatal", "-i", "film.mp4", "-c", "copy", "-f", "dash", "-window_size", "3", *sys.argv[2:],
                "-method", "PUT", url], timeout=60, check=True)
for kind, count in seen.items(): print(f"{count} x {kind}")
PY
cat <<TEXT
version: PyPI imageio-ffmpeg 0.8.1, which ships $("$ffmpeg" -version | head -1 | cut -d' ' -f1-3)
behaviour: minimumUpdatePeriod (ISO/IEC 23009-1 section 5.3.1.2) is the last segment's duration, rounded down to seconds.
  With segments of 0.8 s it is PT0S, as if the manifest could change at any moment. With -use_timeline 0 it is PT500S,
  whatever the segments are, though ffmpeg puts a manifest with each of them and the last one turns static. A player, or
  a cache that goes by the period, learns up to 500 s late that the stream has ended.
output seen:
TEXT
for options in "-seg_duration 0.8" "-seg_duration 2.8" "-seg_duration 2.8 -use_timeline 0"; do
  echo "$options"; timeout 90 v/bin/python put.py "$ffmpeg" $options 2>/dev/null | tee out | sed 's/^/  /'
  cat out >> all
done
grep -qE '^[0-9]+ x type=dynamic minimumUpdatePeriod=PT0S$' all
grep -qE '^[0-9]+ x type=dynamic minimumUpdatePeriod=PT2S$' all
grep -qE '^[3-9] x type=dynamic minimumUpdatePeriod=PT500S$' all
[ "$(grep -c '^1 x type=static$' all)" = 3 ]
