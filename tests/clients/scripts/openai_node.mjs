// OpenAI's library for Node.js with the Responses API: whole, streamed, tools of MCP servers, questions, stored.
// Run as `node openai_node.mjs BASE_URL`, beside a node_modules that has the library.

import assert from "node:assert/strict";
import OpenAI from "openai";

const [url] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });
const model = "scripted";
const server = (label) => [{ type: "mcp", server_label: label, require_approval: "never" }];
const format = {
  type: "json_schema",
  name: "answer",
  schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};

async function streamed(body, onEvent = async () => {}) {
  const stream = client.responses.stream({ model, ...body });
  const kinds = [];
  for await (const event of stream) {
    kinds.push(event.type);
    await onEvent(event);
  }
  assert.equal(kinds[0], "response.created");
  assert.equal(kinds.at(-1), "response.completed");
  return { kinds, response: await stream.finalResponse() };
}

const types = (response) => response.output.map((item) => item.type);

const whole = await client.responses.create({ model, input: "/echo hi" });
assert.equal(whole.output_text, "hi");
assert.equal((await streamed({ input: "/echo hi" })).response.output_text, "hi");
assert.equal((await streamed({ input: "think hard", reasoning: { summary: "auto" } })).response.output_text, "Four.");

const weather = { type: "function", name: "weather", parameters: { type: "object" } };
const forced = { model, input: '/call weather {"city": "Rome"}', tools: [weather], tool_choice: "required" };
assert.deepEqual(types(await client.responses.create(forced)), ["function_call"]);

const called = (await streamed({ input: "both words", tools: server("stub") })).response;
assert.deepEqual(types(called), ["mcp_list_tools", "mcp_call", "mcp_call", "message"]);
const working = await streamed({ input: "/call sdk_work {}", tools: server("sdk") });
assert.ok(working.kinds.includes("keepalive"), "the tool reports its progress");

const asked = await streamed({ input: "/call sdk_hello {}", tools: server("sdk") }, async (event) => {
  const question = event["modelhost.question"];
  if (question === undefined) return;
  const body = JSON.stringify({ action: "accept", content: { name: "Anna" } });
  const headers = { "content-type": "application/json" };
  await fetch(`${url}/mcp/elicitations/${question.id}`, { method: "POST", headers, body });
});
assert.match(asked.response.output[1].output, /Anna/);

const parsed = await client.responses.parse({ model, input: "its city", tools: server("stub"), text: { format } });
assert.deepEqual(JSON.parse(parsed.output_text), { city: "Rome" });

const made = await client.responses.create({ model, input: "/tokens 20", background: true, stream: true });
let id, last;
for await (const event of made) {
  id ??= event.response?.id;
  last = event.sequence_number;
  if (last >= 4) break;
}
const numbers = [];
for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: last })) {
  numbers.push(event.sequence_number);
}
assert.equal(numbers[0], last + 1);

const conversation = await client.conversations.create({});
await client.responses.create({ model, input: "/echo hi", conversation: conversation.id });
assert.equal((await client.conversations.items.list(conversation.id)).data.length, 2);
await assert.rejects(client.responses.retrieve("resp_unknown"), OpenAI.NotFoundError);
