// Each call of `client.webhooks` of the openai package of npm.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';

import OpenAI from 'openai';

import { client } from './service.mjs';

const TYPES = ['batch.completed', 'batch.failed', 'batch.expired', 'batch.cancelled'];

// Runs a receiver while `use` runs; it notes what it takes.
async function receiving(use) {
  const taken = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    taken.push({ body, headers: request.headers });
    response.writeHead(204).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await use(`http://127.0.0.1:${server.address().port}/hook`, taken);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test('webhook endpoints are managed', async () => {
  const hooks = client.webhooks;
  const url = 'https://hooks.example.org/';
  const made = await hooks.create({ name: 'a', url, event_types: ['batch.failed'] });
  const other = await hooks.create({ name: 'b', url, event_types: TYPES });

  const listed = [];
  for await (const found of hooks.list({ limit: 1 })) listed.push(found.id);
  const updated = await hooks.update(made.id, { event_types: TYPES });
  const same = await hooks.update(made.id);
  const rotated = await hooks.rotateSecret(made.id);
  const shown = await hooks.retrieve(made.id);
  const deleted = await hooks.delete(other.id);

  assert.deepEqual((await hooks.eventTypes.list()).data, TYPES);
  assert.deepEqual(listed.slice(0, 2), [other.id, made.id]);
  assert.deepEqual(updated.event_types, TYPES);
  assert.deepEqual({ ...same }, { ...updated });
  assert.notEqual(rotated.signing_secret, made.signing_secret);
  assert.equal(shown.signing_secret_hint, rotated.signing_secret_hint);
  assert.equal('signing_secret' in shown, false);
  assert.deepEqual({ ...deleted }, { id: other.id, object: 'webhook_endpoint.deleted', deleted: true });
  await assert.rejects(hooks.retrieve(other.id), OpenAI.NotFoundError);
});

test('a test event is unwrapped', () =>
  receiving(async (url, taken) => {
    const hooks = client.webhooks;
    const made = await hooks.create({ name: 'a', url, event_types: TYPES });
    const rotated = await hooks.rotateSecret(made.id, { keep_old_secret_active_for_24_hours: true });

    const result = await hooks.test(made.id, { event_type: 'batch.expired' });

    const [{ body, headers }] = taken;
    assert.deepEqual({ ...result }, {
      object: 'webhook_endpoint.test',
      webhook_endpoint_id: made.id,
      event_type: 'batch.expired',
      status_code: 204,
      success: true,
    });
    for (const secret of [made.signing_secret, rotated.signing_secret]) {
      const event = await hooks.unwrap(body, headers, secret);
      assert.equal(event.type, 'batch.expired');
      assert.match(event.data.id, /^batch_/);
    }
    await assert.rejects(hooks.unwrap(`${body} `, headers, made.signing_secret), OpenAI.InvalidWebhookSignatureError);
  }));
