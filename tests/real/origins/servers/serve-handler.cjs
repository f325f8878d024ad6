// serve-handler, which `npx serve` runs. Arguments: the port, the folder, the packages.
const { createServer } = require('node:http');
const [port, root, packages] = process.argv.slice(2);
const handler = require(`${packages}/serve-handler`);
const answer = (request, response) => handler(request, response, { public: root, etag: true });
createServer(answer).listen(Number(port), '127.0.0.1');
