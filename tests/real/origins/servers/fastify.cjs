// Fastify with its static files. Arguments: the port, the folder, the packages.
const [port, root, packages] = process.argv.slice(2);
const fastify = require(`${packages}/fastify`)();
fastify.register(require(`${packages}/@fastify/static`), { root });
fastify.listen({ port: Number(port), host: '127.0.0.1' });
