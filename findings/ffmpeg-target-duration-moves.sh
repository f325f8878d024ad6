#!/usr/bin/env bash
# ffmpeg changes the target duration of a live playlist as a long segment enters and leaves the window.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v; v/bin/pip -q --disable-pip-version-check install imageio-ffmpeg==0.8.1
ffmpeg=$(v/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')
run() { timeout 60 nice "$ffmpeg" -v error -y "$@"; }
# key frames at 2, 4, 9, 11 and 13 seconds: one segment of 5 seconds among those of 2
run -f lavfi -i testsrc=d=15:s=160x120:r=25 -c:v libx264 -preset ultrafast -x264-params keyint=9999:scenecut=0 \
  -force_key_frames 2,4,9,11,13 film.mp4
cat > put.py <<'PY'
# takes the playlists that ffmpeg puts, as an origin does, and prints how each one differs
import http.server, subprocess, sys
seen = []
class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_PUT(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size); self.rfile.readline()
        self.rfile.readline()
        if self.path.endswith("m3u8"):
            tags = [line for line in body.decode().split() if line.startswith(("#EXT-X-TARGET", "#EXT-X-MEDIA", "#EXTINF"))]
            print("  " + " ".join(tags) + "\n", end="", flush=True); seen.append(tags[0].split(":")[1])
        self.send_response(201); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
import threading; threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/live.m3u8"
subprocess.run([sys.argv[1], "-v", "error", "-i", "film.mp4", "-c", "copy", "-f", "hls", "-hls_time", "2", "-hls_list_size", "2",
                "-method", "PUT", url], timeout=60, check=True)
sys.exit([seen[0], "5" in seen, seen[-1]] != ["2", True, "2"])
PY
cat <<TEXT
version: PyPI imageio-ffmpeg 0.8.1, which ships $("$ffmpeg" -version | head -1 | cut -d' ' -f1-3)
behaviour: EXT-X-TARGETDURATION is the longest segment in the present window: 2, then 5 while a segment of 5 seconds
  is listed, then 2 again. RFC 8216 section 6.2.1: the server must not change the value of this tag, and section
  6.3.4 derives the time between two reloads from it. A cache that takes a playlist's lifetime from its target duration
  must read it from each copy anew; a lifetime of 5 s outlives two playlists once the value is back at 2.
output seen:
TEXT
timeout 90 v/bin/python put.py "$ffmpeg"
