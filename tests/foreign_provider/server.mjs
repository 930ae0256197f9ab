// A certified OpenID provider that has never heard of Akoya, and its own word on what it saw.
// It rotates refresh tokens, ends the whole grant when one is used twice, and adds `iss` to the
// redirect. GET /ledger tells its events in order; POST /forget makes it lose every grant.
import { Provider } from 'oidc-provider';

const [port, redirectUri] = process.argv.slice(2);
const events = [];
const tokens = []; // refresh tokens are told by number: a ledger holds no secrets
const grants = new Set();

const provider = new Provider(`http://localhost:${port}`, {
  clients: [{
    client_id: 'a-fintech',
    client_secret: process.env.CLIENT_SECRET,
    redirect_uris: [redirectUri],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'client_secret_basic',
  }],
  routes: { authorization: '/auth', token: '/token', revocation: '/revoke' },
  scopes: ['openid', 'profile', 'offline_access'],
  features: { revocation: { enabled: true }, devInteractions: { enabled: true } },
  findAccount: (_ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  // By OpenID Connect offline_access needs prompt=consent, which Akoya does not know.
  issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  expiresWithSession: () => false,
  rotateRefreshToken: true,
  ttl: { AccessToken: 3600, IdToken: 900, RefreshToken: 86_400, Grant: 86_400, Session: 900, Interaction: 900 },
});

function note(event, told) {
  events.push({ event, ...told });
}

function numberOf({ jti, grantId }) {
  grants.add(grantId);
  return tokens.includes(jti) ? tokens.indexOf(jti) + 1 : tokens.push(jti);
}

for (const event of ['saved', 'consumed', 'destroyed']) {
  provider.on(`refresh_token.${event}`, (token) => note(`refresh_token.${event}`, { token: numberOf(token) }));
}
provider.on('grant.success', ({ oidc }) => note('grant.success', { grant_type: oidc.params.grant_type }));
for (const event of ['grant.error', 'revocation.error', 'authorization.error', 'server_error']) {
  provider.on(event, ({ oidc }, error) => note(event, {
    grant_type: oidc?.params?.grant_type, error: error.error ?? error.name, detail: error.error_detail,
  }));
}
provider.on('grant.revoked', ({ oidc }) => note('grant.revoked', { route: oidc.route }));

async function usable() {
  const found = await Promise.all(tokens.map((token) => provider.RefreshToken.find(token)));
  return found.flatMap((token, place) => (token && !token.consumed ? [place + 1] : []));
}

async function forget() {
  for (const id of grants) {
    await provider.RefreshToken.revokeByGrantId(id);
    await provider.Grant.adapter.destroy(id);
  }
}

provider.use(async (ctx, next) => {
  switch (`${ctx.method} ${ctx.path}`) {
    case 'GET /ledger':
      ctx.body = { events, usable: await usable() };
      break;
    case 'POST /forget':
      await forget();
      ctx.status = 204;
      break;
    default:
      await next();
  }
});
provider.listen(Number(port), '127.0.0.1');
