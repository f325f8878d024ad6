#!/usr/bin/env bash
# `serve` answers a range that it refuses with 416 and the whole file as the body.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null; npm install --silent --no-audit --no-fund serve-handler@6.1.8
mkdir www; python3 -c 'open("www/film.mp4","wb").write(bytes(i % 256 for i in range(100000)))'
cat > see.cjs <<'JS'
const http = require('node:http'), handler = require('serve-handler');
const server = http.createServer((q, s) => handler(q, s, { public: 'www', etag: true }));
server.listen(0, '127.0.0.1', async () => {
  const ask = headers => new Promise(done => http.get({ port: server.address().port, host: '127.0.0.1',
    path: '/film.mp4', headers }, r => {
      let size = 0; r.on('data', p => { size += p.length; }).on('end', () => {
        console.log(`${JSON.stringify(headers)} -> ${r.statusCode}, ${size} bytes, ` +
          `Content-Type: ${r.headers['content-type']}, ETag: ${r.headers.etag}, Content-Range: ${r.headers['content-range']}`);
        done(`${r.statusCode} ${size} ${r.headers['content-type']}`);
      });
    }));
  await ask({});
  const past = await ask({ Range: 'bytes=100000-' }), unit = await ask({ Range: 'seconds=0-5' });
  server.close();
  process.exitCode = past === '416 100000 video/mp4' && unit === past ? 0 : 1;
});
JS
cat <<'TEXT'
version: npm serve-handler 6.1.8 (the handler of `npx serve`)
behaviour: A range that starts at the end of the file (a client that resumes a complete file) gets a 416 that carries
  the complete file, with its media type, length and strong ETag, exactly like the 200. So does a range in a unit that
  the server does not know, which RFC 9110 section 14.2 tells it to ignore. One expects a short note, or no body
  (section 15.5.17). A cache that reads an error's body before it answers, or looks at type and length to decide
  what a video is, fetches or stores a film under an error; each resume of a finished download costs a whole one.
output seen:
TEXT
timeout 60 node see.cjs
