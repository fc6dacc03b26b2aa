// npm's `oauth2-mock-server`. Which grants it was asked for it tells on standard output.

import readline from 'node:readline';
import { OAuth2Server } from 'oauth2-mock-server';

const server = new OAuth2Server();
await server.issuer.keys.generate('RS256');
server.service.on('beforeResponse', (_, request) => console.log(`granted ${request.body.grant_type}`));
server.service.on('beforeRevoke', () => console.log('revoked'));
await server.start(0, '127.0.0.1');
console.log(`listens on ${server.address().port}`);
readline.createInterface({ input: process.stdin }).on('line', () => console.log('ready')).on('close', () => process.exit());
