#!/usr/bin/env bash
# hls-parser writes a valid low-latency playlist back with offsets of -1 and a key that was never there.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null; npm install --silent --no-audit --no-fund hls-parser@0.16.1
cat > live.m3u8 <<'M3U'
#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:4
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3
#EXT-X-PART-INF:PART-TARGET=1
#EXT-X-MEDIA-SEQUENCE:10
#EXT-X-MAP:URI="init.mp4"
#EXTINF:4,
a.mp4
#EXT-X-PART:DURATION=1,URI="b.mp4",BYTERANGE="1000@0",INDEPENDENT=YES
#EXT-X-PART:DURATION=1,URI="b.mp4",BYTERANGE="900"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="b.mp4",BYTERANGE-START=1900
M3U
cat > see.mjs <<'JS'
import fs from 'node:fs';
import HLS from 'hls-parser';
const before = fs.readFileSync('live.m3u8', 'utf8'), after = HLS.stringify(HLS.parse(before));
const lines = text => text.trim().split('\n').filter(line => /PART:|KEY|MAP/.test(line));
console.log('read:'); lines(before).forEach(line => console.log('  ' + line));
console.log('written:'); lines(after).forEach(line => console.log('  ' + line));
process.exitCode = /BYTERANGE=900@-1/.test(after) && /#EXT-X-KEY:METHOD=undefined,URI="init.mp4"/.test(after) ? 0 : 1;
JS
cat <<'TEXT'
version: npm hls-parser 0.16.1
behaviour: A part whose BYTERANGE has no offset (it begins where the part before it ends) is parsed to an offset of -1 and
  written as `900@-1`; each part's BYTERANGE loses its quotes; and EXT-X-MAP comes back, for the segment that is still
  growing, as `EXT-X-KEY:METHOD=undefined`. The draft of RFC 8216's second edition, sections 4.4.4.2 and 4.4.4.9, has the
  offset and the quoted string. A cache that rewrites or prefetches by this parser asks for byte -1, and breaks playback.
output seen:
TEXT
timeout 60 node see.mjs
