// npm's `oidc-provider` for one client, which comes as a line of JSON once its redirect is known. Whoever is asked to sign in
// does, as "someone", and allows everything. What it grants and revokes it tells on standard output.

import http from 'node:http';
import readline from 'node:readline';
import Provider from 'oidc-provider';

const issuer = 'https://login.example.com';
let provider;
let handle;

function configure({ client_id, client_secret, redirect_uri }) {
  provider = new Provider(issuer, {
    clients: [
      {
        client_id,
        client_secret,
        redirect_uris: [redirect_uri],
        grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
        response_types: ['code'],
      },
    ],
    cookies: { keys: ['for a test'] },
    features: {
      devInteractions: { enabled: false },
      revocation: { enabled: true },
      clientCredentials: { enabled: true },
    },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    scopes: ['openid', 'offline_access', 'read', 'write'],
    ttl: { AccessToken: 3600, AuthorizationCode: 60, ClientCredentials: 600, Grant: 3600, Interaction: 600, RefreshToken: 86400, Session: 600 },
  });
  handle = provider.callback();
  provider.on('grant.success', (ctx) => console.log(`granted ${ctx.oidc.params.grant_type}`));
  provider.on('grant.error', (ctx, error) => console.log(`refused ${error.error} ${error.error_detail ?? error.error_description}`));
  provider.on('grant.revoked', () => console.log('revoked'));
  provider.on('server_error', (_, error) => console.log(`broke ${error.stack}`));
}

async function interact(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: 'someone' } });
  }
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  const consent = { grantId: await grant.save() };
  return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
}

const server = http.createServer((request, response) => {
  if (!request.url.startsWith('/interaction/')) return handle(request, response);
  return interact(request, response).catch((error) => console.log(`broke ${error.stack}`));
});
server.listen(0, '127.0.0.1', () => console.log(`listens on ${server.address().port}`));
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  configure(JSON.parse(line));
  console.log('ready');
}).on('close', () => process.exit());
