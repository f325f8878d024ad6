#!/usr/bin/env bash
# ffmpeg's live playlists of one file slide on without counting.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v; v/bin/pip -q --disable-pip-version-check install imageio-ffmpeg==0.8.1
ffmpeg=$(v/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')
run() { timeout 60 nice "$ffmpeg" -v error -y "$@"; }
run -f lavfi -i testsrc=d=12:s=160x120:r=25 -c:v libx264 -preset ultrafast -g 50 -x264-params scenecut=0 film.mp4
run -i film.mp4 -c copy -f hls -hls_time 2 -hls_list_size 2 many.m3u8
run -i film.mp4 -c copy -f hls -hls_time 2 -hls_list_size 2 -hls_flags single_file one.m3u8
cat <<TEXT
version: PyPI imageio-ffmpeg 0.8.1, which ships $("$ffmpeg" -version | head -1 | cut -d' ' -f1-3)
behaviour: With \`-hls_flags single_file\` and a window of two segments, ffmpeg takes the old segments out of the
  playlist while EXT-X-MEDIA-SEQUENCE stays 0; with a file for each segment it counts (4 after four that went). RFC 8216
  section 6.2.2 has the number grow by one with each segment removed. Sequence numbers thus name other bytes
  from minute to minute: neither a player nor a cache can use them to tell an older copy of the playlist from a newer.
output seen:
TEXT
for playlist in many one; do echo "$playlist.m3u8"; grep -E 'SEQUENCE|BYTERANGE|ts$' $playlist.m3u8 | sed 's/^/  /'; done
grep -q '^#EXT-X-MEDIA-SEQUENCE:4$' many.m3u8
grep -q '^#EXT-X-MEDIA-SEQUENCE:0$' one.m3u8
[ "$(grep -c BYTERANGE one.m3u8)" = 2 ] && ! grep -q '@0$' one.m3u8
