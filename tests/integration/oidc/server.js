// An OpenID Connect server on 127.0.0.1. Argument: {"port": 0, "keys": [private JWKs], "secret": "…"}.
// Prints {"issuer": …} when it listens. A token is signed with the algorithm that its resource's path names.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const { port, keys, secret } = JSON.parse(process.argv[2]);
const server = createServer();
server.listen(port, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'letters-service',
      client_secret: secret,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    }],
    jwks: { keys },
    cookies: { keys: [secret] },
    clientAuthMethods: ['client_secret_basic'],
    enabledJWA: { clientAuthSigningAlgValues: ['HS256'] },
    ttl: { ClientCredentials: 600 },
    extraTokenClaims: () => ({ roles: ['Inference.Use', 'Printer.Use'] }),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource) => ({
          scope: 'infer',
          audience: resource,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: new URL(resource).pathname.slice(1) } },
        }),
      },
    },
  });
  server.on('request', provider.callback());
  console.log(JSON.stringify({ issuer }));
});
