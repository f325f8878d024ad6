// sirv, which looks at its files anew for each request. Arguments: the port, the folder, the packages.
const { createServer } = require('node:http');
const [port, root, packages] = process.argv.slice(2);
const sirv = require(`${packages}/sirv`);
createServer(sirv(root, { dev: true, etag: true })).listen(Number(port), '127.0.0.1');
