// The official `openai` Node client, unmodified, against a running service.
//   usage: openai_node_test.mjs BASE_URL MODEL FOLDER_WITH_NODE_MODULES
// Started by openai_node_test.py, which runs the service.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import assert from 'node:assert/strict';

const [base, model, modules] = process.argv.slice(2);
const require = createRequire(pathToFileURL(modules + '/'));
const OpenAI = require('openai').default;
const { toFile } = require('openai');
const { ResponsesWS } = require('openai/resources/responses/ws');
const client = new OpenAI({ baseURL: base + '/v1', apiKey: 'none', maxRetries: 0, timeout: 60000 });
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

const upload = async (lines, name) =>
  client.files.create({ file: await toFile(Buffer.from(lines.join('\n')), name), purpose: 'batch' });

async function models() {
  const ids = [];
  for await (const entry of client.models.list()) ids.push(entry.id);
  assert.deepEqual(ids, [model]);
  await assert.rejects(client.models.retrieve('other'), { status: 404, code: 'model_not_found' });
}

async function chatStreamingWithUsage() {
  const stream = await client.chat.completions.create({
    model, stream: true, stream_options: { include_usage: true }, max_completion_tokens: 40, temperature: 0,
    messages: [{ role: 'user', content: 'Tell me about the ocean.' }],
  });
  let text = '', usage = null;
  for await (const chunk of stream) {
    usage = chunk.usage ?? usage;
    text += chunk.choices[0]?.delta?.content ?? '';
  }
  assert.ok(text.trim());
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
}

async function completions() {
  const reply = await client.completions.create({ model, prompt: 'The ocean is', max_tokens: 8, n: 2, seed: 3 });
  assert.deepEqual(reply.choices.map((choice) => choice.index), [0, 1]);
}

async function filesAndBatch() {
  const lines = [...Array(20).keys()].map((i) => JSON.stringify({
    custom_id: `n-${i}`, method: 'POST', url: '/v1/chat/completions',
    body: { model, max_tokens: 16, messages: [{ role: 'user', content: `What is number ${i}?` }] },
  }));
  const file = await upload(lines, 'q.jsonl');
  let batch = await client.batches.create({
    input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h',
  });
  for (let i = 0; i < 600 && !['completed', 'failed'].includes(batch.status); ++i) {
    await sleep(100);
    batch = await client.batches.retrieve(batch.id);
  }
  assert.equal(batch.status, 'completed');
  assert.equal(batch.request_counts.completed, 20);
  const content = await (await client.files.content(batch.output_file_id)).text();
  const output = content.trim().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(output.map((o) => o.custom_id), [...Array(20).keys()].map((i) => `n-${i}`));
}

async function batchCancel() {
  const lines = [...Array(300).keys()].map((i) => JSON.stringify({
    custom_id: `c-${i}`, method: 'POST', url: '/v1/completions',
    body: { model, prompt: `${i}`, max_tokens: 400, ignore_eos: true },
  }));
  const file = await upload(lines, 'c.jsonl');
  let batch = await client.batches.create({
    input_file_id: file.id, endpoint: '/v1/completions', completion_window: '24h',
  });
  while (batch.status === 'validating') batch = await client.batches.retrieve(batch.id);
  batch = await client.batches.cancel(batch.id);
  for (let i = 0; i < 600 && batch.status !== 'cancelled'; ++i) {
    await sleep(50);
    batch = await client.batches.retrieve(batch.id);
  }
  assert.equal(batch.status, 'cancelled');
}

async function responsesOnTwoLanes() {
  const socket = new ResponsesWS(client);
  const texts = { left: '', right: '' }, last = { left: -1, right: -1 };
  const ended = new Set();
  for (const lane of ['left', 'right'])
    socket.send({ type: 'response.create', stream_id: lane, model, max_output_tokens: 40, temperature: 0,
                  input: `Tell me about the ${lane === 'left' ? 'moon' : 'ocean'}.` });
  await new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('event', (event) => {
      const lane = event.stream_id;
      assert.equal(event.sequence_number, ++last[lane]);
      if (event.type === 'response.output_text.delta') texts[lane] += event.delta;
      if (event.type === 'response.completed' || event.type === 'response.incomplete') {
        assert.equal(event.response.output[0].content[0].text, texts[lane]);
        assert.ok(event.response.usage.output_tokens > 0);
        ended.add(lane);
        if (ended.size === 2) resolve();
      }
    });
  });
  socket.close();
  assert.ok(texts.left.trim() && texts.right.trim());
}

let failed = 0, passed = 0;
for (const test of [models, chatStreamingWithUsage, completions, filesAndBatch, batchCancel, responsesOnTwoLanes]) {
  try {
    await test();
    ++passed;
    console.log(`ok    ${test.name}`);
  } catch (problem) {
    ++failed;
    console.log(`FAIL  ${test.name}: ${problem.stack ?? problem}`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
