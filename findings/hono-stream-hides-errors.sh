#!/usr/bin/env bash
# Hono's stream helper ends a body well when its callback throws.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null; npm install --silent --no-audit --no-fund hono@4.13.19 @hono/node-server@2.1.9
cat > see.mjs <<'JS'
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { stream } from 'hono/streaming';
console.error = () => {};
async function* film() {
  yield new Uint8Array(50000);
  await new Promise(done => setTimeout(done, 100));
  throw new Error('the disk, after half of the film');
}
const app = new Hono();
app.get('/helper', c => stream(c, async out => { for await (const part of film()) await out.write(part); }));
app.get('/plain', c => c.body(ReadableStream.from(film())));
const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, async ({ port }) => {
  const seen = [];
  for (const path of ['helper', 'plain']) {
    let end;
    try {
      end = `${(await (await fetch(`http://127.0.0.1:${port}/${path}`)).arrayBuffer()).byteLength} bytes, no error`;
    } catch (error) { end = `error: ${error.message}`; }
    console.log(`${path}: ${end}`);
    seen.push(end);
  }
  process.exit(seen[0] === '50000 bytes, no error' && seen[1].startsWith('error') ? 0 : 1);
});
JS
cat <<'TEXT'
version: npm hono 4.13.19 with @hono/node-server 2.1.9
behaviour: `stream(c, callback)` catches what the callback throws, prints it, and closes the body with a proper last chunk,
  so that half of a film is complete to every client; the same source given to `c.body` breaks the connection, as one
  expects. RFC 9112 section 8: a body that ended early must be seen to. A cache before such a handler stores the half; a
  handler that copies a file or another origin's body must use `c.body`, or state a Content-Length.
output seen:
TEXT
timeout 60 node see.mjs
