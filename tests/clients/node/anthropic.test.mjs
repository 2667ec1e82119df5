// The package of Anthropic of npm: message batches from their making to their end, messages and streams.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import { retrieved } from './service.mjs';

const client = new Anthropic({
  baseURL: process.env.CLIENT_TEST_URL.replace(/\/v1$/, ''),
  apiKey: process.env.CLIENT_TEST_KEY,
});
const batches = client.messages.batches;

const params = (prompt) => ({ model: 'm', max_tokens: 64, messages: [{ role: 'user', content: prompt }] });
const requests = (prompts) => Object.entries(prompts).map(([custom_id, prompt]) => ({ custom_id, params: params(prompt) }));

const ended = (batch) =>
  retrieved(batch, { from: batches, condition: (found) => found.processing_status === 'ended' });

test('a message batch goes round', async () => {
  const made = await batches.create({ requests: requests({ a: 'grüße\u2028🎉', b: 'REFUSE' }) });
  const done = await ended(made);
  const results = {};
  for await (const line of await batches.results(made.id)) results[line.custom_id] = line.result;

  assert.match(made.id, /^msgbatch_/);
  assert.equal(made.request_counts.processing, 2);
  assert.deepEqual(done.request_counts, { processing: 0, succeeded: 1, errored: 1, canceled: 0, expired: 0 });
  assert.ok(Date.parse(done.ended_at) >= Date.parse(done.created_at));
  assert.equal(results.a.message.content[0].text, 'echo: grüße\u2028🎉');
  assert.equal(results.b.error.error.type, 'invalid_request_error');
  assert.deepEqual({ ...(await batches.delete(made.id)) }, { id: made.id, type: 'message_batch_deleted' });
  await assert.rejects(batches.retrieve(made.id), Anthropic.NotFoundError);
});

test('a message batch is cancelled', async () => {
  const made = await batches.create({ requests: requests({ a: 'WAIT', b: 'WAIT' }) });
  await batches.cancel(made.id);
  const done = await ended(made);

  assert.equal(done.request_counts.canceled, 2);
  assert.ok(done.cancel_initiated_at);
});

test('pages of message batches turn by themselves in both directions', async () => {
  const made = [];
  for (let n = 0; n < 5; n++) made.push((await batches.create({ requests: requests({ a: 'x' }) })).id);

  const down = [];
  for await (const batch of batches.list({ limit: 2 })) {
    down.push(batch.id);
    if (batch.id === made[0]) break;
  }
  const up = [];
  for await (const batch of batches.list({ limit: 2, before_id: made[0] })) up.push(batch.id);

  assert.deepEqual(down, made.toReversed());
  assert.deepEqual(up, [made[2], made[1], made[4], made[3]]);
});

test('messages are answered whole and streamed', async () => {
  const whole = await client.messages.create(params('Hello'));
  const pieces = [];
  const stream = client.messages.stream(params('Hello again')).on('text', (text) => pieces.push(text));
  const final = await stream.finalMessage();

  assert.equal(whole.content[0].text, 'echo: Hello');
  assert.match(whole._request_id, /^req_/);
  assert.deepEqual(pieces, ['echo:', 'Hello', 'again']);
  assert.equal(final.stop_reason, 'end_turn');
});

test('refusals are errors of the package', async () => {
  const error = await client.messages.create(params('REFUSE')).catch((found) => found);

  assert.ok(error instanceof Anthropic.BadRequestError);
  assert.equal(error.error.error.type, 'invalid_request_error');
  assert.equal(error.error.request_id, error.requestID);
  await assert.rejects(batches.create({ requests: requests({ 'a b': 'x' }) }), Anthropic.BadRequestError);
});
